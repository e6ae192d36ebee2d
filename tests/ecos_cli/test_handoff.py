"""``ecos handoff``: one JSON object, exit codes that mean something, and the whole round by hand."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import load_extractor
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.sources import open_source
from ecos_core.storage import Location, Manifest, write_manifest, write_shard

LABELS = "dark,light"
IMAGES = 40


def ecos(
    *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ecos_cli.main", "handoff", *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"} | (
        environment or {}
    )
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake of forty pictures and a selection of them all."""
    folder = tmp_path_factory.mktemp("handoff")
    random = np.random.default_rng(0)
    for row in range(IMAGES):
        where = folder / "images" / ("dark" if row % 2 else "light")
        where.mkdir(parents=True, exist_ok=True)
        noise = random.integers(0, 90, (24, 24, 3))
        smooth = np.linspace(180, 240, 24)[:, None, None] + random.integers(0, 9, (24, 24, 3))
        pixels = noise if row % 2 else smooth
        Image.fromarray(pixels.astype(np.uint8)).save(where / f"{row}.png")
    lake = Lake.create(folder / "lake")
    ingest(open_source(str(folder / "images"), None), lake)
    rows = lake.read_images(lake.snapshot().shards[0], ["sample_id", "label"]).to_pylist()
    table = pa.table(
        {
            "sample_id": [row["sample_id"] for row in rows],
            "order": range(IMAGES),
            "cluster": pa.array([0] * IMAGES, pa.int32()),
            "score": pa.nulls(IMAGES, pa.float64()),
            "reason": ["random"] * IMAGES,
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
    assert (report["tasks"], report["format"]) == (IMAGES, "csv")
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
    assert second["labels"] == {"dark": IMAGES // 2, "light": IMAGES // 2}
    status = ecos("status", batch, "--labels", labels)
    assert f"{IMAGES} of {IMAGES} labelled" in status.stdout
    assert "anna and ben: 100% alike" in status.stdout


def test_labels_are_checked_against_the_lakes_features(place: Path, tmp_path: Path) -> None:
    lake, batch, labels = place / "lake", tmp_path / "batch", tmp_path / "labels"
    extract_lake(Lake.open(lake), load_extractor(image_size=32))
    ecos("export", place / "selection", "--lake", lake, "--out", batch, "--labels", LABELS, "--format", "csv")
    truth = json.loads((place / "truth.json").read_text())
    wrong = sorted(truth)[0]
    given = truth | {wrong: "dark" if truth[wrong] == "light" else "light"}
    rows = "".join(f"{id},{label}\n" for id, label in given.items())
    (tmp_path / "done.csv").write_text("sample_id,label\n" + rows)
    ecos("import", batch, tmp_path / "done.csv", "--labels", labels)
    review = tmp_path / "review.csv"
    out = ecos("check", batch, "--labels", labels, "--lake", lake, "--review", review, "--json")
    assert out.returncode == 0, out.stderr
    report = json.loads(out.stdout)
    assert {suspect["sample_id"] for suspect in report["suspects"]} <= truth.keys()
    assert report["to_review"] == len(report["suspects"])
    assert review.read_text().startswith("sample_id,image,why,votes,suggested,label,annotator")


def test_a_run_that_waits_and_hears_nothing_is_named(place: Path, tmp_path: Path) -> None:
    """Without Prefect's address the import says which run waits and what to set."""
    from ecos_core.stages.handing_off import Waiting, note_waiting

    batch, labels = tmp_path / "batch", tmp_path / "labels"
    ecos("export", place / "selection", "--lake", place / "lake", "--out", batch, "--format", "csv")
    note_waiting(str(batch), Waiting("5bd1-run", "http://127.0.0.1:4299/api"))
    truth = json.loads((place / "truth.json").read_text())
    (tmp_path / "1.csv").write_text(
        "sample_id,label\n" + "".join(f"{id},{truth[id]}\n" for id in list(truth)[:5])
    )
    out = ecos(
        "import", batch, tmp_path / "1.csv", "--labels", labels, environment={"PREFECT_HOME": str(tmp_path)}
    )
    assert out.returncode == 0
    assert "5 of 40 labelled" in out.stdout, "the lake's own classes are the label set"
    [line] = out.stderr.strip().splitlines()
    assert "flow run 5bd1-run waits" in line
    assert "export PREFECT_API_URL=http://127.0.0.1:4299/api" in line


def test_what_does_not_count_is_told(place: Path, tmp_path: Path) -> None:
    batch, labels = tmp_path / "batch", tmp_path / "labels"
    guesses = tmp_path / "guesses.csv"
    ids = sorted(json.loads((place / "truth.json").read_text()))
    guesses.write_text("sample_id;label;score\n" + "".join(f"{id};dark;0,5\n" for id in ids))
    ecos("export", place / "selection", "--lake", place / "lake", "--out", batch, "--labels", LABELS,
         "--format", "coco", "--preannotations", guesses)  # fmt: skip
    out = ecos("import", batch, batch / "tasks.json", "--labels", labels)
    assert "not counted: 40 with an unchanged first answer" in out.stdout
    assert "0 of 40 labelled, 40 open\nopen: 40 with an unchanged first answer" in out.stdout
    rows = [(ids[0], "Dark"), (ids[1], ""), (ids[2], "dark"), (ids[2], "light"), ("f" * 64, "dark")]
    (tmp_path / "x.csv").write_text("sample_id,label\n" + "".join(f"{id},{label}\n" for id, label in rows))
    out = ecos("import", batch, tmp_path / "x.csv", "--labels", labels, "--review", tmp_path / "review.csv")
    assert "1 empty, 1 unknown sample" in out.stdout
    assert (
        "outside the label set: Dark (dark?) (count them with --rename 'Dark=dark' or --accept-label)"
        in out.stdout
    )
    assert "1 in conflict, 1 of them because somebody gave two labels at once" in out.stdout
    out = ecos("import", batch, batch / "tasks.json", "--labels", labels, "--confirmed")
    assert "40 of 40 labelled" in out.stdout, "the same person's later word settles it"
    assert "every label is 'dark'" in out.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["push", "nowhere", "--url", "http://127.0.0.1:1", "--token-file", "nowhere"], "no such file"),
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
    for command in ("export", "import", "status", "check", "push", "pull"):
        words = " ".join(ecos(command, "--help").stdout.split())
        assert f"Example: ecos handoff {command}" in words
