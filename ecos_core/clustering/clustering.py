"""A clustering of the lake: immutable, under its own id, with ``clusters/HEAD`` naming the newest.

Fit on a sample, assign everything by streaming. When the lake has grown, only new images are assigned, to
the same centroids, and a drift figure says how much worse they fit; fitting anew is the user's decision.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.backends import BackendName
from ecos_core.clustering.kmeans import POINTS_PER_CENTROID, Centroids, centroids_digest, fit_kmeans
from ecos_core.clustering.reach import Reach
from ecos_core.clustering.runs import (
    RunDone,
    RunStatistics,
    merge_statistics,
    plan_runs,
    read_statistics,
    write_runs,
)
from ecos_core.errors import InputError
from ecos_core.features.feature_set import FeatureSet, column, matrix
from ecos_core.features.ray_tasks import Workplace
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import (
    Location,
    Manifest,
    canonical_json,
    held,
    identity,
    read_manifest,
    sha256_hex,
    write_manifest,
    write_shard,
)
from ecos_core.storage.parquet import open_parquet

KIND = "clusters"
CENTROIDS_NAME = "centroids.parquet"
REACH_NAME = "reach.parquet"
MEMBERS_NAME = "members"
ID_DIGITS = 16


@dataclass(frozen=True)
class Clustering:
    """One clustering on disk. Get one from ``cluster_lake`` or ``Clustering.open``."""

    root: Location
    id: str
    manifest: Manifest

    @classmethod
    def open(cls, lake: Lake, id: str | None = None) -> Clustering:
        """The newest clustering, or the one of that id. Raises InputError when there is none."""
        root = lake.folder(KIND)
        id = id or head(lake)
        if id is None:
            raise InputError(f"{lake.location}: not clustered yet; run  ecos index --lake {lake.location}")
        if not (root / id / "manifest.json").exists():
            known = ", ".join(name for name in root.names() if len(name) == ID_DIGITS)
            raise InputError(f"{lake.location}: no clustering '{id}' (there are: {known})")
        return cls.at(root, id)

    @classmethod
    def at(cls, root: Location, id: str) -> Clustering:
        """The clustering ``root/id``, in a lake or not. Raises InputError when there is none."""
        return cls(root, id, read_manifest(root / id, KIND))

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        return self.manifest.inputs["extractor"]

    @property
    def snapshot_id(self) -> str:
        """Of the lake."""
        return self.manifest.inputs["lake"]

    @property
    def parent(self) -> str | None:
        """The clustering whose centroids and members this one took over when the lake grew."""
        return self.manifest.inputs.get("parent")

    @property
    def clusters(self) -> int:
        """R."""
        return int(self.manifest.parameters["clusters"])

    @property
    def dimension(self) -> int:
        """Numbers in a feature."""
        return int(self.manifest.parameters["dimension"])

    @property
    def rows(self) -> int:
        """Images assigned."""
        return self.manifest.rows

    @property
    def summary(self) -> dict[str, Any]:
        """Figures: rows, new rows, inertia, drift, sizes' quantiles, empty clusters."""
        return self.manifest.summary["quality"]

    @property
    def runs(self) -> list[RunDone]:
        """Record names are relative to ``root``."""
        return [RunDone.model_validate(run) for run in self.manifest.summary["runs"]]

    @functools.cached_property
    def centroids(self) -> NDArray[np.float32]:
        """float32 [R, d]."""
        return read_centroids(self.root / self.id / CENTROIDS_NAME)

    @functools.cached_property
    def reach(self) -> Reach:
        """How far the clusters reach: as it was at the fit, whatever the lake has grown by since, so that a client is
        asked the same question. A clustering of before it was kept has it computed from its own members."""
        if (self.root / self.id / REACH_NAME).exists():
            return Reach.read(self.root / self.id / REACH_NAME)
        return Reach.of_runs(self.root, self.runs, self.statistics, self.centroids)

    @property
    def cluster_sizes(self) -> NDArray[np.int64]:
        """int64 [R]."""
        return self.statistics.sizes

    @functools.cached_property
    def statistics(self) -> RunStatistics:
        """Sizes, distances and nearest members of every cluster."""
        return merge_statistics(
            [read_statistics(self.root, run.statistics) for run in self.runs], self.clusters
        )


def head(lake: Lake) -> str | None:
    """The id of the newest clustering; None when there is none."""
    try:
        return (lake.folder(KIND) / "HEAD").read_bytes().decode().strip()
    except FileNotFoundError:
        return None


def cluster_lake(
    lake: Lake,
    feature_set: FeatureSet,
    *,
    clusters: int,
    seed: int = 0,
    spherical: bool = False,
    iterations: int = 25,
    backend: BackendName = "auto",
    recluster: bool = False,
    root: Location | None = None,
    engine: Workplace = "local",
    progress: ProgressSink = silent,
) -> Clustering:
    """Cluster ``feature_set`` and make the result the newest clustering; with ``root`` it is kept there, fitted anew,
    and the lake's newest stays.

    When the newest clustering was asked for with the same parameters and extractor, its centroids are kept
    and only images that it has not seen are assigned, unless ``recluster``. ``engine``: assignment runs in this
    process (``local``) or as tasks on a Ray cluster (``ray``), with the same result. Raises InputError when there are
    more clusters than images, or a feature is not finite.
    """
    if clusters > feature_set.rows:
        raise InputError(
            f"--clusters {clusters}: more clusters than images ({feature_set.rows}); ask for fewer"
        )
    request = {
        "clusters": clusters,
        "seed": seed,
        "spherical": spherical,
        "iterations": iterations,
        "dimension": feature_set.dimension,
        "dtype": feature_set.dtype,
    }
    own = root is not None
    root = root or lake.folder(KIND)
    before = None if recluster or own else _comparable(lake, feature_set, request)
    if before is not None and before.manifest.inputs["features"] == feature_set.digest:
        return before
    if before is not None:
        made = _assign(lake, root, feature_set, request, before.centroids, before, engine, progress)
    else:
        centroids = _fit(root, feature_set, request, backend, progress)
        made = _assign(lake, root, feature_set, request, centroids, None, engine, progress)
    if not own:
        (root / "HEAD").write_bytes(made.id.encode())
    return made


def _comparable(lake: Lake, feature_set: FeatureSet, request: dict[str, Any]) -> Clustering | None:
    """The newest clustering when it answers the same request for the same extractor."""
    id = head(lake)
    if id is None:
        return None
    newest = Clustering.open(lake, id)
    same = newest.fingerprint == feature_set.fingerprint and newest.manifest.parameters == request
    return newest if same else None


def _fit(
    root: Location,
    feature_set: FeatureSet,
    request: dict[str, Any],
    backend: BackendName,
    progress: ProgressSink,
) -> NDArray[np.float32]:
    """The centroids; kept under the request's digest, so that an interrupted run does not fit again."""
    name = identity("centroids", {"features": feature_set.digest}, {"backend": backend, **request})
    where = root / "fits" / f"{name}.parquet"
    if where.exists():
        return read_centroids(where)
    clusters = int(request["clusters"])
    progress(Progress("fit k-means", 0, 1, "fits"))
    sample = feature_set.sample(POINTS_PER_CENTROID * clusters, int(request["seed"]))
    fitted: Centroids = fit_kmeans(
        sample,
        clusters,
        seed=int(request["seed"]),
        backend=backend,
        spherical=bool(request["spherical"]),
        iterations=int(request["iterations"]),
    )
    write_centroids(root / "fits", f"{name}.parquet", fitted.vectors)
    progress(Progress("fit k-means", 1, 1, "fits"))
    return fitted.vectors


def _assign(
    lake: Lake,
    root: Location,
    feature_set: FeatureSet,
    request: dict[str, Any],
    centroids: NDArray[np.float32],
    before: Clustering | None,
    engine: Workplace,
    progress: ProgressSink,
) -> Clustering:
    present = {shard.sha256 for shard in feature_set.shards}
    kept = before.runs if before and all(present.issuperset(run.covers) for run in before.runs) else []
    inputs = {
        "lake": feature_set.snapshot_id,
        "extractor": feature_set.fingerprint,
        "features": feature_set.digest,
        "centroids": centroids_digest(centroids),
        **({"parent": before.id} if before else {}),
    }
    id = sha256_hex(canonical_json({"inputs": inputs, "parameters": request}))[:ID_DIGITS]
    if held(root / id, KIND, inputs, request) is None:
        write_centroids(root / id, CENTROIDS_NAME, centroids)
        skip = frozenset(digest for run in kept for digest in run.covers)
        plans = plan_runs(feature_set, lake.snapshot(feature_set.snapshot_id).shards, skip)
        finished = write_runs(
            lake, feature_set, plans, centroids, root / id / MEMBERS_NAME, engine=engine, progress=progress
        )
        new = [_relative_to_root(done, id) for done in finished]
        (before.reach if before else _reach(root, new, centroids)).write(root / id, REACH_NAME)
        manifest = _manifest(root, inputs, request, kept, new, before)
        write_manifest(root / id, manifest)
    return Clustering.at(root, id)


def _reach(root: Location, runs: Sequence[RunDone], centroids: NDArray[np.float32]) -> Reach:
    statistics = merge_statistics([read_statistics(root, run.statistics) for run in runs], len(centroids))
    return Reach.of_runs(root, runs, statistics, centroids)


def _relative_to_root(done: RunDone, id: str) -> RunDone:
    def moved(record: Any) -> Any:
        return record.model_copy(update={"name": f"{id}/{MEMBERS_NAME}/{record.name}"})

    return RunDone(members=moved(done.members), statistics=moved(done.statistics), covers=done.covers)


def _manifest(
    root: Location,
    inputs: dict[str, str],
    request: dict[str, Any],
    kept: Sequence[RunDone],
    new: Sequence[RunDone],
    before: Clustering | None,
) -> Manifest:
    runs = [*kept, *new]
    clusters = int(request["clusters"])
    return Manifest(
        kind=KIND,
        inputs=inputs,
        parameters=request,
        shards=[run.members for run in runs],
        summary={
            "runs": [json.loads(run.model_dump_json()) for run in runs],
            "quality": _quality(root, kept, new, clusters, before),
        },
    )


def _quality(
    root: Location, kept: Sequence[RunDone], new: Sequence[RunDone], clusters: int, before: Clustering | None
) -> dict[str, Any]:
    """Sizes and inertia of all members; of the new ones too, with the drift against the images fitted on.

    ``drift`` is the new images' mean squared distance over that of the images present at the fit: 1 is none.
    """
    all_runs = [read_statistics(root, run.statistics) for run in [*kept, *new]]
    merged = merge_statistics(all_runs, clusters)
    rows = int(merged.sizes.sum())
    mean_square = float(merged.square_sums.sum() / max(rows, 1))
    quality: dict[str, Any] = {
        "rows": rows,
        "mean_square_distance": mean_square,
        "empty_clusters": int((merged.sizes == 0).sum()),
        "size_quantiles": [int(value) for value in np.quantile(merged.sizes, [0, 0.25, 0.5, 0.75, 1])],
    }
    at_fit = before.summary["mean_square_distance_at_fit"] if before else mean_square
    quality["mean_square_distance_at_fit"] = at_fit
    if before:
        recent = all_runs[len(kept) :]
        added = int(sum(part.sizes.sum() for part in recent))
        square = float(sum(part.square_sums.sum() for part in recent) / max(added, 1))
        quality |= {"new_rows": added, "drift": square / at_fit if added and at_fit > 0 else 1.0}
    return quality


def write_centroids(folder: Location, name: str, centroids: NDArray[np.float32]) -> None:
    """``cluster, centroid`` as Parquet."""
    import pyarrow as pa

    ids = pa.array(np.arange(len(centroids)), pa.int32())
    write_shard(folder, name, pa.table({"cluster": ids, "centroid": column(centroids, "float32")}))


def read_centroids(where: Location) -> NDArray[np.float32]:
    """Read centroids back, float32 [R, d]."""
    with where.open_input() as file:
        table = open_parquet(file).read(use_threads=False)
    stored: NDArray[np.float32] = matrix(table["centroid"], table["centroid"].type.list_size)
    return stored
