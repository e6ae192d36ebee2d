"""Gather what the one-page report shows from the artefacts of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.pool import LakePool
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.reporting import data
from ecos_core.reporting.geometry import principal_plane
from ecos_core.reporting.style import sampler_name
from ecos_core.sampling.selection import Selection
from ecos_core.sampling.store import read_selection
from ecos_core.training.data import image_bytes, read_rows

MONTAGE_IMAGES = 60
CLUSTER_MONTAGES = 6
CLUSTER_MONTAGE_IMAGES = 8
MAP_SAMPLES = 6000
SHOWN_FIRST = "ecos"


def outsourcing_report(
    lake_url: str,
    clustering_id: str,
    selections: Mapping[str, str],
    *,
    title: str,
    rows: Sequence[Mapping[str, Any]] = (),
    privacy: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
    links: Sequence[data.Link] = (),
) -> data.ReportData:
    """``selections``: sampler -> folder, the one to explain first (``ecos`` where it is among them)."""
    lake = Lake.open(lake_url)
    clustering = Clustering.open(lake, clustering_id)
    snapshot = lake.snapshot(clustering.snapshot_id)
    chosen = {sampler: read_selection(folder)[0] for sampler, folder in selections.items()}
    main = chosen.get(SHOWN_FIRST) or next(iter(chosen.values()))
    scored = not np.isnan(main.cluster_noisy).all()
    return data.ReportData(
        title=title,
        lake=lake_summary(lake, snapshot),
        clustering=clustering_summary(lake, snapshot, clustering, main),
        results=tuple(_result(row) for row in rows),
        privacy=None if privacy is None else _privacy(privacy),
        scores=_scores(main, privacy) if scored else None,
        quotas=data.Quotas(main.cluster_quota, main.cluster_size),
        coverage={sampler_name(name): picked.radius for name, picked in chosen.items() if _has_radius(picked)},
        lake_map=lake_map(LakePool.open(lake, clustering_id), main),
        montages=tuple(_montage(lake, snapshot, name, picked) for name, picked in chosen.items()),
        omitted=dict(Counter(main.omitted.reason.tolist())),
        parameters=dict(parameters or {}),
        digests={"lake": snapshot.id, "clustering": clustering.id, "extractor": clustering.fingerprint, **(digests or {})},
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
    statistics = clustering.statistics
    largest = np.argsort(-selection.cluster_quota, kind="stable")[:CLUSTER_MONTAGES]
    nearest = {int(row): statistics.nearest_ids[row][:CLUSTER_MONTAGE_IMAGES] for row in largest}
    images = _images(lake, snapshot, [sample for ids in nearest.values() for sample in ids])
    montages = tuple(
        data.Montage(
            f"cluster {row}",
            tuple(images[sample] for sample in ids),
            f"{int(selection.cluster_quota[row])} chosen of {int(selection.cluster_size[row]):,}",
        )
        for row, ids in nearest.items()
    )
    return data.ClusteringSummary(
        clusters=clustering.clusters,
        extractor=clustering.fingerprint[:16],
        dimension=clustering.dimension,
        inertia=float(statistics.square_sums.sum()),
        sizes=statistics.sizes,
        montages=montages,
    )


def lake_map(pool: LakePool, selection: Selection) -> data.LakeMap | None:
    """A 2-D map (PCA) of at most ``MAP_SAMPLES`` of the lake, every chosen image among them."""
    share = min(1.0, MAP_SAMPLES / max(pool.size, 1))
    chosen = set(selection.sample_id.tolist())
    features, selected, groups = [], [], []
    for cluster in np.flatnonzero(pool.cluster_sizes):
        members = pool.members(int(cluster))
        picked = np.array([sample in chosen for sample in members.sample_ids.tolist()], dtype=bool)
        step = max(1, round(1 / share))
        keep = picked | (np.arange(len(members)) % step == 0)
        features.append(members.features[keep])
        selected.append(picked[keep])
        domains = members.domains if members.domains is not None else np.full(len(members), None)
        groups += [value or "not stated" for value in domains[keep].tolist()]
    try:
        points = principal_plane(np.concatenate(features))
    except InputError:
        return None
    return data.LakeMap(points, np.concatenate(selected), tuple(groups))


def _scores(selection: Selection, privacy: Mapping[str, Any] | None) -> data.Scores:
    sigma = float(privacy["sigma"]) if privacy else 0.0
    return data.Scores(selection.cluster_noisy, sigma, selection.cluster_score)


def _has_radius(selection: Selection) -> bool:
    return bool(np.isfinite(selection.radius).any())


def _montage(lake: Lake, snapshot: Snapshot, sampler: str, selection: Selection) -> data.Montage:
    shown = selection.sample_id[:MONTAGE_IMAGES].tolist()
    images = _images(lake, snapshot, shown)
    caption = f"the first {len(shown)} of {len(selection):,} picks"
    return data.Montage(sampler_name(sampler), tuple(images[sample] for sample in shown), caption)


def _images(lake: Lake, snapshot: Snapshot, sample_ids: Sequence[str]) -> dict[str, bytes]:
    rows = read_rows(lake, snapshot, sample_ids, ["bytes", "uri"])
    return {sample: image_bytes(row) for sample, row in rows.items()}


def _result(row: Mapping[str, Any]) -> data.ResultRow:
    return data.ResultRow(
        pool=row["pool"],
        client=row["client"],
        sampler=row["sampler"],
        budget=row["budget"],
        accuracy_mean=row["accuracy_mean"],
        accuracy_std=row["accuracy_std"],
        seeds=tuple(row["seeds"]),
        epsilon=row["epsilon"],
        delta=row["delta"],
    )


def _privacy(account: Mapping[str, Any]) -> data.PrivacyStatement:
    return data.PrivacyStatement(
        epsilon_release=account["epsilon_release"],
        epsilon_total=account["epsilon"],
        epsilon_autodp=account["epsilon_autodp"],
        delta=account["delta"],
        adjacency=account["adjacency"],
        sigma=account["sigma"],
        sensitivity=account["sensitivity"],
        gamma=account["gamma"],
        epsilon_limit=account.get("epsilon_limit"),
        receipt=account.get("receipt"),
    )


