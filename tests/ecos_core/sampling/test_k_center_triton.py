"""Triton's kernels pick what the exact search picks: run by Triton's interpreter, and compiled for an H100.

The interpreter must be asked for before Triton is imported, so each of the two runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[3]
_START = """
import numpy as np, torch
from ecos_core.sampling import k_center_triton
from ecos_core.sampling.k_center import greedy_k_center
from ecos_core.sampling.k_center_torch import greedy_k_center_groups
k_center_triton.TILE_ROWS, k_center_triton.BLOCK_TILES = 32, 2  # several of each in a small group
rng = np.random.default_rng(0)
def check(groups, counts, firsts, covered=None, **how):
    found = greedy_k_center_groups(groups, counts, firsts, covered=covered, kernels=True, **how)
    how.pop("precision", None)
    for g, picks in enumerate(found):
        centres = None if covered is None else covered[g]
        expected = greedy_k_center(groups[g], counts[g], first=firsts[g], covered=centres, **how)
        assert picks.indices.tolist() == expected.indices.tolist(), (g, picks.indices, expected.indices)
        np.testing.assert_allclose(picks.radii, expected.radii, rtol=1e-3, atol=1e-6)
"""
_CASES = {
    "one row, whole tiles, ragged ones, columns beside the block, a group done long before others": """
sizes = (1, 3, 31, 32, 33, 64, 150)
check([rng.normal(size=(n, 70)).astype(np.float32) for n in sizes], [1, 3, 2, 5, 30, 1, 15],
      [0, 2, 30, 31, 32, 0, 149])
""",
    "equal rows are at distance 0 and ties go to the lowest row": """
rows = np.repeat(rng.integers(-3, 3, size=(17, 5)).astype(np.float32), 4, axis=0)
picks = greedy_k_center_groups([rows], [40], [7], kernels=True)[0]
expected = greedy_k_center(rows, 40, first=7)
assert picks.indices.tolist() == expected.indices.tolist()
assert (picks.radii[np.isclose(expected.radii, 0)] == 0).all() and (picks.radii == 0).sum() >= 20
""",
    "bfloat16 loses only its own rounding": """
rows = torch.from_numpy(rng.normal(size=(90, 64)).astype(np.float32)).bfloat16().float().numpy()
check([rows, rows[:50]], [20, 10], [7, 49], precision="bfloat16")
""",
    "covered rows count as centres, and the search stops within the radius": """
groups = [rng.normal(size=(66, 6)).astype(np.float32), rng.normal(size=(60, 6)).astype(np.float32)]
check(groups, [20, 20], [None, 3], [np.array([5, 65, 40]), np.array([], int)], stop_radius=2.5)
""",
    "a tensor on the device is searched as it is, and nothing of it changes": """
rows = torch.from_numpy(rng.normal(size=(70, 9)).astype(np.float32))
before = rows.clone()
picks = greedy_k_center_groups([rows, rows[:0]], [5, 0], [69, None], kernels=True)
assert picks[0].indices.tolist() == greedy_k_center(rows.numpy(), 5, first=69).indices.tolist()
assert len(picks[1]) == 0 and torch.equal(rows, before)
""",
}
_COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from ecos_core.sampling import k_center_triton as kernels
tops = {"tile_top": "*fp32", "tile_row": "*i64"}
progress = {"current": "*i64", "made": "*i32", "wanted": "*i32"}
tiles = {"tile_group": "*i32", "tile_start": "*i64", "tile_end": "*i64"}
blocks = {"D": 512, "TILE": kernels.TILE_ROWS, "BLOCK": kernels.BLOCK_COLUMNS}
def compiled(kernel, arguments, constants):
    signature = {**arguments, **dict.fromkeys(constants, "constexpr")}
    aligned = {(place,): [["tt.divisibility", 16]] for place in range(len(arguments))}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": kernels.WARPS}).asm["ptx"]
for kind in ("*fp32", "*bf16"):
    features = {"points": kind, "nearest": "*fp32"}
    ptx = compiled(kernels._advance, {**features, **tiles, **progress, **tops}, blocks)
    assert "ld.global.v4" in ptx, "16 bytes a load"
places = {"place": "*i64", "order": "*i64", "squared": "*fp32"}
compiled(kernels._choose, {**tops, "first_tile": "*i32", **progress, **places}, {"BLOCK": kernels.BLOCK_TILES})
"""


def _run(code: str, interpreted: bool) -> None:
    place = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    place["TRITON_INTERPRET"] = "1" if interpreted else "0"
    done = subprocess.run(
        [sys.executable, "-c", code], env=place, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr


def test_the_kernels_pick_what_the_exact_search_picks() -> None:
    named = [
        f"try:{_inset(code)}\nexcept Exception as e: raise AssertionError({name!r}) from e"
        for name, code in _CASES.items()
    ]
    _run(_START + "\n".join(named), interpreted=True)


def _inset(code: str) -> str:
    return code.replace("\n", "\n    ")


def test_the_kernels_compile_for_an_h100_where_no_gpu_is() -> None:
    _run(_COMPILE, interpreted=False)
