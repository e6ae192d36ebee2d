"""Diversely decompress: choose a budgeted subset of the lake and write it with the reason of every pick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.pool import LakePool
from ecos_core.clustering.restricted import RestrictedPool, restricted_pool
from ecos_core.errors import InputError
from ecos_core.features.ray_tasks import Workplace
from ecos_core.lake.lake import Lake
from ecos_core.progress import ProgressSink, silent
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.distinct import superfluous
from ecos_core.sampling.divergence import kl_reduction
from ecos_core.sampling.engine_pool import EnginePool
from ecos_core.sampling.k_center_device import check_device
from ecos_core.sampling.samplers import KEEP_DUPLICATES, NEED_SCORES, sampler_named
from ecos_core.sampling.store import KIND, read_selection, write_selection
from ecos_core.stages.scoring import read_scores
from ecos_core.storage import Location, Manifest, canonical_json, read_manifest, sha256_hex


@dataclass(frozen=True)
class StoredSelection:
    """A selection on disk: its folder and manifest."""

    folder: Location
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def rows(self) -> int:
        """Images chosen."""
        return int(self.manifest.summary["samples"])


def needs_scores(sampler: str) -> bool:
    """Whether the sampler works from a client's answer."""
    return sampler in NEED_SCORES


@dataclass(frozen=True)
class Choice:
    """What to choose and how: everything of a selection but the client's answer."""

    budget: int
    sampler: str
    config: SamplerConfig
    seed: int

    def parameters(self) -> dict[str, Any]:
        return {"sampler": self.sampler, "budget": self.budget, "seed": self.seed, **self.config.parameters()}


def check_choice(lake: Lake, clustering: Clustering, choice: Choice) -> None:
    """Before a client is asked and privacy is spent: raises InputError for what could not be chosen."""
    sampler_named(choice.sampler)
    check_device(choice.config.k_center_on)
    if choice.budget <= 0:
        raise InputError(f"--budget {choice.budget}: at least 1 image is needed")
    pool = _pool(lake, clustering, choice)[0]
    usable = pool.size
    if choice.config.drop_duplicates and choice.sampler not in KEEP_DUPLICATES:
        copies = superfluous(pool.grouped())
        usable -= 0 if copies is None else len(copies.sample_ids)
    if choice.budget > usable and not choice.config.allow_fewer:
        what = "images" if usable == clustering.rows else "different images that may be used"
        raise InputError(
            f"--budget {choice.budget:,}: the lake holds {usable:,} {what}; ask for at most that many"
        )


def check_folder(
    lake: Lake, clustering: Clustering, choice: Choice, folder: Location, *, named: bool
) -> None:
    """Before privacy is spent: raises InputError where the answer or the selection could not be kept."""
    for place in (lake.folder("scores"), folder):
        probe = place / ".tmp-probe"
        try:
            probe.write_bytes(b"")
            probe.remove()
        except OSError as error:
            raise InputError(
                f"{place}: cannot be written ({error.strerror}); choose another folder"
            ) from error
    if named or not (folder / "manifest.json").exists():
        return
    held = read_manifest(folder, KIND)
    known = {**held.inputs, **_inputs_without_scores(clustering)}
    asked = {**choice.parameters(), **_pool(lake, clustering, choice)[1]}
    if held.inputs != known or held.parameters != asked:
        raise InputError(f"{folder}: holds another selection, which is kept; choose another folder")


def _pool(lake: Lake, clustering: Clustering, choice: Choice) -> tuple[RestrictedPool, dict[str, Any]]:
    """What may be chosen from, and the record of what restricts it."""
    return restricted_pool(LakePool(lake, clustering), choice.config.licence_allow)


def select(
    lake: Lake,
    clustering: Clustering,
    choice: Choice,
    scores: Location | None,
    folder: Location,
    *,
    named: bool = False,
    engine: Workplace = "local",
    progress: ProgressSink = silent,
) -> StoredSelection:
    """Choose into ``folder``, or with ``named`` into a folder of it that is named by what goes in.

    What is finished there is returned as it is. ``engine='ray'``: clusters are searched by tasks on a Ray cluster,
    for the samplers that choose cluster by cluster; the picks are the same. Raises InputError for a budget that
    the lake cannot fill, a sampler without the scores it needs, and a folder that holds another selection.
    """
    check_choice(lake, clustering, choice)
    inputs, values = _inputs(clustering, choice, scores)
    pool, restrictions = _pool(lake, clustering, choice)
    parameters = {**choice.parameters(), **restrictions}
    target = folder / selection_name(choice, inputs, parameters) if named else folder
    if (target / "manifest.json").exists():
        manifest = read_manifest(target, KIND)
        if manifest.inputs != inputs or manifest.parameters != parameters:
            raise InputError(f"{target}: holds another selection, which is kept; choose another folder")
        return StoredSelection(target, manifest)
    chosen = sampler_named(choice.sampler)(
        EnginePool(
            pool, choice.config.licence_allow, engine, progress, canonical_json(restrictions).decode()
        ),
        choice.budget,
        scores=values,
        config=choice.config,
        seed=choice.seed,
    )
    write_selection(target, chosen, parameters=parameters, inputs=inputs)
    return StoredSelection(target, read_manifest(target, KIND))


def _inputs(
    clustering: Clustering, choice: Choice, scores: Location | None
) -> tuple[dict[str, str], Scores | None]:
    inputs = _inputs_without_scores(clustering)
    if not needs_scores(choice.sampler):
        return inputs, None
    if scores is None:
        raise InputError(f"sampler '{choice.sampler}' works from a client's scores; name the client")
    stored, values = read_scores(scores)
    if stored.manifest.inputs["clustering"] != clustering.id:
        raise InputError(f"{scores}: these scores answer another clustering; ask the client for this one")
    return {**inputs, "scores": stored.manifest.digest}, values


def _inputs_without_scores(clustering: Clustering) -> dict[str, str]:
    return {
        "clustering": clustering.id,
        "extractor": clustering.fingerprint,
        "lake": clustering.snapshot_id,
    }


def selection_name(choice: Choice, inputs: dict[str, str], parameters: dict[str, Any]) -> str:
    """A folder name that is the same for the same inputs and parameters."""
    digest = sha256_hex(canonical_json([inputs, parameters]))
    return f"{choice.sampler}-{choice.budget}-{digest[:12]}"


def proximity_of(selection: str, *, budget: int | None = None, answer: str | None = None) -> float | None:
    """KL reduction (nats) of a selection's first ``budget`` picks towards the client's denoised answer.

    ``answer``: the selection that was made from the answer, where this one was made without. None where there is
    no answer to compare with, or it is of another clustering.
    """
    chosen = read_selection(selection)[0]
    told = chosen if answer is None else read_selection(answer)[0]
    estimated = told.cluster_score
    if np.isnan(told.cluster_noisy).any() or len(estimated) != len(chosen.cluster_size):
        return None
    picked = np.bincount(chosen.cluster[:budget], minlength=len(estimated))
    return kl_reduction(np.nan_to_num(estimated), chosen.cluster_size, picked)


LATEST = "latest"


def publish_latest(folder: Location, selection: Location) -> None:
    """Make ``folder/latest`` name this selection."""
    (folder / "LATEST").write_bytes(selection.name.encode())


def resolve_selection(selection: str) -> Location:
    """The selection's folder; ``…/latest`` is the one published last. Raises InputError when there is none yet."""
    where = Location.of(selection)
    if where.name != LATEST or (where / "manifest.json").exists():
        return where
    parent = Location(where.url.rsplit("/", 1)[0])
    try:
        return parent / (parent / "LATEST").read_bytes().decode().strip()
    except FileNotFoundError as error:
        raise InputError(
            f"{parent}: no selection was published here yet; run  sample-subset  first"
        ) from error
