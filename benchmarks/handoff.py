"""Claim: a hand-off of 10,000 images is written in under 60 s, and its labels are taken back in under 60 s.

The peer copies the same image bytes into one folder, fsyncing each as we do, and dumps the same task list
with ``json`` (export); parses the export and takes the last choice of each task (import): the least anybody
must do.

    python benchmarks/handoff.py [--images 10000]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ecos_core.labelling import export_handoff, import_handoff
from ecos_core.lake.lake import KIND, Lake, image_schema
from ecos_core.storage import Location, Manifest, sha256_hex, write_manifest, write_shard

LIMIT_S = 60.0
LABELS = [f"class {number}" for number in range(20)]


def run(images: int = 10_000) -> list[dict[str, Any]]:
    """Rows of name, ours_s, peer, peer_s, ratio, bar, ok. The bar is seconds per 10,000 images."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lake, pictures = _lake(folder / "lake", images)
        selection = _selection(folder / "selection", list(pictures))
        batch = folder / "batch"
        export_s = _timed(
            lambda: export_handoff(
                selection, lake, batch, format="label-studio", label_set=LABELS,
                annotators=["anna", "ben", "chris"], overlap=0.1,
            )
        )  # fmt: skip
        peer_export_s = _timed(lambda: _copy(folder / "peer", pictures))
        returned = _answers(folder / "export.json", list(pictures))
        import_s = _timed(lambda: import_handoff(batch, returned, folder / "labels"))
        peer_import_s = _timed(lambda: _parse(returned))
    scale = images / 10_000
    return [
        _row("hand-off export", export_s, "copy and json.dump", peer_export_s, LIMIT_S * scale),
        _row("hand-off import", import_s, "json.load and a loop", peer_import_s, LIMIT_S * scale),
    ]


def _row(name: str, ours: float, peer: str, peer_s: float, limit_s: float) -> dict[str, Any]:
    return {
        "name": name,
        "ours_s": round(ours, 2),
        "peer": peer,
        "peer_s": round(peer_s, 2),
        "ratio": round(ours / peer_s, 2),
        "bar": f"{limit_s:g} s",
        "ok": ours < limit_s,
    }


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _lake(where: Path, images: int) -> tuple[Lake, dict[str, bytes]]:
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
            Image.fromarray(coarse).resize((128, 128), Image.Resampling.BILINEAR).save(buffer, "JPEG")
            data = buffer.getvalue()
            pictures[sha256_hex(data)] = data
            rows.append(
                {
                    "sample_id": sha256_hex(data), "bytes": data, "uri": None, "media_type": "image/jpeg",
                    "width": 128, "height": 128, "source": "bench", "licence": "CC0-1.0", "attribution": None,
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    for row in run(parser.parse_args().images):
        print(json.dumps(row))
