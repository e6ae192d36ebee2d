"""Claim: a hand-off of 10,000 images is written in under 60 s, and its labels are taken back in under 60 s.

The peer does the least that anybody must: it copies the same image bytes into one folder, fsyncing each as we
do, and dumps the same task list with ``json`` (export); parses the export and takes the last choice of each
task (import). ``ratio`` is how many times faster than the peer; the bar is in seconds. The labels that are
taken back are held against those that were given. The images are random JPEGs; ``side`` is theirs in pixels.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from benchmarks.timing import timed
from ecos_core.labelling import LabelStore, export_handoff, import_handoff
from ecos_core.lake.lake import KIND, Lake, image_schema
from ecos_core.lake.near_duplicates import near_duplicates
from ecos_core.storage import Location, Manifest, sha256_hex, write_manifest, write_shard

LIMIT_S = 60.0
LABELS = [f"class {number}" for number in range(20)]


def run(quick: bool = False, images: int = 10_000, side: int = 128) -> list[dict[str, Any]]:
    """Rows of name, images, seconds, bar_s, peer, peer_s, ratio, same, ok; ``quick``: 200 images."""
    images = 200 if quick else images
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lake, pictures = _lake(folder / "lake", images, side)
        ids = list(pictures)
        selection = _selection(folder / "selection", ids)
        batch = folder / "batch"
        report, export_s = timed(
            lambda: export_handoff(
                selection, lake, batch, format="label-studio", label_set=LABELS,
                annotators=["anna", "ben", "chris"], overlap=0.1,
            )
        )  # fmt: skip
        _, peer_export_s = timed(lambda: _copy(folder / "peer", pictures))
        grouped = near_duplicates(lake).superfluous  # kept by the export
        returned = _answers(folder / "export.json", ids)
        _, import_s = timed(lambda: import_handoff(batch, returned, folder / "labels"))
        parsed, peer_import_s = timed(lambda: _parse(returned))
        resolved = {
            id: label.label for id, label in LabelStore.at(folder / "labels").resolve().labels.items()
        }
        written = sum(1 for _ in (batch / "images").iterdir())
    whole = written == report.tasks == images and report.groups == images - grouped
    return [
        _row("hand-off export", images, export_s, "copy and json.dump", peer_export_s, whole),
        _row("hand-off import", images, import_s, "json.load and a loop", peer_import_s, resolved == parsed),
    ]


def _row(name: str, images: int, ours_s: float, peer: str, peer_s: float, same: bool) -> dict[str, Any]:
    bar_s = LIMIT_S * images / 10_000
    return {
        "name": name,
        "images": images,
        "seconds": ours_s,
        "bar_s": bar_s,
        "peer": peer,
        "peer_s": peer_s,
        "ratio": peer_s / ours_s,
        "same": same,
        "ok": ours_s < bar_s and same,
    }


def _lake(where: Path, images: int, side: int) -> tuple[Lake, dict[str, bytes]]:
    """A lake of small JPEGs, no two alike, written as its shards are."""
    random = np.random.default_rng(0)
    lake = Lake.create(where)
    pictures: dict[str, bytes] = {}
    shards = []
    for start in range(0, images, 2500):
        rows = []
        for _ in range(min(2500, images - start)):
            coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR).save(buffer, "JPEG")
            data = buffer.getvalue()
            pictures[sha256_hex(data)] = data
            rows.append(
                {
                    "sample_id": sha256_hex(data), "bytes": data, "uri": None, "media_type": "image/jpeg",
                    "width": side, "height": side, "source": "bench", "licence": "CC0-1.0", "attribution": None,
                    "origins": ["bench"], "domain": None, "label": None,
                    "perceptual_hash": int(random.integers(0, 2**63)),
                }
            )  # fmt: skip
        table = pa.Table.from_pylist(rows, image_schema())
        shards.append(write_shard(lake.images / "shards", f"{start:08d}.parquet", table, row_group_rows=512))
    manifest = Manifest(kind=KIND, shards=shards, summary={"parent": None, "origins": [], "quarantine": []})
    lake.publish(manifest, {})
    return lake, pictures


def _selection(where: Path, ids: list[str]) -> Path:
    count = len(ids)
    table = pa.table(
        {
            "sample_id": ids,
            "order": range(count),
            "cluster": pa.array(np.arange(count) % 100, pa.int32()),
            "score": np.linspace(100, 0, count),
            "reason": ["farthest from those chosen"] * count,
        }
    )
    shard = write_shard(Location.of(where), "selection.parquet", table)
    write_manifest(Location.of(where), Manifest(kind="selection", shards=[shard]))
    return where


def _copy(where: Path, pictures: dict[str, bytes]) -> None:
    where.mkdir()
    for id, data in pictures.items():
        with (where / f"{id}.jpg").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    (where / "tasks.json").write_text(json.dumps([{"data": {"image": f"{id}.jpg"}} for id in pictures]))


def _answers(where: Path, ids: list[str]) -> Path:
    """Label Studio's export: two annotators for every tenth task, one for the others."""
    tasks = []
    for number, id in enumerate(ids):
        value = {"choices": [LABELS[number % len(LABELS)]]}
        result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": value}]
        annotations = [
            {
                "id": 2 * number + who,
                "completed_by": who,
                "result": result,
                "created_at": "2026-01-01T00:00:00Z",
            }
            for who in range(2 if number % 10 == 0 else 1)
        ]
        tasks.append({"id": number, "data": {"sample_id": id}, "annotations": annotations})
    where.write_text(json.dumps(tasks))
    return where


def _parse(where: Path) -> dict[str, str]:
    return {
        task["data"]["sample_id"]: task["annotations"][-1]["result"][0]["value"]["choices"][0]
        for task in json.loads(where.read_text())
    }
