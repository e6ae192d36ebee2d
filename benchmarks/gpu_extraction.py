"""Images a second from JPEG to features on a GPU, and what each of its settings gains. Builds nothing.

On a machine with a GPU  ecos bench gpu_extraction  keeps the figures under benchmarks/results;
python -m benchmarks.gpu_extraction  needs no command line of ECOS and prints them.

Without a GPU it runs small on the CPU, where bfloat16, channels_last and the decoder mean nothing: the rows say so,
and no bar is judged. The backbone is torchvision's ResNet-50 at 224 px with random weights, which cost the same
time; the images are random crops of scikit-image's photographs, 384 px JPEG.

* ``forward``: passes over ready uint8 pixels on the device, float32, then with bfloat16, channels_last and
  ``torch.compile`` added one after the other. ``gain``: over the row before.
* ``decode``: threads with Pillow, as the lake does it, and nvJPEG by ``torchvision.io.decode_jpeg`` with scaling on
  the device. nvJPEG's pixels are not Pillow's, so an extractor that used it would need another fingerprint, and a
  client without a GPU could not follow: it is measured here and used nowhere.
* ``end to end``: ``extract_lake``, from the lake's shards to features on disk. Bars: 900 images a second, and the
  fraction of the forward-only rate is stated (the lake's own way: bfloat16 and channels_last).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lake import in_threads, write_images
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor, load_extractor
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake

RATE_BAR = 900.0
Row = dict[str, Any]


def run(quick: bool = False, backbone: str = "resnet50", images: int = 20_000) -> list[Row]:
    """The rows. Small, and so said, where torch sees no GPU."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    small = quick or device == "cpu"
    if small:
        backbone, images = "resnet18", 64
    where = torch.cuda.get_device_name() if device == "cuda" else "no GPU: small, on the CPU"
    with tempfile.TemporaryDirectory() as scratch:
        write_images(Path(scratch) / "images", images)
        lake = Lake.create(str(Path(scratch) / "lake"))
        ingest(Path(scratch) / "images", lake)
        size = 64 if small else 224
        extractor = load_extractor(
            backbone,
            image_size=size,
            weights=_weights(Path(scratch), backbone),
            engine="torch",
            device=device,
        )
        data = [path.read_bytes() for path in sorted((Path(scratch) / "images").rglob("*.jpg"))]
        rows = list(_forward_rows(extractor, size, device, small))
        kept = next(row["images_s"] for row in rows if row["name"].endswith("channels_last"))
        rows += list(_decode_rows(extractor, data[: 64 if small else 4_096], device, size))
        rows.append(_end_to_end(lake, extractor, kept, judged=not small))
    return [{**row, "backbone": f"{backbone}, {size} px", "device": where} for row in rows]


def _forward_rows(extractor: Extractor, side: int, device: str, small: bool) -> Iterator[Row]:
    """One setting after the other; each row keeps those before it."""
    import torch

    network: Any = extractor.engine.network  # type: ignore[attr-defined]
    count, batches = (8, 2) if small else (256, 40)
    pixels = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, device=device)
    plain, last = torch.contiguous_format, torch.channels_last
    settings = [("float32", False, plain, False), ("+ bfloat16", True, plain, False)]
    settings += [("+ channels_last", True, last, False), ("+ compile", True, last, True)]
    before: float | None = None
    for name, half, layout, compiled in settings:
        shaped = network.to(memory_format=layout)
        forward = torch.compile(shaped) if compiled and device == "cuda" else shaped
        if compiled and device == "cpu":
            continue  # minutes of compiling that say nothing about a GPU

        def passes(forward: Any = forward, half: bool = half) -> None:
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=half):
                for _ in range(batches):
                    forward(pixels)

        rate = count * batches / _seconds(passes, device)
        yield {"name": f"forward, {name}", "images_s": rate, "gain": rate / before if before else None}
        before = rate
    network.to(memory_format=last if device == "cuda" else plain)


def _decode_rows(extractor: Extractor, data: Sequence[bytes], device: str, size: int) -> Iterator[Row]:
    threads = len(data) / _seconds(lambda: in_threads(extractor.prepare, data), device)
    yield {"name": "decode, threads with Pillow", "images_s": threads, "gain": None}
    if device == "cuda":
        rate = len(data) / _seconds(lambda: _decode_on_gpu(data, size), device)
        yield {"name": "decode, nvJPEG and scaling on the GPU", "images_s": rate, "gain": rate / threads}


def _decode_on_gpu(data: Sequence[bytes], size: int, batch: int = 256) -> None:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2.functional import center_crop, resize

    for start in range(0, len(data), batch):
        encoded = [
            torch.from_numpy(np.frombuffer(image, np.uint8).copy()) for image in data[start : start + batch]
        ]
        for image in decode_jpeg(encoded, mode=ImageReadMode.RGB, device="cuda"):
            center_crop(resize(image, [size], antialias=True), [size, size])


def _end_to_end(lake: Lake, extractor: Extractor, forward_rate: float, *, judged: bool) -> Row:
    start = time.perf_counter()
    features = extract_lake(lake, extractor)
    rate = features.rows / (time.perf_counter() - start)
    row: Row = {"name": "end to end, lake to features", "images_s": rate, "of_forward": rate / forward_rate}
    return {**row, "images": features.rows, "bar": RATE_BAR, "ok": rate >= RATE_BAR} if judged else row


def _seconds(call: Callable[[], Any], device: str) -> float:
    """Seconds of the second of two calls, the device's queue emptied."""
    import torch

    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return seconds


def _weights(scratch: Path, name: str) -> str:
    import torch
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.get_model(name).state_dict(), scratch / "weights.pth")
    return str(scratch / "weights.pth")


if __name__ == "__main__":
    table = run(quick="--quick" in sys.argv)
    for line in table:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in line.items()})
    sys.exit(0 if all(line.get("ok", True) for line in table) else 1)
