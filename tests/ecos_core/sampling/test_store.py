"""A selection survives the disk, byte for byte, and a damaged one is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecos_core.errors import InputError, IntegrityError
from ecos_core.sampling.pool import ArrayPool
from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores
from ecos_core.sampling.store import read_selection, write_selection

SCORES = Scores(np.array([40, -3, 12, 0, 7, 80, 2, -9]), sigma=5.0)


@pytest.mark.parametrize("name", ["ecos", "random", "balanced"])
def test_round_trip(name: str, tmp_path: Path, make_pool: Callable[..., ArrayPool]) -> None:
    pool = make_pool(duplicate_groups=np.arange(200) // 2)
    chosen = SAMPLERS[name](pool, 50, scores=SCORES, config=SamplerConfig(), seed=1)
    digest = write_selection(tmp_path / "a", chosen, {"budget": 50}, {"clusters": "c1"})
    back, manifest = read_selection(tmp_path / "a")
    assert manifest.digest == digest
    assert manifest.summary["samples"] == 50
    assert back.sample_id.tolist() == chosen.sample_id.tolist()
    np.testing.assert_array_equal(back.radius, chosen.radius)
    np.testing.assert_array_equal(back.quota, chosen.quota)
    assert back.omitted.sample_id.tolist() == chosen.omitted.sample_id.tolist()
    assert write_selection(tmp_path / "b", back, {"budget": 50}, {"clusters": "c1"}) == digest
    assert back.prefix(10).sample_id.tolist() == chosen.prefix(10).sample_id.tolist()


def test_missing_and_damaged_are_named(tmp_path: Path, make_pool: Callable[..., ArrayPool]) -> None:
    with pytest.raises(InputError, match="no finished selection"):
        read_selection(tmp_path)
    chosen = SAMPLERS["random"](make_pool(), 5, scores=None, config=SamplerConfig(), seed=1)
    write_selection(tmp_path, chosen, {}, {})
    (tmp_path / "selection.parquet").unlink()
    with pytest.raises(IntegrityError, match="no file"):
        read_selection(tmp_path)


def test_every_cluster_without_a_pick_says_why(make_pool: Callable[..., ArrayPool]) -> None:
    scores = Scores(np.array([400, -3, 120, 0, 7, 80, 2, -9]), sigma=5.0)
    chosen = SAMPLERS["ecos"](make_pool(), 10, scores=scores, config=SamplerConfig(denoise="clip"), seed=1)
    tables = chosen.to_tables()
    left_out = dict(
        zip(
            tables["omitted_clusters"]["cluster"].to_pylist(),
            tables["omitted_clusters"]["reason"].to_pylist(),
            strict=True,
        )
    )
    assert set(left_out) == set(range(8)) - set(chosen.cluster.tolist())
    assert left_out[1] == "score is zero after denoising"
    assert left_out[6] == "its share of the budget is less than one sample"
