"""What is refused before a selection is paid for."""

from __future__ import annotations

import shutil

import pytest

from ecos_core.config import OutsourceConfig, validated
from ecos_core.errors import InputError
from ecos_core.features.extractor import EXTRACTOR_NAME, load_extractor
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.modality import IMAGE, MODALITIES
from ecos_core.training.check import check_trainable, check_use
from ecos_core.training.config import TrainConfig, Use

ALL = tuple(Use)
CPU = TrainConfig(device="cpu")
WHOLE = {
    "index": {"lake": "lake"},
    "client": {"url": "http://127.0.0.1:1", "token_file": "token"},
    "out": "out",
}


def test_a_lake_of_labelled_pictures_serves_every_use(world):
    check_trainable(world.lake, world.fingerprint, ALL, CPU, test=world.test)


def test_only_a_probe_works_on_what_is_no_picture():
    for held in MODALITIES.values():
        check_use(Use.LINEAR_PROBE, held)
        for use in set(Use) - {Use.LINEAR_PROBE} if held is not IMAGE else ():
            with pytest.raises(InputError, match="works on images"):
                check_use(use, held)


def test_a_test_set_that_is_not_there_is_refused(world, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        check_trainable(world.lake, world.fingerprint, ALL, CPU, test=tmp_path / "gone")


def test_a_lake_without_labels_is_refused(world, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for place, file in enumerate(sorted((world.test / "circle").iterdir())[:4]):
        shutil.copy(file, flat / f"{place}.png")
    lake = Lake.create(tmp_path / "lake")
    ingest(flat, lake)
    with pytest.raises(InputError, match="no image has a label"):
        check_trainable(tmp_path / "lake", world.fingerprint, [Use.LINEAR_PROBE], CPU, test=world.test)


def test_weights_that_are_not_here_are_missed_in_time(world, tmp_path):
    lake = tmp_path / "lake"
    shutil.copytree(world.lake, lake)
    record = lake / "features" / world.fingerprint / EXTRACTOR_NAME
    held = load_extractor(image_size=32).weights_sha256
    assert held in record.read_text()
    record.write_text(record.read_text().replace(held, "0" * 64))
    check_trainable(lake, world.fingerprint, [Use.LINEAR_PROBE, Use.DISTIL], CPU, test=world.test)
    with pytest.raises(InputError, match="the weights found here are not those"):
        check_trainable(lake, world.fingerprint, [Use.FIXMATCH], CPU, test=world.test)


def test_uses_default_to_the_one_of_the_training_and_never_repeat():
    one = validated({**WHOLE, "training": {"use": "distil"}}, OutsourceConfig, "file")
    assert one.compared_uses == (Use.DISTIL,)
    two = validated({**WHOLE, "uses": ["fine_tune", "linear_probe"]}, OutsourceConfig, "file")
    assert two.compared_uses == (Use.FINE_TUNE, Use.LINEAR_PROBE)
    with pytest.raises(InputError, match="uses must not repeat"):
        validated({**WHOLE, "uses": ["distil", "distil"]}, OutsourceConfig, "file")
    with pytest.raises(InputError, match=r"uses\.0"):
        validated({**WHOLE, "uses": ["client_labels"]}, OutsourceConfig, "file")
