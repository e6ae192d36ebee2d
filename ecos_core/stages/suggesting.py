"""First answers for labellers from the client's own labels, by one differentially private release.

``private-knn`` asks for a label of every image (Zhu et al., CVPR 2020): each one is paid for, so that the
noise grows with the root of their number. ``label-histogram`` asks once, for counts of (cluster, label), and
labels every image from those and its own features (``ClassHistogram``): a fraction of the noise. Either way a repeat
of the same question costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ecos_core.client.connection import Connection, Release
from ecos_core.clustering.clustering import Clustering
from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import InputError
from ecos_core.features.feature_set import FeatureSet
from ecos_core.labelling.class_histogram import ClassHistogram
from ecos_core.labelling.confidence import neighbour_confidence
from ecos_core.labelling.preannotations import SUGGESTIONS, SUGGESTIONS_NAME
from ecos_core.lake.lake import Lake
from ecos_core.privacy.planner import plan_knn, plan_sigma
from ecos_core.sampling.store import read_selection
from ecos_core.stages.account import Account
from ecos_core.stages.clusterings import clustering_of
from ecos_core.stages.scoring import connect, stated
from ecos_core.storage import Location, Manifest, held, write_manifest, write_shard

Method = Literal["private-knn", "label-histogram"]
METHODS: tuple[str, ...] = get_args(Method)
# Neighbours for each unit of noise: a vote of two thirds then stands out from what is left by two deviations.
NEIGHBOURS_PER_SIGMA = 6.0
# With fewer neighbours for each unit of noise an answer is mostly chance.
LEAST_PER_SIGMA = 1.5
# In a cluster that holds fewer private images than this, by the denoised counts, nothing is suggested.
LEAST_RECORDS = 1.0


@dataclass(frozen=True)
class Question:
    """What to ask. ``neighbours`` None: by the noise and by what the client says it holds; ``first``: only so
    many picks, None for all.
    """

    classes: tuple[str, ...]
    method: Method = "label-histogram"
    neighbours: int | None = None
    first: int | None = None


@dataclass(frozen=True)
class Suggestions:
    """First answers on disk. ``summary``: ``asked``, ``answered``, ``origin``, ``privacy``, ``receipt``."""

    folder: Location
    manifest: Manifest

    @property
    def summary(self) -> dict[str, Any]:
        return self.manifest.summary


@dataclass(frozen=True)
class _Picks:
    """The picks asked about, in the order picked: ids, cluster int64 [m], features float32 [m, d]."""

    sample_ids: list[str]
    cluster: NDArray[np.int64]
    features: NDArray[np.float32]
    clustering: Clustering


def suggest(
    selection: str | Location,
    lake: Lake,
    client: ClientConfig,
    privacy: PrivacyConfig,
    question: Question,
    out: str | Location,
) -> Suggestions:
    """Ask the client and write ``out``; what is there for the same question is returned as it is.

    Raises InputError for a question that cannot be or would be answered by chance, and RemoteError,
    PolicyError or BudgetExceeded as the client answers.
    """
    _check(question)
    folder = Location.of(out)
    chosen, source = read_selection(selection)
    count = len(chosen) if question.first is None else min(question.first, len(chosen))
    inputs = {"selection": source.digest, "lake": source.inputs["lake"]}
    parameters = {
        "method": question.method, "classes": list(question.classes), "neighbours": question.neighbours,
        "images": count, "client": client.url, "privacy": privacy.model_dump(mode="json", exclude={"approve_above"}),
    }  # fmt: skip
    if (answered := held(folder, SUGGESTIONS, inputs, parameters)) is not None:
        return Suggestions(folder, answered)
    clustering = clustering_of(lake, Location.of(selection), source)
    picks = _picks(lake, clustering, chosen.sample_id[:count].tolist(), chosen.cluster[:count])
    with connect(client) as connection:
        stated(connection, privacy)
        ask = _ask_knn if question.method == "private-knn" else _ask_histogram
        release, labels, confidence, how = ask(connection, picks, privacy, question)
    account = Account.after(release.receipt, privacy, how["sigma"], None)
    origin = (
        f"labels that the client's private images give by {question.method}, epsilon "
        f"{account.epsilon_release:.3g} at delta {account.delta:g}"
    )
    summary = {
        "asked": count,
        "answered": sum(label is not None for label in labels),
        "origin": origin,
        "how": how,
        "privacy": account.stored(),
        "receipt": release.receipt.model_dump(mode="json"),
    }
    table = _table(
        picks.sample_ids, labels, confidence, f"{question.method} (epsilon {account.epsilon_release:.3g})"
    )
    manifest = Manifest(
        kind=SUGGESTIONS,
        inputs=inputs,
        parameters=parameters,
        shards=[write_shard(folder, SUGGESTIONS_NAME, table)],
        summary=summary,
    )
    write_manifest(folder, manifest)
    return Suggestions(folder, manifest)


def _check(question: Question) -> None:
    if question.method not in METHODS:
        raise InputError(f"method '{question.method}': choose one of {', '.join(METHODS)}")
    if len(question.classes) < 2 or len(set(question.classes)) != len(question.classes):
        raise InputError("label set: at least two different labels are needed")
    if question.first is not None and question.first < 1:
        raise InputError(f"first {question.first}: at least one image is needed")


def _picks(lake: Lake, clustering: Clustering, ids: list[str], cluster: NDArray[np.int64]) -> _Picks:
    if not ids:
        raise InputError("the selection is empty; sample again with a budget of 1 or more")
    stored = FeatureSet.open(lake, clustering.fingerprint, clustering.snapshot_id)
    found, features = stored.of(ids)
    if len(found) < len(ids):
        raise InputError(f"{lake.location}: {len(ids) - len(found)} picks have no features; run  ecos index")
    return _Picks(ids, cluster, features, clustering)


Answered = tuple[Release, list[str | None], NDArray[np.float64], dict[str, Any]]


def _ask_knn(connection: Connection, picks: _Picks, privacy: PrivacyConfig, question: Question) -> Answered:
    count, classes = len(picks.sample_ids), question.classes
    sigma = privacy.sigma or plan_knn(
        privacy.epsilon or math.inf, privacy.delta, queries=count, adjacency=privacy.adjacency,
        gamma=privacy.gamma,
    )  # fmt: skip
    neighbours = question.neighbours or _neighbours(
        sigma, connection.info().stated_records, len(classes), count
    )
    how = {"sigma": sigma, "neighbours": neighbours, "threshold": neighbours / 2}
    release = connection.label(
        picks.features,
        classes,
        fingerprint=picks.clustering.fingerprint,
        neighbours=neighbours,
        threshold=how["threshold"],
        screening_sigma=sigma,
        argmax_sigma=sigma,
        adjacency=str(privacy.adjacency),
        gamma=privacy.gamma,
    )
    labels = [classes[place] if place >= 0 else None for place in release.values.tolist()]
    answered = [row for row, label in enumerate(labels) if label is not None]
    confidence = np.full(count, np.nan)
    confidence[answered] = neighbour_confidence(
        picks.features[answered], [str(labels[row]) for row in answered], len(classes)
    )
    return release, labels, confidence, how


def _neighbours(sigma: float, records: int | None, classes: int, images: int) -> int:
    """Enough of them to stand out from the noise, yet no more than half of a class's share of the records."""
    wanted = max(10, math.ceil(NEIGHBOURS_PER_SIGMA * sigma))
    most = 10_000 if records is None else max(1, records // (2 * classes))
    if min(wanted, most) < LEAST_PER_SIGMA * sigma:
        raise InputError(
            f"{images:,} labels at this epsilon need noise of {sigma:.0f} on votes of {min(wanted, most)} "
            "neighbours: mostly chance. Ask with  --method label-histogram,  for fewer images with  --first,  or "
            "at a larger epsilon; --neighbours N asks all the same"
        )
    return min(wanted, most)


def _ask_histogram(
    connection: Connection, picks: _Picks, privacy: PrivacyConfig, question: Question
) -> Answered:
    sigma = (
        privacy.sigma
        or plan_sigma(
            privacy.epsilon or math.inf, privacy.delta, adjacency=privacy.adjacency, gamma=privacy.gamma
        ).sigma
    )
    clustering, classes = picks.clustering, question.classes
    release = connection.label_histogram(
        clustering.centroids, classes, sigma=sigma, fingerprint=clustering.fingerprint,
        adjacency=str(privacy.adjacency), gamma=privacy.gamma,
    )  # fmt: skip
    histogram = ClassHistogram(release.values.astype(np.int64), classes, sigma)
    probable = histogram.probabilities(picks.features, picks.cluster, clustering.centroids)
    enough = histogram.estimated().sum(axis=1)[picks.cluster] >= LEAST_RECORDS
    labels = [
        classes[place] if sure else None
        for place, sure in zip(probable.argmax(axis=1).tolist(), enough.tolist(), strict=True)
    ]
    confidence = probable.max(axis=1)
    return release, labels, confidence, {"sigma": sigma}


def _table(
    ids: Sequence[str], labels: Sequence[str | None], confidence: NDArray[np.float64], model: str
) -> Any:
    """One row a sample asked about; ``label`` and ``score`` are null where the client is unsure."""
    import pyarrow as pa

    scores = [
        None if label is None else float(score) for label, score in zip(labels, confidence, strict=True)
    ]
    return pa.table(
        {
            "sample_id": pa.array(ids, pa.string()),
            "label": pa.array(labels, pa.string()),
            "score": pa.array(scores, pa.float64()),
            "model": pa.array([model] * len(ids), pa.string()),
        }
    )
