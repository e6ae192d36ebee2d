"""Diversely decompress: choose a budgeted subset of the lake and write it with the reason of every pick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.pool import LakePool
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake
from ecos_core.sampling.config import SamplerConfig
from ecos_core.sampling.samplers import SAMPLERS
from ecos_core.sampling.store import KIND, write_selection
from ecos_core.stages.scoring import read_scores
from ecos_core.storage import Location, Manifest, canonical_json, read_manifest, sha256_hex

SCORED = frozenset({"ecos", "ecos_paper", "ecos_noise_free", "proximity", "dsir"})


@dataclass(frozen=True)
class StoredSelection:
    """A selection on disk: its folder and manifest."""

    folder: Location
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest


def needs_scores(sampler: str) -> bool:
    """Whether the sampler works from a client's answer."""
    return sampler in SCORED


def select(
    lake: Lake,
    clustering: Clustering,
    folder: Location,
    *,
    budget: int,
    sampler: str,
    config: SamplerConfig,
    seed: int,
    scores: Location | None,
) -> StoredSelection:
    """Choose ``budget`` samples into ``folder/<name>``, named by what goes in, so that a repeat is found finished.

    Raises InputError for a budget the lake cannot fill, and for a sampler without the scores it needs.
    """
    if needs_scores(sampler) and scores is None:
        raise InputError(f"sampler '{sampler}' works from a client's scores; name the client")
    inputs = {"clustering": clustering.id}
    values = None
    if scores is not None and needs_scores(sampler):
        stored, values = read_scores(scores)
        if stored.manifest.inputs["clustering"] != clustering.id:
            raise InputError(f"{scores}: these scores answer another clustering; ask the client for this one")
        inputs["scores"] = stored.manifest.digest
    parameters: dict[str, Any] = {
        "sampler": sampler,
        "budget": budget,
        "seed": seed,
        **config.parameters(),
    }
    target = folder / selection_name(sampler, budget, inputs, parameters)
    if (target / "manifest.json").exists():
        return StoredSelection(target, read_manifest(target, KIND))
    pool = LakePool(lake, clustering)
    chosen = SAMPLERS[sampler](pool, budget, scores=values, config=config, seed=seed)
    write_selection(target, chosen, parameters=parameters, inputs=inputs)
    return StoredSelection(target, read_manifest(target, KIND))


def selection_name(sampler: str, budget: int, inputs: dict[str, str], parameters: dict[str, Any]) -> str:
    """A folder name that is the same for the same inputs and parameters."""
    return f"{sampler}-{budget}-{sha256_hex(canonical_json([inputs, parameters]))[:12]}"
