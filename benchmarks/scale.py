"""A lake of ten million images on one machine: memory stays bounded, time grows in proportion.

A synthetic lake (blobs of float16 features, images by reference that nobody opens) grows to 1, 3 and 10
million. At each size a process of its own fits the centroids, assigns everything and chooses 100,000 with the
default sampler. Bars: its peak resident memory (``VmHWM``) stays under 1.5 GB, and assigning and choosing
together grow with an exponent of at most 1.05, in seconds of the processor, which a busy machine changes
little; by the clock it is given beside. Linux only. Needs 12 GB of disk for the largest size.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ecos_core.features.feature_set import (
    KIND,
    FeatureSet,
    ShardDone,
    feature_folder,
    manifest_name,
    shard_stem,
    write_done,
)
from ecos_core.lake.lake import KIND as IMAGES_KIND
from ecos_core.lake.lake import Lake, Snapshot, image_schema
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Manifest, ShardRecord, write_manifest, write_shard

MEMORY_BAR = 1.5e9
EXPONENT_BAR = 1.05
SHARD_ROWS = 65_536
BLOBS = 500
FINGERPRINT = "f" * 64
Row = dict[str, Any]


def run(
    quick: bool = False,
    rows: int = 10_000_000,
    dim: int = 128,
    clusters: int = 1_000,
    budget: int = 100_000,
    scratch: str = "",
    progress: ProgressSink = silent,
) -> list[Row]:
    """A row a size, and the exponent. ``scratch``: a folder with room, the system's by default."""
    if quick:
        rows, dim, clusters, budget = 40_000, 16, 20, 200
    sizes = [rows // 10, 3 * rows // 10, rows]
    with tempfile.TemporaryDirectory(dir=scratch or None) as folder:
        lake = SyntheticLake(Path(folder) / "lake", dim)
        results = []
        for size in sizes:
            lake.grow_to(size, progress)
            results.append(_measured(lake, clusters, budget))
    exponent, by_clock = (
        _exponent(sizes, [row[f"assign{kind}_s"] + row[f"choose{kind}_s"] for row in results])
        for kind in ("_cpu", "")
    )
    growth = {"name": "exponent of growth", "ratio": exponent, "bar": EXPONENT_BAR, "by_clock": by_clock}
    return [*results, {**growth, "ok": exponent <= EXPONENT_BAR}]


def _exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log seconds over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


class SyntheticLake:
    """A lake that holds features of images that nobody has."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.lake = Lake.create(str(folder))
        self._images: list[ShardRecord] = []
        self._done: list[ShardDone] = []
        self._rng = np.random.default_rng(0)
        self._blobs = self._rng.standard_normal((BLOBS, dim)).astype(np.float32)
        self.dim, self.rows = dim, 0

    def grow_to(self, rows: int, progress: ProgressSink = silent) -> None:
        """Add shards of new rows and publish the snapshot and its features."""
        while self.rows < rows:
            self._add_shard(min(SHARD_ROWS, rows - self.rows))
            progress(Progress("make the lake", self.rows, rows, "rows"))
        parent = self.lake.head()
        summary: dict[str, Any] = {"parent": parent, "origins": [], "quarantine": []}
        manifest = Manifest(kind=IMAGES_KIND, shards=self._images, summary=summary)
        self._publish_features(self.lake.publish(manifest, {"address": "synthetic"}))

    def _add_shard(self, rows: int) -> None:
        import pyarrow as pa

        digits = self._rng.bytes(32 * rows).hex()
        ids = [digits[start : start + 64] for start in range(0, len(digits), 64)]
        schema = image_schema()
        columns = constant_columns(rows) | {"sample_id": pa.array(ids)}
        arrays = [
            columns[field.name].cast(field.type) if field.name in columns else pa.nulls(rows, field.type)
            for field in schema
        ]
        record = write_shard(self.lake.images / "shards", None, pa.Table.from_arrays(arrays, schema=schema))
        features = self._blobs[self._rng.integers(BLOBS, size=rows)]
        features += 0.5 * self._rng.standard_normal(features.shape, np.float32)
        folder = feature_folder(self.lake, FINGERPRINT)
        self._done.append(write_done(folder, shard_stem(record, "float16"), ids, features, "float16", []))
        self._images.append(record)
        self.rows += rows

    def _publish_features(self, snapshot: Snapshot) -> None:
        manifest = Manifest(
            kind=KIND,
            inputs={"lake": snapshot.id, "extractor": FINGERPRINT},
            parameters={"dtype": "float16", "dimension": self._blobs.shape[1]},
            shards=[done.record for done in self._done],
            summary={"failures": 0, "reasons": {}},
        )
        folder = feature_folder(self.lake, FINGERPRINT)
        write_manifest(folder / "snapshots", manifest, manifest_name(snapshot.id, "float16"))


@functools.lru_cache(maxsize=2)
def constant_columns(rows: int) -> dict[str, Any]:
    """What all images have in common, as Arrow arrays of so many rows."""
    import pyarrow as pa

    values = {"media_type": "image/jpeg", "width": 64, "height": 64, "source": "synthetic"}
    values |= {"origins": ["synthetic"], "perceptual_hash": 0}
    return {name: pa.array([value] * rows) for name, value in values.items()}


def _measured(lake: SyntheticLake, clusters: int, budget: int) -> Row:
    """The work in a process of its own, and what that process says of itself."""
    stored = sum(path.stat().st_size for path in Path(str(lake.lake.folder("features"))).rglob("*.parquet"))
    command = [sys.executable, "-m", "benchmarks.scale", str(lake.lake.location), str(clusters), str(budget)]
    root = Path(__file__).resolve().parent.parent
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": paths}
    )
    figures = json.loads(done.stdout)
    row = {"name": f"{lake.rows:,} features, R = {clusters:,}, B = {budget:,}", "stored_bytes": stored}
    peak = figures["peak_bytes"]
    return {**row, **figures, "ratio": peak / MEMORY_BAR, "bar": MEMORY_BAR, "ok": peak < MEMORY_BAR}


def work(location: str, clusters: int, budget: int) -> dict[str, float]:
    """Fit, assign and choose; seconds of each stage by the clock and of the processor (``_cpu_s``), and the peak
    resident memory of this process."""
    from ecos_core.clustering.clustering import cluster_lake
    from ecos_core.clustering.pool import LakePool
    from ecos_core.clustering.restricted import restricted_pool
    from ecos_core.sampling import SAMPLERS, SamplerConfig, Scores

    lake = Lake.open(location)
    marks = [(time.perf_counter(), time.process_time())]

    def mark() -> None:
        marks.append((time.perf_counter(), time.process_time()))

    def at_the_fit(report: Progress, /) -> None:
        if report.stage == "fit k-means" and report.done:
            mark()

    features = FeatureSet.open(lake, FINGERPRINT)
    clustering = cluster_lake(
        lake, features, clusters=clusters, iterations=5, recluster=True, progress=at_the_fit
    )
    mark()
    noisy = np.random.default_rng(1).integers(-10, 50, clusters)
    pool, _ = restricted_pool(LakePool(lake, clustering))
    chosen = SAMPLERS["ecos"](pool, budget, scores=Scores(noisy, 6.0), config=SamplerConfig(), seed=1)
    mark()
    seconds = {}
    for stage, before, after in zip(("fit", "assign", "choose"), marks, marks[1:], strict=False):
        seconds[f"{stage}_s"], seconds[f"{stage}_cpu_s"] = after[0] - before[0], after[1] - before[1]
    return {"chosen": len(chosen), **seconds, "peak_bytes": peak_resident_bytes()}


def peak_resident_bytes() -> int:
    """The most memory that this process ever held resident (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    print(json.dumps(work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
