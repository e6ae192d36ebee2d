"""``ecos handoff``: one JSON object, exit codes that mean something, and the whole round by hand."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.sources import open_source
from ecos_core.storage import Location, Manifest, write_manifest, write_shard

LABELS = "dark,light"


def ecos(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ecos_cli.main", "handoff", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake of twelve pictures and a selection of them all."""
    folder = tmp_path_factory.mktemp("handoff")
    random = np.random.default_rng(0)
    for row in range(12):
        where = folder / "images" / ("dark" if row % 2 else "light")
        where.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 90, (24, 24, 3)) + (0 if row % 2 else 150)
        Image.fromarray(pixels.astype(np.uint8)).save(where / f"{row}.png")
    lake = Lake.create(folder / "lake")
    ingest(open_source(str(folder / "images"), None), lake)
    rows = lake.read_images(lake.snapshot().shards[0], ["sample_id", "label"]).to_pylist()
    table = pa.table(
        {
            "sample_id": [row["sample_id"] for row in rows],
            "order": range(12),
            "cluster": pa.array([0] * 12, pa.int32()),
            "score": pa.nulls(12, pa.float64()),
            "reason": ["random"] * 12,
        }
    )
    shard = write_shard(Location.of(folder / "selection"), "selection.parquet", table)
    write_manifest(Location.of(folder / "selection"), Manifest(kind="selection", shards=[shard]))
    (folder / "truth.json").write_text(json.dumps({row["sample_id"]: row["label"] for row in rows}))
    return folder


def test_the_whole_round(place: Path, tmp_path: Path) -> None:
    batch, labels = tmp_path / "batch", tmp_path / "labels"
    out = ecos("export", place / "selection", "--lake", place / "lake", "--out", batch, "--labels", LABELS,
               "--format", "csv", "--annotators", "anna,ben", "--overlap", "0.5", "--json")  # fmt: skip
    assert out.returncode == 0, out.stderr
    report = json.loads(out.stdout)
    assert (report["tasks"], report["format"]) == (12, "csv")
    truth = json.loads((place / "truth.json").read_text())
    for name in ("anna", "ben"):
        with (batch / f"tasks-{name}.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["annotator"] == name]
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows([row | {"label": truth[row["sample_id"]]} for row in rows])
    first = json.loads(ecos("import", batch, tmp_path / "anna.csv", "--labels", labels, "--json").stdout)
    assert not first["complete"]
    second = json.loads(ecos("import", batch, tmp_path / "ben.csv", "--labels", labels, "--json").stdout)
    assert second["complete"]
    assert second["agreement"]["fleiss_kappa"] == pytest.approx(1.0)
    assert second["labels"] == {"dark": 6, "light": 6}
    status = ecos("status", batch, "--labels", labels)
    assert "12 of 12 labelled" in status.stdout
    assert "anna and ben: 100% alike" in status.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "nowhere", "--labels", "labels"], "no finished handoff"),
        (["import", "nowhere", "x.json", "--labels", "labels"], "no finished handoff"),
        (["export", "nowhere", "--lake", "nowhere", "--out", "x", "--labels", "a,b"], "no lake here"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments: list[str], said: str) -> None:
    out = ecos(*arguments)
    assert out.returncode == 2
    assert out.stdout == ""
    assert said in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1


def test_help_shows_an_example() -> None:
    for command in ("export", "import", "status", "check"):
        words = " ".join(ecos(command, "--help").stdout.split())
        assert f"Example: ecos handoff {command}" in words
