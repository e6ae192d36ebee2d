"""The order of a hand-off: named in full, handed out once, kept only for all the same, and waited for by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from ecos_core.config import HandOffConfig, HandOutConfig
from ecos_core.errors import InputError
from ecos_core.labelling import FORMATS, import_handoff
from ecos_core.lake.lake import Lake
from ecos_core.lake.lookup import image_rows
from ecos_core.stages.handing_off import (
    Waiting,
    hand_out,
    labels_so_far,
    named_in_full,
    note_waiting,
    waiting_for,
)
from ecos_core.stages.selecting import publish_latest
from ecos_core.storage import Location, Manifest, write_manifest, write_shard


def write_selection(folder: Path, sample_ids: list[str], reason: str = "random") -> Path:
    import pyarrow as pa

    count = len(sample_ids)
    table = pa.table(
        {
            "sample_id": sample_ids,
            "order": range(count),
            "cluster": pa.array([0] * count, pa.int32()),
            "score": pa.nulls(count, pa.float64()),
            "reason": [reason] * count,
        }
    )
    shard = write_shard(Location.of(folder), "selection.parquet", table)
    write_manifest(Location.of(folder), Manifest(kind="selection", shards=[shard]))
    return folder


@pytest.fixture
def place(tiny_lake: Path, tmp_path: Path) -> dict[str, Any]:
    """What a hand-off of ten of the tiny lake's images needs, its selection published as the latest."""
    lake = Lake.open(tiny_lake)
    ids = [
        row["sample_id"] for shard in lake.snapshot().shards for row in lake.read_images(shard).to_pylist()
    ]
    selection = write_selection(tmp_path / "picks" / "first", ids[:10])
    publish_latest(Location.of(tmp_path / "picks"), Location.of(selection))
    return {
        "lake": str(tiny_lake), "selection": str(tmp_path / "picks" / "latest"), "format": "csv",
        "out": str(tmp_path / "{selection}-out"), "labels": str(tmp_path / "labels"),
    }  # fmt: skip


def test_the_form_offers_every_format() -> None:
    assert get_args(HandOutConfig.model_fields["format"].annotation) == FORMATS


def test_names_and_the_lakes_own_classes_are_settled_once(place: dict[str, Any], tmp_path: Path) -> None:
    found = named_in_full(HandOffConfig.model_validate(place))
    assert found.out == str(tmp_path / "first-out") and found.selection == str(tmp_path / "picks" / "first")
    assert found.label_set == [str(digit) for digit in range(10)]
    assert named_in_full(found) == found


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"label_set": ["0", "1"]}, "label set"),
        ({"format": "coco"}, "format"),
        ({"instructions": "Look twice"}, "instructions"),
        ({"annotators": ["anna"]}, "annotators"),
        ({"annotators": ["anna", "ben"], "overlap": 0.5}, "annotators, overlap"),
        ({"raters": 3}, "raters"),
        ({"image_url": "http://x"}, "image url"),
        ({"preannotations": "guesses.csv"}, "preannotations"),
        ({"selection": "other"}, "of another selection"),
    ],
)
def test_a_folder_is_kept_for_all_the_same_only(
    place: dict[str, Any], tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    asked = {**place, "out": str(tmp_path / "batch")}
    first = hand_out(HandOffConfig.model_validate(asked))
    assert not first.kept and first.tasks == 10
    again = hand_out(HandOffConfig.model_validate(asked))
    assert again.kept and again.digest == first.digest
    other = dict(change)
    if "selection" in other:
        ids = [row["sample_id"] for row in image_rows_of(place, first.selection)]
        other["selection"] = str(write_selection(tmp_path / "other", ids[:9]))
    if "preannotations" in other:
        (tmp_path / "guesses.csv").write_text("sample_id,label\n")
        other["preannotations"] = str(tmp_path / "guesses.csv")
    with pytest.raises(InputError, match=named):
        hand_out(HandOffConfig.model_validate({**asked, **other}))


def image_rows_of(place: dict[str, Any], selection: str) -> list[dict[str, Any]]:
    from ecos_core.sampling.store import read_picks

    lake = Lake.open(place["lake"])
    ids = read_picks(selection)[0]["sample_id"].to_pylist()
    return list(image_rows(lake, lake.snapshot(), ids, ["label"]))


def test_labels_so_far_say_why_the_rest_is_open(place: dict[str, Any], tmp_path: Path) -> None:
    config = named_in_full(HandOffConfig.model_validate(place))
    given = hand_out(config)
    nothing = labels_so_far(config)
    assert (nothing.labelled, nothing.open, nothing.answers) == (0, 10, 0)
    assert nothing.because == {"not back yet": 10}
    rows = image_rows_of(place, given.selection)
    text = "".join(f"{row['sample_id']},{row['label']}\n" for row in rows)
    (tmp_path / "back.csv").write_text("sample_id,label\n" + text)
    import_handoff(given.handoff, tmp_path / "back.csv", config.labels)
    assert labels_so_far(config).complete


def test_which_run_waits_is_kept_with_the_hand_off(tmp_path: Path) -> None:
    assert waiting_for(tmp_path) is None
    note_waiting(str(tmp_path), Waiting("run-1", "http://127.0.0.1:4200/api"))
    assert waiting_for(tmp_path) == Waiting("run-1", "http://127.0.0.1:4200/api")
    note_waiting(str(tmp_path), None)
    note_waiting(str(tmp_path), None)
    assert waiting_for(tmp_path) is None
