"""A small real lake of digits and a selection from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.sources import open_source
from ecos_core.storage import Location, Manifest, write_manifest, write_shard


@dataclass(frozen=True)
class World:
    """A lake, a selection of 24 of its samples, and the true label of each."""

    lake: Lake
    selection: Path
    truth: dict[str, str]

    @property
    def ids(self) -> list[str]:
        return list(self.truth)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("labelling")
    digits = load_digits()
    for row in range(60):
        where = folder / "images" / str(digits.target[row])
        where.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((255 - 15 * digits.images[row]).astype(np.uint8)).resize((32, 32))
        picture.save(where / f"{row}.{'png' if row % 2 else 'jpg'}")
    lake = Lake.create(folder / "lake")
    ingest(open_source(str(folder / "images"), None), lake, licence="CC-BY-4.0")
    rows = [
        row
        for shard in lake.snapshot().shards
        for row in lake.read_images(shard, ["sample_id", "label"]).to_pylist()
    ]
    picked = rows[::2][:24]
    selection = folder / "selection"
    write_selection(selection, [row["sample_id"] for row in picked])
    return World(lake, selection, {row["sample_id"]: row["label"] for row in picked})


def write_selection(folder: Path, sample_ids: list[str]) -> None:
    """The columns of a selection that a hand-off reads, as docs/data-contracts.md has them."""
    count = len(sample_ids)
    table = pa.table(
        {
            "sample_id": pa.array(sample_ids),
            "cluster": pa.array(np.arange(count) % 5, pa.int32()),
            "noisy_score": pa.array(np.full(count, 7.0)),
            "score": pa.array([None if row % 2 else 6.5 for row in range(count)], pa.float64()),
            "quota": pa.array(np.full(count, 5), pa.int64()),
            "order": pa.array(np.arange(count), pa.int64()),
            "radius": pa.array(np.zeros(count), pa.float32()),
            "reason": pa.array(["nearest the centroid"] * count),
        }
    )
    shard = write_shard(Location.of(folder), "selection.parquet", table)
    write_manifest(Location.of(folder), Manifest(kind="selection", shards=[shard]))
