"""Diversely decompress: choose a budgeted subset of the lake and write it with the reason of every pick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
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
from ecos_core.sampling.store import KIND, picked_so_far, read_selection, write_selection
from ecos_core.stages.scoring import read_scores
from ecos_core.storage import Location, Manifest, canonical_json, held, read_manifest, sha256_hex
from ecos_core.storage.artefacts import MANIFEST_NAME


@dataclass(frozen=True)
class StoredSelection:
    """A selection on disk: its folder and manifest."""

    folder: Location
    manifest: Manifest

    @property
    def digest(self) -> str:
        """Of the manifest, 64 hex digits."""
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
    """What to choose and how: everything of a selection but the client's answer. ``continue_from``: a selection whose
    picks count towards the budget and are not chosen again."""

    budget: int
    sampler: str
    config: SamplerConfig
    seed: int
    continue_from: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Of the selection's manifest."""
        return {"sampler": self.sampler, "budget": self.budget, "seed": self.seed, **self.config.parameters()}

    @cached_property
    def earlier(self) -> tuple[str, Sequence[str]]:
        """(digest, sample ids) of what is continued; nothing where a selection starts anew."""
        if self.continue_from is None:
            return "", ()
        manifest, picked = picked_so_far(resolve_selection(self.continue_from))
        return manifest.digest, picked


class Selecting:
    """The choice from one clustering; its pool is built once. Not a data class: an orchestrator must not look inside.

    ``folder``: where the selection goes, or with ``named`` the folder that gets one named by what goes into it.
    ``engine='ray'``: clusters are searched by tasks on a Ray cluster, for the samplers that choose cluster by cluster;
    the picks are the same.
    """

    def __init__(
        self,
        lake: Lake,
        clustering: Clustering,
        choice: Choice,
        folder: Location,
        *,
        named: bool = False,
        engine: Workplace = "local",
        progress: ProgressSink = silent,
    ) -> None:
        self.lake, self.clustering, self.choice = lake, clustering, choice
        self.folder, self.named, self.engine, self.progress = folder, named, engine, progress

    @cached_property
    def _restricted(self) -> tuple[RestrictedPool, dict[str, Any]]:
        """What may be chosen from, and the record of what restricts it."""
        return restricted_pool(LakePool(self.lake, self.clustering), self.choice.config.licence_allow)

    @property
    def needs_scores(self) -> bool:
        """Whether the sampler works from a client's answer."""
        return needs_scores(self.choice.sampler)

    def check(self) -> None:
        """Before a client is asked and privacy is spent: raises InputError for what could not be chosen or kept."""
        self._check_choice()
        self._check_folder()

    def _check_choice(self) -> None:
        choice = self.choice
        sampler_named(choice.sampler)
        check_device(choice.config.k_center_on)
        if choice.budget <= 0:
            raise InputError(f"--budget {choice.budget}: at least 1 image is needed")
        pool = self._restricted[0]
        usable = pool.size
        if choice.config.drop_duplicates and choice.sampler not in KEEP_DUPLICATES:
            copies = superfluous(pool.grouped())
            usable -= 0 if copies is None else len(copies.sample_ids)
        if choice.budget > usable and not choice.config.allow_fewer:
            what = "images" if usable == self.clustering.rows else "different images that may be used"
            raise InputError(
                f"--budget {choice.budget:,}: the lake holds {usable:,} {what}; ask for at most that many"
            )
        chosen_before = len(choice.earlier[1])
        if choice.budget <= chosen_before:
            raise InputError(
                f"--budget {choice.budget:,}: {chosen_before:,} were chosen earlier, which count; ask for more"
            )

    def _check_folder(self) -> None:
        check_writable(self.folder)
        if self.named or not (self.folder / MANIFEST_NAME).exists():
            return
        # The answer is not known yet: whichever it was, all else must be the same.
        answer = {
            role: digest
            for role, digest in read_manifest(self.folder, KIND).inputs.items()
            if role == "scores" and self.needs_scores
        }
        self._held(self.folder, {**self._inputs_without_scores(), **answer})

    def select(self, scores: Location | None) -> StoredSelection:
        """Choose; what is finished there for the same inputs is returned as it is.

        Raises InputError for a budget that the lake cannot fill, a sampler without the scores it needs, scores of
        another clustering, and a folder that holds another selection.
        """
        self._check_choice()
        inputs, values = self._inputs(scores)
        name = selection_name(self.choice, inputs, self._parameters)
        target = self.folder / name if self.named else self.folder
        if (manifest := self._held(target, inputs)) is None:
            pool, restrictions = self._restricted
            version = canonical_json(restrictions).decode()
            chosen = sampler_named(self.choice.sampler)(
                EnginePool(pool, self.choice.config.licence_allow, self.engine, self.progress, version),
                self.choice.budget,
                scores=values,
                config=self.choice.config,
                seed=self.choice.seed,
                selected=self.choice.earlier[1],
            )
            write_selection(
                target,
                chosen,
                parameters=self._parameters,
                inputs=inputs,
                earlier=self.choice.earlier[1],
                outside=None if scores is None else read_scores(scores)[0].outside,
            )
            manifest = read_manifest(target, KIND)
        return StoredSelection(target, manifest)

    def _held(self, folder: Location, inputs: dict[str, str]) -> Manifest | None:
        return held(folder, KIND, inputs, self._parameters, read_old=_in_words_of_today)

    @cached_property
    def _parameters(self) -> dict[str, Any]:
        return {**self.choice.parameters(), **self._restricted[1]}

    def _inputs(self, scores: Location | None) -> tuple[dict[str, str], Scores | None]:
        inputs = self._inputs_without_scores()
        if not self.needs_scores:
            return inputs, None
        if scores is None:
            raise InputError(f"sampler '{self.choice.sampler}' works from a client's scores; name the client")
        stored, values = read_scores(scores)
        if stored.manifest.inputs["clustering"] != self.clustering.id:
            raise InputError(f"{scores}: these scores answer another clustering; ask the client for this one")
        return {**inputs, "scores": stored.manifest.digest}, values

    def _inputs_without_scores(self) -> dict[str, str]:
        digest = self.choice.earlier[0]
        return {
            "clustering": self.clustering.id,
            "extractor": self.clustering.fingerprint,
            "lake": self.clustering.snapshot_id,
            **({"continues": digest} if digest else {}),
        }


def _in_words_of_today(stored: dict[str, Any]) -> dict[str, Any]:
    """Parameters of an earlier version: what is retired is left out at the value that means nothing, what is new has
    its default, which must therefore mean what was done before."""
    kept = {
        name: value
        for name, value in stored.items()
        if name not in SamplerConfig.RETIRED or value != SamplerConfig.RETIRED[name][0]
    }
    return {**SamplerConfig().parameters(), **kept}


def check_writable(folder: Location) -> None:
    """Raises InputError where nothing could be kept."""
    probe = folder / ".tmp-probe"
    try:
        probe.write_bytes(b"")
        probe.remove()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


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
    if where.name != LATEST or (where / MANIFEST_NAME).exists():
        return where
    parent = Location(where.url.rsplit("/", 1)[0])
    try:
        return parent / (parent / "LATEST").read_bytes().decode().strip()
    except FileNotFoundError as error:
        raise InputError(
            f"{parent}: no selection was published here yet; run  sample-subset  first"
        ) from error
