"""Features from a lake of JPEG files: is the network kept busy, and what would the usual loop give?

For every backbone, on this machine's CPU, all with the same weights and images; seconds are per image:

* ``lake``: ``extract_lake``, from the lake's shards to features on disk (decoding, scaling, checksums, fsync).
* ``ready tensors``: the same engine in as many threads over pixels that are in memory already. The bar is 0.9
  of its images a second. On a CPU decoding takes time from the same cores: with f seconds of forward pass and
  d of decoding an image no program gets past f / (f + d), the column ``ceiling``. Where the ceiling is below
  the bar (a light backbone) the row has no bar, and the next one says what is lost on top of decoding.
* ``decode, forward``: the same threads decode and forward, and keep nothing.
* ``DataLoader``: torchvision's ``ImageFolder`` with Resize and CenterCrop, one worker a core, the network in
  torch's float32: the loop of any tutorial. The bar is 1.5 times its images a second.

The rows ``forward`` say what the engines do by themselves: ONNX Runtime against torch, and torch with
channels_last. The images are random crops of scikit-image's photographs, 384 px JPEG. ResNet-18 has random
weights, which cost the same time.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lake import in_threads, write_images
from benchmarks.timing import compare, timed
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor, load_extractor
from ecos_core.features.feature_set import feature_folder
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.threads import available_cores

BUSY_BAR, LOADER_BAR = 0.9, 1.5
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A backbone at an image size, and how many images are timed; torch, the slower, gets ``torch_images``."""

    name: str
    image_size: int
    images: int
    torch_images: int


CASES = (Case("resnet18", 224, 256, 96), Case("efficientnet_lite0", 224, 640, 96))


def run(quick: bool = False, repeats: int = 2) -> list[Row]:
    """The rows; quick ones take seconds and prove nothing."""
    cases = (Case("efficientnet_lite0", 64, 64, 32),) if quick else CASES
    rows: list[Row] = []
    for case in cases:
        with tempfile.TemporaryDirectory() as scratch:
            rows += _case_rows(Path(scratch), case, 1 if quick else repeats)
    return rows


def _case_rows(scratch: Path, case: Case, repeats: int) -> list[Row]:
    weights = _weights(scratch, case.name)
    write_images(scratch / "images", case.images)
    lake = Lake.create(str(scratch / "lake"))
    ingest(scratch / "images", lake)
    extractor = load_extractor(case.name, image_size=case.image_size, weights=weights, engine="onnx")
    in_torch = load_extractor(case.name, image_size=case.image_size, weights=weights, engine="torch")
    data = [path.read_bytes() for path in sorted((scratch / "images").rglob("*.jpg"))]
    pixels = np.stack([extractor.prepare(image) for image in data[: extractor.batch_images]])

    def ready() -> None:
        in_threads(extractor.forward, [pixels] * (case.images // len(pixels)))

    def decode_and_forward() -> None:
        in_threads(extractor.extract, [data[i : i + len(pixels)] for i in range(0, len(data), len(pixels))])

    _extract_again(lake, extractor)
    lake_s, ready_s, bare_s = (
        seconds / case.images
        for seconds in _in_turns(
            [lambda: _extract_again(lake, extractor), ready, decode_and_forward], repeats
        )
    )
    decode_s = timed(lambda: in_threads(extractor.prepare, data))[1] / case.images
    torch_s = timed(_torch_loop(in_torch, pixels, case.torch_images))[1] / case.torch_images
    loader_s = timed(lambda: data_loader_loop(scratch / "images", in_torch, case))[1] / case.torch_images
    agree = float((extractor.forward(pixels) * in_torch.forward(pixels)).sum(1).min())
    in_torch.engine.network.to(memory_format=_torch().channels_last)  # type: ignore[attr-defined]
    last_s = timed(_torch_loop(in_torch, pixels, case.torch_images))[1] / case.torch_images
    ceiling = ready_s / (ready_s + decode_s)

    def row(what: str, ours_s: float, peer: str, peer_s: float, bar: float, **more: Any) -> Row:
        speed: dict[str, Any] = {"ours_per_s": 1 / ours_s, "peer_per_s": 1 / peer_s}
        return compare(
            f"{case.name}, {case.image_size} px: {what}", ours_s, peer, peer_s, bar, **speed, **more
        )

    busy_bar = BUSY_BAR if ceiling >= BUSY_BAR else 0.0
    return [
        row("lake", lake_s, "ONNX Runtime, ready tensors", ready_s, busy_bar, ceiling=ceiling),
        row("lake", lake_s, "decode, forward", bare_s, BUSY_BAR),
        row("lake", lake_s, "ImageFolder + DataLoader, torch", loader_s, LOADER_BAR),
        row("forward, ONNX Runtime", ready_s, "torch", torch_s, 0.0, least_cosine=agree),
        row("forward, ONNX Runtime", ready_s, "torch, channels_last", last_s, 0.0),
    ]


def _weights(scratch: Path, name: str) -> str | None:
    """A file of random weights for a torchvision backbone: the real ones cannot be downloaded everywhere."""
    if name == "efficientnet_lite0":
        return None
    import torch
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.get_model(name).state_dict(), scratch / "weights.pth")
    return str(scratch / "weights.pth")


def _in_turns(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """The least seconds of each, taken in turns so that a slow minute meets all."""
    times = [[timed(call)[1] for call in calls] for _ in range(repeats)]
    return [min(column) for column in zip(*times, strict=True)]


def _extract_again(lake: Lake, extractor: Extractor) -> None:
    """Every image anew; the extractor itself, saved once a lake, stays."""
    folder = feature_folder(lake, extractor.fingerprint).path
    for part in ("shards", "snapshots"):
        shutil.rmtree(folder / part, ignore_errors=True)
    extract_lake(lake, extractor)


def _torch() -> Any:
    import torch

    return torch


def _torch_loop(extractor: Extractor, pixels: np.ndarray[Any, Any], images: int) -> Callable[[], Any]:
    """Forward passes of one batch over ``images`` images, all cores on each."""
    torch = _torch()
    batch = torch.from_numpy(pixels)

    def loop() -> None:
        with torch.inference_mode():
            for _ in range(images // len(pixels)):
                extractor.engine.network(batch)  # type: ignore[attr-defined]

    return loop


def data_loader_loop(folder: Path, extractor: Extractor, case: Case) -> int:
    """The usual loop over the first ``torch_images`` files; returns how many images it saw."""
    torch = _torch()
    from torchvision import datasets, transforms

    side = case.image_size
    shape = [transforms.Resize(side), transforms.CenterCrop(side), transforms.PILToTensor()]
    images = torch.utils.data.Subset(
        datasets.ImageFolder(str(folder), transforms.Compose(shape)), range(case.torch_images)
    )
    workers, size = available_cores(), extractor.batch_images
    seen = 0
    with torch.inference_mode():
        for batch, _ in torch.utils.data.DataLoader(
            images, batch_size=size, num_workers=workers, multiprocessing_context="forkserver"
        ):
            seen += len(extractor.engine.network(batch.permute(0, 2, 3, 1)))  # type: ignore[attr-defined]
    return seen
