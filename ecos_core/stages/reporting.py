"""Gather what the one-page report shows from the artefacts of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.members import Members
from ecos_core.clustering.pool import LakePool
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.lake.licences import licence_filter
from ecos_core.lake.lookup import image_rows
from ecos_core.reporting import data
from ecos_core.reporting.geometry import coverage_curve, principal_plane
from ecos_core.reporting.pictures import COLUMNS, picture_of
from ecos_core.reporting.style import sampler_name
from ecos_core.sampling.selection import Selection
from ecos_core.sampling.store import read_selection
from ecos_core.stages.account import Account

MONTAGE_IMAGES = 60
CLUSTER_MONTAGES = 6
CLUSTER_MONTAGE_IMAGES = 8
MAP_SAMPLES = 6_000
COVERAGE_SAMPLES = 1_000
SHOWN_SAMPLES = 200_000
SHOWN_FIRST = "ecos"


def outsourcing_report(
    lake: Lake,
    clustering: Clustering,
    selections: Mapping[str, str],
    *,
    title: str,
    rows: Sequence[data.ResultRow] = (),
    account: Account | None = None,
    parameters: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
    links: Sequence[data.Link] = (),
) -> data.ReportData:
    """``selections``: sampler -> folder, the one to explain first (``ecos`` where it is among them)."""
    snapshot = lake.snapshot(clustering.snapshot_id)
    read = {sampler: read_selection(folder) for sampler, folder in selections.items()}
    chosen = {sampler: selection for sampler, (selection, _) in read.items()}
    first = SHOWN_FIRST if SHOWN_FIRST in chosen else next(iter(chosen))
    main = chosen[first]
    scored = not np.isnan(main.cluster_noisy).all()
    shown_map, coverage = in_feature_space(LakePool(lake, clustering), main, chosen)
    return data.ReportData(
        title=title,
        subtitle=f"{len(main):,} of {snapshot.rows:,} open samples stand in for the client's private ones.",
        lake=lake_summary(lake, snapshot),
        clustering=clustering_summary(lake, snapshot, clustering, main),
        results=tuple(rows),
        privacy=None if account is None else _privacy(account),
        scores=_scores(main, account) if scored else None,
        outside=_outside(read[first][1].summary.get("outside")),
        quotas=data.Quotas(main.cluster_quota, main.cluster_size),
        coverage=coverage,
        lake_map=shown_map,
        montages=tuple(_montage(lake, snapshot, name, picked) for name, picked in chosen.items()),
        omitted=dict(Counter(main.omitted.reason.tolist())),
        parameters=dict(parameters or {}),
        digests={
            "lake": snapshot.id,
            "clustering": clustering.id,
            "extractor": clustering.fingerprint,
            **(digests or {}),
        },
        links=tuple(links),
    )


def lake_summary(lake: Lake, snapshot: Snapshot) -> data.LakeSummary:
    """Counts by domain, source, licence and reason of refusal."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("domain", "source", "licence")}
    for shard in snapshot.shards:
        table = lake.read_images(shard, list(counts))
        for name, counter in counts.items():
            counter.update(value or "not stated" for value in table[name].to_pylist())
    refused = Counter(row["reason"] for row in lake.read_quarantine(snapshot))
    return data.LakeSummary(
        images=snapshot.rows,
        domains=dict(counts["domain"]),
        sources=dict(counts["source"]),
        licences=dict(counts["licence"]),
        quarantined=dict(refused),
        snapshot=snapshot.id,
    )


def clustering_summary(
    lake: Lake, snapshot: Snapshot, clustering: Clustering, selection: Selection
) -> data.ClusteringSummary:
    """The clustering, with the nearest members of the clusters that got the largest quotas."""
    largest = np.argsort(-selection.cluster_quota, kind="stable")[:CLUSTER_MONTAGES].tolist()
    nearest = {row: clustering.statistics.nearest_ids[row][:CLUSTER_MONTAGE_IMAGES] for row in largest}
    usable = usable_samples(lake, snapshot, [sample for ids in nearest.values() for sample in ids])
    images = sample_pictures(lake, snapshot, usable)
    montages = (
        data.Montage(
            f"cluster {row}",
            tuple(images[sample] for sample in ids if sample in images),
            _taken(selection, row),
        )
        for row, ids in nearest.items()
    )
    return clustering_facts(clustering, tuple(montages))


def clustering_facts(clustering: Clustering, montages: tuple[data.Montage, ...]) -> data.ClusteringSummary:
    """Sizes and mean squared distance of a clustering, beside pictures of some of its clusters."""
    statistics = clustering.statistics
    return data.ClusteringSummary(
        clusters=clustering.clusters,
        extractor=clustering.fingerprint[:16],
        dimension=clustering.dimension,
        mean_squared_distance=float(statistics.square_sums.sum() / max(1, statistics.sizes.sum())),
        sizes=statistics.sizes,
        montages=montages,
    )


def usable_samples(lake: Lake, snapshot: Snapshot, sample_ids: list[str]) -> list[str]:
    """Those that the lake's licence rule lets one use."""
    licences = licence_filter(lake, snapshot)
    if licences is None:
        return sample_ids
    return np.array(sample_ids, dtype=object)[licences.mask(sample_ids)].tolist()


def _taken(selection: Selection, cluster: int) -> str:
    noisy = selection.cluster_noisy[cluster]
    asked = "" if np.isnan(noisy) else f"; the client's noised count is {noisy:.0f}"
    return (
        f"{int(selection.cluster_quota[cluster])} chosen of {int(selection.cluster_size[cluster]):,}{asked}"
    )


def in_feature_space(
    pool: LakePool, main: Selection, chosen: Mapping[str, Selection]
) -> tuple[data.LakeMap | None, dict[str, NDArray[np.floating]]]:
    """A 2-D map (PCA) of the lake, and how fast each sampler's picks cover what ``main`` chose from: images of its
    clusters, as many of each as its share of the picks says.

    A bounded part of the lake is read: clusters with the largest quotas first, up to ``SHOWN_SAMPLES``.
    """
    wanted = set().union(*(set(selection.sample_id.tolist()) for selection in chosen.values()))
    step = max(1, round(min(pool.size, SHOWN_SAMPLES) / MAP_SAMPLES))
    rows: list[_Shown] = []
    read = 0
    for cluster in np.argsort(-main.cluster_quota, kind="stable"):
        size = int(pool.cluster_sizes[cluster])
        if size == 0 or read + size > SHOWN_SAMPLES:
            continue
        read += size
        rows.append(
            _shown(
                pool.members(int(cluster)),
                wanted,
                step,
                share=main.cluster_quota[cluster] / max(1, len(main)),
            )
        )
    ids = [sample for part in rows for sample in part.ids]
    features = np.concatenate([part.features for part in rows])
    place = {sample: row for row, sample in enumerate(ids)}
    groups = tuple(group for part in rows for group in part.groups)
    selected = np.zeros(len(ids), bool)
    selected[[place[sample] for sample in main.sample_id.tolist() if sample in place]] = True
    try:
        shown_map = data.LakeMap(principal_plane(features), selected, groups)
    except InputError:
        shown_map = None
    targets = np.concatenate([_spread(part.features, round(part.share * COVERAGE_SAMPLES)) for part in rows])
    coverage = {
        name: _covers(
            targets, features[[place[sample] for sample in picked.sample_id.tolist() if sample in place]]
        )
        for name, picked in chosen.items()
    }
    return shown_map, coverage


@dataclass(frozen=True)
class _Shown:
    """The part of a cluster that figures use. ``share``: of all picks, so many are from here."""

    ids: list[str]
    features: NDArray[np.float32]
    groups: list[str]
    share: float


def _shown(members: Members, wanted: set[str], step: int, *, share: float) -> _Shown:
    keep = np.arange(len(members)) % step == 0
    keep |= np.array([sample in wanted for sample in members.sample_ids.tolist()], dtype=bool)
    domains = members.domains[keep].tolist() if members.domains is not None else [None] * int(keep.sum())
    return _Shown(
        members.sample_ids[keep].tolist(),
        members.features[keep],
        [domain or "not stated" for domain in domains],
        share,
    )


def _spread(features: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """About ``count`` rows, evenly spaced; all of them where there are fewer."""
    return features[
        np.unique(np.linspace(0, len(features) - 1, min(count, len(features))).round().astype(int))
    ]


def _covers(targets: NDArray[np.float32], picks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The coverage curve of ``picks`` over ``targets`` (and the picks themselves)."""
    together = np.concatenate([targets, picks])
    return coverage_curve(together, np.arange(len(targets), len(together)))


def _scores(selection: Selection, account: Account | None) -> data.Scores:
    return data.Scores(selection.cluster_noisy, account.sigma if account else 0.0, selection.cluster_score)


def _outside(stated: Mapping[str, Any] | None) -> data.Outside | None:
    if not stated:
        return None
    return data.Outside(**{name: stated[name] for name in ("known", "share", "low", "high", "words")})


def _montage(lake: Lake, snapshot: Snapshot, sampler: str, selection: Selection) -> data.Montage:
    shown = selection.sample_id[:MONTAGE_IMAGES].tolist()
    images = sample_pictures(lake, snapshot, shown)
    caption = f"the first {len(shown)} of {len(selection):,} picks"
    return data.Montage(sampler_name(sampler), tuple(images[sample] for sample in shown), caption)


def sample_pictures(lake: Lake, snapshot: Snapshot, sample_ids: Sequence[str]) -> dict[str, bytes]:
    """What stands for each of these samples on a page: an image file's bytes."""
    rows = image_rows(lake, snapshot, sample_ids, COLUMNS)
    return {row["sample_id"]: picture_of(row) for row in rows}


def _privacy(account: Account) -> data.PrivacyStatement:
    return data.PrivacyStatement(
        epsilon_release=account.epsilon_release,
        epsilon_total=account.epsilon,
        epsilon_autodp=account.epsilon_autodp,
        delta=account.delta,
        adjacency=account.adjacency,
        sigma=account.sigma,
        sensitivity=account.sensitivity,
        gamma=account.gamma,
        epsilon_limit=account.epsilon_limit,
    )
