"""A fingerprint binds its graph: under schema 2 by itself, under schema 1 by what was agreed to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from ecos_core.errors import IntegrityError
from ecos_core.features.agreement import AGREEMENT_NAME, agree, recall, summary
from ecos_core.features.extractor import Pin, load_extractor, load_saved
from ecos_core.storage import sha256_hex
from tests.ecos_core.features.test_graphs import mean_colour
from tests.ecos_core.features.test_sandbox import crafted

# What version 0.1.0 gave for EfficientNet-Lite0 at 64 px, before fingerprints covered the graph.
LITE0_64_SCHEMA_1 = "9f63380e8bf9f41b4b10eb555c997fea44914ec3d9f1a53d856e6cfa532a6a70"


def older(extractor):
    """The extractor as the version before saved it."""
    return dataclasses.replace(extractor, pinned=Pin(1, None))


def plant(folder: Path, content: bytes) -> None:
    """Another graph in a folder, with everything beside the fingerprint made to fit."""
    (folder / "backbone.onnx").write_bytes(content)
    record = json.loads((folder / "extractor.json").read_text())
    record["graph_sha256"] = sha256_hex(content)
    (folder / "extractor.json").write_text(json.dumps(record))


def another_graph() -> bytes:
    made = mean_colour()
    for axis in (1, 2):
        made.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 32
    return made.SerializeToString()


def test_another_graph_is_refused_under_the_honest_fingerprint(tmp_path: Path) -> None:
    honest = crafted()
    honest.save(str(tmp_path))
    assert load_saved(str(tmp_path), engine="onnx").fingerprint == honest.fingerprint
    plant(tmp_path, another_graph())
    with pytest.raises(IntegrityError, match="the graph of 'resnet18'"):
        load_saved(str(tmp_path), engine="onnx")
    record = json.loads((tmp_path / "extractor.json").read_text())
    record["graph"] = load_graph_digest(another_graph())
    (tmp_path / "extractor.json").write_text(json.dumps(record))
    with pytest.raises(IntegrityError):
        load_saved(str(tmp_path), engine="onnx")


def load_graph_digest(content: bytes) -> str:
    from ecos_core.features.graphs import inspect_graph

    return inspect_graph(content).digest


def test_an_embedded_backbone_never_takes_its_graph_from_a_folder(tmp_path: Path) -> None:
    for extractor in (load_extractor(image_size=32, engine="onnx"), older(load_extractor(image_size=32))):
        folder = tmp_path / extractor.fingerprint
        extractor.save(str(folder))
        plant(folder, another_graph())
        loaded = load_saved(str(folder), engine="onnx")
        assert loaded.fingerprint == extractor.fingerprint
        assert loaded.graph == extractor.graph
        assert loaded.dimension == 1280


def test_what_was_made_before_keeps_its_fingerprint(tmp_path: Path) -> None:
    before = older(load_extractor(image_size=64, engine="onnx"))
    assert before.fingerprint == LITE0_64_SCHEMA_1
    before.save(str(tmp_path))
    record = json.loads((tmp_path / "extractor.json").read_text())
    assert record["schema_version"] == 1
    assert "graph" not in record
    assert load_saved(str(tmp_path)).fingerprint == LITE0_64_SCHEMA_1
    assert load_extractor(image_size=64).fingerprint != LITE0_64_SCHEMA_1


def test_an_older_fingerprint_is_bound_to_the_graph_that_was_agreed_to(tmp_path: Path) -> None:
    honest, kept = older(crafted()), tmp_path / "home"
    agree(kept, honest)
    agree(kept, honest)
    offered = tmp_path / "offered"
    honest.save(str(offered))
    plant(offered, another_graph())
    other = load_saved(str(offered), engine="onnx")
    assert other.fingerprint == honest.fingerprint
    with pytest.raises(IntegrityError, match="its graph"):
        agree(kept, other)
    plant(kept, another_graph())
    with pytest.raises(IntegrityError, match="the graph agreed to"):
        recall(kept)


def test_a_home_made_before_gets_its_agreement_at_first_sight(tmp_path: Path) -> None:
    honest = older(crafted())
    honest.save(str(tmp_path))
    extractor, agreement = recall(tmp_path)
    assert (tmp_path / AGREEMENT_NAME).exists()
    assert extractor.graph is not None
    assert agreement.graph == extractor.graph.digest


def test_the_owner_reads_what_is_agreed_to() -> None:
    text = "\n".join(summary(load_extractor(image_size=64, engine="onnx")))
    for part in ("efficientnet_lite0: reads images of 64 px", "Conv 49", "64 x 64 x 3 uint8", "1280 numbers"):
        assert part in text
    assert "older kind" not in text
    assert "older kind" in "\n".join(summary(older(crafted())))
