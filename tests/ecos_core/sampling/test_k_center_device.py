"""Where k-center runs is asked for, recorded, and changes no pick but near ties; here torch on the CPU stands in
for the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.sampling import k_center_device, k_center_torch, ranking
from ecos_core.sampling.pool import ArrayPool
from ecos_core.sampling.samplers import SAMPLERS, SamplerConfig, Scores

Calls = list[int]
MakePool = Callable[..., ArrayPool]
SCORES = Scores(np.array([40, -3, 12, 0, 7, 80, 2, -9]), sigma=5.0)
ON_CPU = SamplerConfig(diversity="k_center", target_domain="photo", allow_fewer=True, duplicate_radius=1.2)
ON_GPU = ON_CPU.model_copy(update={"k_center_on": "gpu"})


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A GPU is seen; how many clusters each call of the batched search got."""
    calls: Calls = []
    searched = k_center_torch.greedy_k_center_groups

    def on_the_cpu(groups: Any, *others: Any, device: str, **how: Any) -> Any:
        assert device == "cuda"
        calls.append(len(groups))
        return searched(groups, *others, device="cpu", **how)

    monkeypatch.setattr(k_center_device, "sees_gpu", lambda: True)
    monkeypatch.setattr(k_center_torch, "greedy_k_center_groups", on_the_cpu)
    return calls


@pytest.mark.parametrize("name", ["k_center", "ecos", "ecos_paper", "oracle"])
@pytest.mark.parametrize("earlier", [0, 20])
def test_a_gpu_chooses_what_the_cpu_chooses(
    name: str, earlier: int, make_pool: MakePool, stand_in: Calls
) -> None:
    pool = make_pool(duplicate_groups=np.random.default_rng(1).integers(-150, 30, size=200))
    before = [f"s{i:05d}" for i in range(earlier)]
    cpu, gpu = (
        SAMPLERS[name](pool, 90, scores=SCORES, config=config, seed=3, selected=before)
        for config in (ON_CPU, ON_GPU)
    )
    assert stand_in, "the GPU's search was used"
    assert gpu.sample_id.tolist() == cpu.sample_id.tolist()
    assert gpu.reason.tolist() == cpu.reason.tolist()
    assert sorted(gpu.omitted.sample_id.tolist()) == sorted(cpu.omitted.sample_id.tolist())
    np.testing.assert_allclose(gpu.radius, cpu.radius, rtol=1e-3)


def test_all_clusters_share_a_batch_as_far_as_memory_allows(
    make_pool: MakePool, stand_in: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    SAMPLERS["ecos"](pool, 60, scores=SCORES, config=ON_GPU, seed=0)
    assert stand_in[0] == np.count_nonzero(SCORES.noisy > 0)
    stand_in.clear()
    monkeypatch.setattr(ranking, "BATCH_BYTES", 60 * 5 * 4)
    SAMPLERS["ecos"](pool, 60, scores=SCORES, config=ON_GPU, seed=0)
    assert len(stand_in) > 1
    assert max(stand_in) <= 3


def test_where_it_runs_is_recorded_and_a_gpu_that_is_not_there_is_refused(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SamplerConfig().parameters()["k_center_on"] == "cpu"
    assert ON_GPU.parameters()["k_center_on"] == "gpu"
    monkeypatch.setattr(k_center_device, "sees_gpu", lambda: False)
    with pytest.raises(InputError, match="set k_center_on to cpu"):
        SAMPLERS["k_center"](make_pool(), 10, scores=None, config=ON_GPU, seed=0)
