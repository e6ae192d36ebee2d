"""Training on a selection of a real lake: the artefact, reuse, labels from elsewhere, and refusals."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors import safe_open

from ecos_cli.main import main
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location, read_manifest, verify_shards
from ecos_core.training import data
from ecos_core.training.config import TrainConfig
from ecos_core.training.linear_probe import LinearProbe
from ecos_core.training.train import KIND, train_selection
from tests.ecos_core.training.conftest import write_picks


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    return train_selection(world.selection, world.lake, tmp_path_factory.mktemp("out"), test=world.test)


def test_the_artefact_is_whole_and_says_what_it_is(trained, world):
    manifest = read_manifest(Location.of(trained.out), KIND)
    verify_shards(Location.of(trained.out), manifest)
    assert manifest.inputs["extractor"] == world.fingerprint
    assert trained.metrics["trained_on"] == 45
    assert trained.metrics["accuracy_mean"] > 0.7
    assert json.loads((Path(trained.out) / "metrics.json").read_text()) == trained.metrics


def test_the_stored_model_gives_the_reported_accuracy(trained, world):
    from ecos_core.features.extractor import load_saved

    with safe_open(f"{trained.out}/model-seed1.safetensors", "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        probe = LinearProbe.from_arrays(arrays, json.loads(file.metadata()["classes"]))
    test = data.read_test_set(Location.of(world.test))
    features = load_saved(Lake.open(world.lake).folder("features") / world.fingerprint).extract(test.images)
    assert (probe.predict(features) == np.array(test.labels)).mean() == trained.metrics["accuracy_mean"]


def test_the_same_again_is_found_and_another_configuration_is_not(trained, world):
    again = train_selection(world.selection, world.lake, trained.out, test=world.test)
    assert again.reused
    assert again.manifest.digest == trained.manifest.digest


def test_without_a_test_set_only_a_model_is_written(world, tmp_path):
    result = train_selection(world.selection, world.lake, tmp_path, config=TrainConfig(budget=20))
    assert "accuracy_mean" not in result.metrics
    assert result.metrics["trained_on"] == 20
    other = train_selection(world.selection, world.lake, tmp_path, config=TrainConfig(budget=30))
    assert not other.reused
    assert other.metrics["trained_on"] == 30


def test_labels_from_annotators_win_over_the_lakes_own(world, tmp_path):
    """Two say square, one says circle: the majority. A sample without a label is left out and counted."""
    rows = [(sample_id, label) for sample_id in world.picked[:10] for label in ("square", "circle", "square")]
    table = pa.table({"sample_id": [row[0] for row in rows], "label": [row[1] for row in rows]})
    pq.write_table(table, tmp_path / "labels.parquet")
    result = train_selection(world.selection, world.lake, tmp_path / "out", labels=tmp_path, test=world.test)
    assert result.metrics["trained_on"] == 10
    assert result.metrics["left_out"] == {"no label": 35}
    assert result.metrics["seeds"][0]["test"]["per_class"] == {"circle": 0.0, "cross": 0.0, "square": 1.0}


def test_files_that_are_no_images_are_left_out_of_the_test_set(world, tmp_path):
    (tmp_path / "circle").mkdir()
    (tmp_path / "circle" / "broken.png").write_bytes(b"not an image")
    Image.new("RGB", (32, 32)).save(tmp_path / "circle" / "fine.png")
    test = data.read_test_set(Location.of(tmp_path))
    assert (len(test), test.left_out) == (1, {"not_an_image": 1})


def test_refusals_say_what_to_do(world, tmp_path):
    with pytest.raises(InputError, match="more than the 45 picks"):
        train_selection(world.selection, world.lake, tmp_path, config=TrainConfig(budget=46))
    with pytest.raises(InputError, match="no finished selection"):
        train_selection(tmp_path / "nothing", world.lake, tmp_path)
    with pytest.raises(InputError, match="ecos handoff"):
        train_selection(world.selection, world.lake, tmp_path, labels=tmp_path)
    with pytest.raises(InputError, match="class/file"):
        train_selection(world.selection, world.lake, tmp_path, test=tmp_path / "nothing")


def test_a_selection_of_another_lake_is_refused(world, tmp_path):
    from ecos_core.lake.ingest import ingest

    (tmp_path / "pictures" / "a").mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(tmp_path / "pictures" / "a" / "one.png")
    lake = Lake.create(tmp_path / "lake")
    ingest(tmp_path / "pictures", lake)
    with pytest.raises(InputError, match="not in this lake"):
        train_selection(world.selection, tmp_path / "lake", tmp_path / "out")


def test_a_label_set_keeps_other_classes_out_of_the_training_and_of_the_answer(world, tmp_path):
    config = TrainConfig(label_set=("circle", "square"))
    result = train_selection(world.selection, world.lake, tmp_path, test=world.test, config=config)
    crosses = result.metrics["left_out"]["not in the label set"]
    assert crosses > 0 and result.metrics["trained_on"] == 45 - crosses
    assert result.metrics["test_left_out"] == {"not in the label set": 10}
    assert result.metrics["label_set"] == ["circle", "square"]
    with safe_open(f"{result.out}/model-seed1.safetensors", "numpy") as file:
        assert json.loads(file.metadata()["classes"]) == ["circle", "square"]


def test_other_classes_can_be_kept_as_one(world, tmp_path):
    config = TrainConfig(label_set=("circle",), other_classes="one_class")
    result = train_selection(world.selection, world.lake, tmp_path, test=world.test, config=config)
    assert result.metrics["trained_on"] == 45 and result.metrics["tested_on"] == 30
    assert set(result.metrics["seeds"][0]["test"]["per_class"]) == {"circle", "other"}


def test_a_label_set_that_fits_nothing_is_refused(world, tmp_path):
    with pytest.raises(InputError, match="no selected sample is of triangle"):
        train_selection(world.selection, world.lake, tmp_path, config=TrainConfig(label_set=("triangle",)))
    with pytest.raises(ValueError, match="label_set: name each class once"):
        TrainConfig(label_set=("circle", "circle"))
    with pytest.raises(ValueError, match="label_set"):
        TrainConfig(label_set=("circle",), use="distil")


def test_picks_of_one_class_are_said_aloud(world, tmp_path, monkeypatch, capsys):
    lake = Lake.open(world.lake)
    shard = lake.snapshot().shards[0]
    rows = lake.read_images(shard, ["sample_id", "label"]).to_pylist()
    write_picks(
        Location.of(tmp_path / "picks"), [row["sample_id"] for row in rows if row["label"] == "circle"][:6]
    )
    given = {"selection": tmp_path / "picks", "lake": world.lake, "test": world.test, "out": tmp_path / "out"}
    arguments = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", ["ecos", "train", *arguments, "--json"])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert stopped.value.code in (0, None)
    one, unseen = json.loads(printed.out)["concerns"]
    assert "all 6 samples are of one class, 'circle'" in one and "2 of 3 test classes" in unseen
    assert printed.err.splitlines() == [f"ecos: {one}", f"ecos: {unseen}"]
