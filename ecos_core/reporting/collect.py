"""Gather a report's data from what a run left on disk: the lake, its clustering, the answer, the selections.

Memory is bounded: the lake is counted shard by shard, the map and the coverage curves are drawn from a sample
of a few thousand features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.clustering import Clustering
from ecos_core.features.feature_set import FeatureSet
from ecos_core.labelling.images import image_bytes, image_rows
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.reporting.data import (
    ClusteringSummary,
    LakeMap,
    LakeSummary,
    Link,
    Montage,
    PrivacyStatement,
    Quotas,
    ReportData,
    ResultRow,
    Scores,
)
from ecos_core.reporting.geometry import coverage_curve, principal_plane
from ecos_core.reporting.style import sampler_name
from ecos_core.sampling.selection import Selection
from ecos_core.sampling.store import read_selection
from ecos_core.storage import Location, Manifest, read_manifest, read_shard

SHOWN_IMAGES = 40
SHOWN_CLUSTERS = 4
CLUSTER_IMAGES = 14
MAP_SHARDS = 16
MAP_ROWS = 4000
COVERAGE_PICKS = 1000


@dataclass(frozen=True)
class Source:
    """One selection to report on: its folder, and its scores' folder where its sampler asked the client."""

    sampler: str
    selection: str
    scores: str | None = None


def collect(
    lake: Lake,
    clustering: Clustering,
    sources: Sequence[Source],
    *,
    title: str,
    subtitle: str = "",
    rows: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, Any] | None = None,
    links: Sequence[Link] = (),
) -> ReportData:
    """The report of a run; the first of ``sources`` is the one whose scores, quotas and map are shown.

    Args:
        lake, clustering: what the selections were made from.
        sources: the selections to compare, at least one, best one a sampler.
        title, subtitle, parameters, links: as they shall stand on the page.
        rows: of the results table, see ``result_row``.

    Raises InputError or IntegrityError when an artefact is missing or broken.
    """
    snapshot = lake.snapshot(clustering.snapshot_id)
    selections = {source.sampler: read_selection(source.selection) for source in sources}
    main, _ = selections[sources[0].sampler]
    scores = _read_scores(sources[0].scores) if sources[0].scores else None
    plane, curves = _geometry(
        lake, clustering, {name: found[0] for name, found in selections.items()}, snapshot
    )
    return ReportData(
        title=title,
        subtitle=subtitle,
        lake=lake_summary(lake, snapshot),
        clustering=_clustering_summary(lake, snapshot, clustering, main),
        results=tuple(result_row(row) for row in rows),
        privacy=_privacy([source.scores for source in sources if source.scores]),
        scores=_scores(scores, main) if scores else None,
        quotas=Quotas(main.cluster_quota, main.cluster_size) if scores else None,
        coverage=curves,
        lake_map=plane,
        montages=_montages(lake, snapshot, {name: found[0] for name, found in selections.items()}),
        omitted=dict(Counter(str(reason) for reason in main.omitted.reason)),
        parameters={str(name): _plain(value) for name, value in (parameters or {}).items()},
        digests=_digests(clustering, selections, scores),
        links=tuple(links),
    )


def result_row(row: Mapping[str, Any]) -> ResultRow:
    """A row of ``ecos demo --json`` and its like; accuracies are fractions."""
    return ResultRow(
        pool=row["pool"],
        client=row["client"],
        sampler=row["sampler"],
        budget=row["budget"],
        accuracy_mean=row["accuracy_mean"],
        accuracy_std=row["accuracy_std"],
        seeds=tuple(row["seeds"]),
        epsilon=row.get("epsilon"),
        delta=row.get("delta"),
    )


def lake_summary(lake: Lake, snapshot: Snapshot) -> LakeSummary:
    """Count domains, sources and licences, shard by shard, and the refused files by reason."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("domain", "source", "licence")}
    for shard in snapshot.shards:
        table = lake.read_images(shard, list(counts))
        for name, counter in counts.items():
            for found in table[name].value_counts().to_pylist():
                counter[found["values"] if found["values"] is not None else "not stated"] += found["counts"]
    refused = Counter(str(row["reason"]) for row in lake.read_quarantine(snapshot))
    return LakeSummary(
        snapshot.rows, counts["domain"], counts["source"], counts["licence"], refused, snapshot.id
    )


def _read_scores(folder: str) -> tuple[Manifest, NDArray[np.int64]]:
    where = Location.of(folder)
    manifest = read_manifest(where, "scores")
    return manifest, read_shard(where, manifest.shards[0], ["noisy_score"])["noisy_score"].to_numpy()


def _scores(scores: tuple[Manifest, NDArray[np.int64]], selection: Selection) -> Scores:
    manifest, noisy = scores
    denoised = selection.cluster_score
    sigma = float(manifest.summary["privacy"]["sigma"])
    return Scores(noisy, sigma, denoised if np.isfinite(denoised).all() else None)


def _privacy(folders: Sequence[str]) -> PrivacyStatement | None:
    """The account of the answer that was given last: the one with the largest total."""
    found = [read_manifest(Location.of(folder), "scores") for folder in folders]
    charged = [manifest for manifest in found if manifest.summary["privacy"].get("epsilon") is not None]
    if not charged:
        return None
    last = max(charged, key=lambda manifest: float(manifest.summary["privacy"]["epsilon"]))
    first = charged[0].summary["privacy"]
    account, receipt = last.summary["privacy"], last.summary.get("receipt") or {}
    limit = account.get("epsilon_limit")
    return PrivacyStatement(
        epsilon_release=float(first["epsilon_release"]),
        epsilon_total=float(account["epsilon"]),
        epsilon_autodp=float(account["epsilon_autodp"]),
        delta=float(first["delta"]),
        adjacency=str(first["adjacency"]),
        sigma=float(first["sigma"]),
        sensitivity=float(first["sensitivity"]),
        gamma=float(first["gamma"]),
        epsilon_limit=None if limit is None else float(limit),
        receipt=receipt.get("answer_digest"),
    )


def _clustering_summary(
    lake: Lake, snapshot: Snapshot, clustering: Clustering, selection: Selection
) -> ClusteringSummary:
    """The clusters that give most to the selection, each by its picks nearest the centroid."""
    quota = selection.cluster_quota
    biggest = np.argsort(-quota, kind="stable")[:SHOWN_CLUSTERS]
    picks = {
        int(cluster): selection.sample_id[selection.cluster == cluster][:CLUSTER_IMAGES].tolist()
        for cluster in biggest
        if quota[cluster]
    }
    images = _images(lake, snapshot, [id for ids in picks.values() for id in ids])
    inertia = clustering.summary.get("inertia")
    return ClusteringSummary(
        clusters=clustering.clusters,
        extractor=clustering.fingerprint[:16],
        dimension=clustering.dimension,
        inertia=None if inertia is None else float(inertia),
        sizes=np.asarray(clustering.cluster_sizes),
        montages=tuple(
            Montage(
                f"Cluster {cluster}", tuple(images[id] for id in ids), f"gives {int(quota[cluster]):,} images"
            )
            for cluster, ids in picks.items()
        ),
    )


def _montages(lake: Lake, snapshot: Snapshot, selections: Mapping[str, Selection]) -> tuple[Montage, ...]:
    shown = {name: found.sample_id[:SHOWN_IMAGES].tolist() for name, found in selections.items()}
    images = _images(lake, snapshot, [id for ids in shown.values() for id in ids])
    return tuple(
        Montage(f"Chosen by {sampler_name(name)}", tuple(images[id] for id in ids), "in the order picked")
        for name, ids in shown.items()
    )


def _images(lake: Lake, snapshot: Snapshot, ids: list[str]) -> dict[str, bytes]:
    if not ids:
        return {}
    return {row["sample_id"]: image_bytes(row) for row in image_rows(lake, snapshot, ids, ["bytes", "uri"])}


def _geometry(
    lake: Lake, clustering: Clustering, selections: Mapping[str, Selection], snapshot: Snapshot
) -> tuple[LakeMap, dict[str, NDArray[np.float32]]]:
    """A map with the first selection on it, and the coverage of every selection, over a sample of the
    lake."""
    wanted = {str(id) for found in selections.values() for id in found.sample_id}
    ids, features = _feature_sample(lake, clustering, wanted)
    place = {id: row for row, id in enumerate(ids)}
    curves = {}
    for name, found in selections.items():
        picks = [place[id] for id in found.sample_id.tolist() if id in place][:COVERAGE_PICKS]
        if picks:
            curves[name] = coverage_curve(features, np.array(picks))
    first = set(next(iter(selections.values())).sample_id.tolist())
    chosen = np.array([id in first for id in ids], dtype=bool)
    return LakeMap(principal_plane(features), chosen, _domains(lake, snapshot, ids)), curves


def _feature_sample(
    lake: Lake, clustering: Clustering, wanted: set[str]
) -> tuple[list[str], NDArray[np.float32]]:
    """Every wanted sample of up to ``MAP_SHARDS`` shards, and evenly spaced others up to ``MAP_ROWS``."""
    found = FeatureSet.open(lake, clustering.fingerprint, clustering.snapshot_id)
    shards = found.shards[:: max(1, -(-len(found.shards) // MAP_SHARDS))]
    step = max(1, sum(shard.rows for shard in shards) // MAP_ROWS)
    ids: list[str] = []
    parts = []
    for shard in shards:
        read = found.read(shard)
        here = read.sample_ids.to_pylist()
        rows = [row for row, id in enumerate(here) if row % step == 0 or id in wanted]
        ids += [here[row] for row in rows]
        parts.append(np.asarray(read.features[rows], dtype=np.float32))
    return ids, np.concatenate(parts)


def _domains(lake: Lake, snapshot: Snapshot, ids: list[str]) -> tuple[str, ...]:
    rows = {row["sample_id"]: row["domain"] for row in image_rows(lake, snapshot, ids, ["domain"])}
    return tuple(str(rows[id] or "no domain") for id in ids)


def _digests(
    clustering: Clustering,
    selections: Mapping[str, tuple[Selection, Manifest]],
    scores: tuple[Manifest, NDArray[np.int64]] | None,
) -> dict[str, str]:
    found = {"lake snapshot": clustering.snapshot_id, "extractor": clustering.fingerprint}
    found |= {
        f"clustering's {role}": digest
        for role, digest in clustering.manifest.inputs.items()
        if role not in found
    }
    if scores:
        found["client's answer"] = scores[0].digest
    return found | {f"selection {name}": manifest.digest for name, (_, manifest) in selections.items()}


def _plain(value: Any) -> str | int | float | bool | None:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def collect_report(
    config: Any,
    cells: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    *,
    mlflow_run: str | None = None,
) -> ReportData:
    """The report of a whole outsourcing.

    Args:
        config: the run's ``OutsourceConfig``.
        cells: one a (sampler, budget, seed), as the flow made them; the first seed's largest budget is shown.
        rows: of the results table.
        mlflow_run: address of the MLflow run, linked when it is one a browser can open.
    """
    lake = Lake.open(config.index.lake)
    first = cells[0]
    shown = [
        cell for cell in cells if cell["seed"] == first["seed"] and cell["clustering"] == first["clustering"]
    ]
    sources: dict[str, Source] = {}
    for cell in sorted(shown, key=lambda cell: (cell["sampler"] != "ecos", -int(cell["budget"]))):
        scores = cell["scored"]["scores"] if cell["scored"] else None
        sources.setdefault(cell["sampler"], Source(cell["sampler"], cell["selection"]["selection"], scores))
    budgets = ", ".join(f"{budget:,}" for budget in config.budgets)
    return collect(
        lake,
        Clustering.open(lake, first["clustering"]),
        list(sources.values()),
        title="Which part of the lake stands in for the client's images",
        subtitle=f"{config.tracking.experiment}: budget {budgets}, seeds {', '.join(map(str, config.seeds))}",
        rows=rows,
        parameters={
            "backbone": config.index.extractor.name,
            "image size, px": config.index.extractor.image_size,
            "clusters": config.index.clusters,
            "samplers": ", ".join(sources),
            "trained": config.training.use.value,
        },
        links=[Link("MLflow run", mlflow_run)] if mlflow_run and mlflow_run.startswith("http") else [],
    )
