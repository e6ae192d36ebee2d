"""Fine-tuning, FixMatch and distillation on a real small lake: they learn, resume exactly, export
faithfully.
"""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from ecos_core.storage import Location
from ecos_core.training.config import TrainConfig
from ecos_core.training.distil import soften
from ecos_core.training.fine_tune import split_validation
from ecos_core.training.fixmatch import consistency_loss
from ecos_core.training.precision import MixedPrecision
from ecos_core.training.train import train_selection

QUICK = {"image_size": 32, "epochs": 2, "batch_size": 16, "seeds": (1,), "device": "cpu"}


@pytest.fixture(scope="module")
def tuned(world, tmp_path_factory):
    config = TrainConfig(use="fine_tune", **QUICK)
    return train_selection(
        world.selection, world.lake, tmp_path_factory.mktemp("tuned"), test=world.test, config=config
    )


def test_fine_tuning_learns_and_its_onnx_agrees(tuned, world):
    import onnxruntime

    from ecos_core.features.extractor import load_saved
    from ecos_core.lake.lake import Lake
    from ecos_core.training import data
    from ecos_core.training.pixels import decode_all

    assert tuned.metrics["accuracy_mean"] > 0.7
    test = data.read_test_set(Location.of(world.test))
    preprocessing = load_saved(Lake.open(world.lake).folder("features") / world.fingerprint).preprocessing
    session = onnxruntime.InferenceSession(
        f"{tuned.out}/model-seed1.onnx", providers=["CPUExecutionProvider"]
    )
    (answers,) = session.run(None, {"pixels": decode_all(test.images, preprocessing)})
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    right = np.array(classes)[answers.argmax(axis=1)] == np.array(test.labels)
    assert right.mean() == pytest.approx(tuned.metrics["accuracy_mean"])


def test_fixmatch_uses_the_lake_without_its_labels(world, tmp_path):
    """In mixed precision: bfloat16, which a CPU does at a bearable speed."""
    quick = {**QUICK, "precision": "bfloat16"}
    config = TrainConfig(use="fixmatch", budget=12, unlabelled_limit=40, threshold=0.6, **quick)
    result = train_selection(world.selection, world.lake, tmp_path, test=world.test, config=config)
    history = result.metrics["seeds"][0]["history"]
    assert [row["epoch"] for row in history] == [1.0, 2.0]
    assert all(0 <= row["pseudo_labelled"] <= 1 for row in history)
    assert any(row["pseudo_labelled"] > 0 for row in history)
    assert result.metrics["accuracy_mean"] > 0.4
    with safe_open(f"{result.out}/model-seed1.safetensors", "numpy") as file:
        assert file.metadata()["precision"] == "bfloat16"
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} <= {"float32", "int64"}  # noqa: SIM118


def test_what_is_guessed_without_gradients_keeps_none_from_the_rest():
    """Pseudo-labels come from the weights in 16 bits: the same cast must not serve the pass with gradients."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
    ready = SimpleNamespace(device="cpu", augmentation=SimpleNamespace(weak=floats, strong=floats))
    with MixedPrecision("bfloat16", "cpu").forward():
        loss, used = consistency_loss(network, ready, np.ones((4, 2, 2, 3), np.uint8), threshold=0.1)
    loss.backward()
    assert used == 1.0 and float(network[1].weight.grad.abs().sum()) > 0


def floats(pixels):
    return torch.from_numpy(pixels).float()


def test_the_student_is_smaller_than_its_teacher_and_learns(world, tmp_path):
    config = TrainConfig(use="distil", **QUICK)
    result = train_selection(world.selection, world.lake, tmp_path, test=world.test, config=config)
    figures = result.metrics["seeds"][0]["figures"]
    assert figures["parameters"] < figures["teacher_parameters"] / 2
    assert figures["student_bytes"] < figures["teacher_bytes"] / 2
    assert figures["teacher_accuracy"] > 0.7
    assert result.metrics["accuracy_mean"] > 0.5
    assert (Location.of(world.lake) / "teachers").names()
    assert max(figures["onnx_difference"], figures["program_difference"]) < 1e-4
    written = [shard.name for shard in result.manifest.shards]
    assert {"model-seed1.onnx", "model-seed1.pt2"} <= set(written)


def test_an_export_of_other_weights_is_refused():
    import torch

    from ecos_core.training.export import ExportDiffers, network_to_onnx, parity
    from ecos_core.training.network import add_head, build_student

    torch.manual_seed(0)
    network = add_head(build_student("lite0_trimmed", 32), 112, None, 3).eval()
    onnx = network_to_onnx(network, 32, ("a", "b", "c"))
    pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    assert parity(network, pixels, onnx=onnx)["onnx_difference"] < 1e-4
    with torch.no_grad():
        network[1].bias[0] += 1.0
    with pytest.raises(ExportDiffers, match="onnx model's probabilities differ"):
        parity(network, pixels, onnx=onnx)


def test_the_exported_program_agrees_with_the_network():
    import torch

    from ecos_core.training.export import network_to_program
    from ecos_core.training.network import add_head, build_student, probabilities_of

    torch.manual_seed(0)
    network = add_head(build_student("lite0_trimmed", 32), 112, None, 3).eval()
    program = torch.export.load(io.BytesIO(network_to_program(network, 32))).module()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    answers = program(torch.from_numpy(pixels)).detach().numpy()
    assert np.abs(answers - probabilities_of(network, pixels, "cpu")).max() < 1e-5


def test_validation_is_stratified_and_never_takes_the_last_sample():
    config = TrainConfig(patience=3, validation_share=0.5)
    fitted, held_out = split_validation(["a"] * 4 + ["b"], config, seed=1)
    assert sorted([*fitted, *held_out]) == [0, 1, 2, 3, 4]
    assert len(held_out) == 2
    assert 4 in fitted
    assert not len(split_validation(["a"] * 4, TrainConfig(), seed=1)[1])


def test_softening_at_one_changes_nothing_and_at_much_flattens():
    probabilities = np.array([[0.9, 0.08, 0.02]], np.float32)
    assert soften(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-6)
    assert np.ptp(soften(probabilities, 100.0)) < 0.02
