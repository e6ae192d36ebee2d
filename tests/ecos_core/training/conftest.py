"""A small real lake: drawn shapes of three classes, ingested, with features, and a selection from it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import load_extractor
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location, Manifest, write_manifest, write_shard

SIDE = 32
CLASSES = ("circle", "cross", "square")


def draw(name: str, rng: np.random.Generator) -> Image.Image:
    """A white shape of random place and size on a random dark ground, with noise."""
    ground = rng.integers(0, 90, 3)
    noise = rng.normal(0, 8, (SIDE, SIDE, 3))
    image = Image.fromarray(np.clip(ground + noise, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    size = int(rng.integers(12, 22))
    left, top = (int(value) for value in rng.integers(2, SIDE - size - 2, 2))
    box = (left, top, left + size, top + size)
    if name == "circle":
        pen.ellipse(box, outline="white", width=3)
    elif name == "square":
        pen.rectangle(box, outline="white", width=3)
    else:
        pen.line(box, fill="white", width=3)
        pen.line((left, top + size, left + size, top), fill="white", width=3)
    return image


def write_shapes(folder: Path, each: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for index in range(each):
            draw(name, rng).save(folder / name / f"{index}.png")


@dataclass(frozen=True)
class World:
    lake: Path
    test: Path
    selection: Path
    picked: list[str]
    fingerprint: str


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    root = tmp_path_factory.mktemp("shapes")
    write_shapes(root / "open", 30, seed=1)
    write_shapes(root / "test", 10, seed=2)
    lake = Lake.create(root / "lake")
    ingest(root / "open", lake)
    features = extract_lake(lake, load_extractor(image_size=SIDE))
    ids = [id for part in features for id in part.sample_ids.to_pylist()]
    picked = [ids[row] for row in np.random.default_rng(3).permutation(len(ids))[:45]]
    write_picks(Location.of(root / "picks"), picked)
    return World(root / "lake", root / "test", root / "picks", picked, features.fingerprint)


def write_picks(folder: Location, picked: list[str]) -> None:
    import pyarrow as pa

    table = pa.table({"sample_id": picked, "order": list(range(len(picked)))})
    record = write_shard(folder, "selection.parquet", table)
    write_manifest(folder, Manifest(kind="selection", shards=[record]))
