"""A backbone: a network and its weights, with the preprocessing that it was trained on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ecos_core.errors import InputError
from ecos_core.features.preprocessing import Preprocessing, Preprocessor

DEFAULT_IMAGE_SIZE = 128


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for: a name, weights (a file, a folder or a name; None: the family's own), a side in px."""

    name: str
    weights: str | None = None
    image_size: int | None = None

    def path(self, hint: str) -> Path:
        """The weights as a path that is there. Raises InputError with ``hint``."""
        if self.weights is None:
            raise InputError(f"{self.name}: its weights are missing: {hint}")
        path = Path(self.weights)
        if not path.exists():
            raise InputError(f"{self.weights}: no such file or folder; {hint}")
        return path


@dataclass(frozen=True)
class Backbone:
    """A network and its weights.

    ``torch_module``: for images of a side in px, a torch module in evaluation mode that maps prepared samples
    (normalised float32 [n, 3, size, size], tokens int64 [n, t]) to features float32 [n, d]. ``build_graph``: the
    same as an ONNX graph, made without torch; None: it is exported from the module.
    """

    name: str
    weights_sha256: str
    preprocessing: Preprocessor
    torch_module: Callable[[int], Any]
    build_graph: Callable[[int], bytes] | None = None

    @property
    def mean(self) -> tuple[float, float, float]:
        """What is subtracted from each channel, on the scale 0..255."""
        return self._images.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """What each channel is divided by, on the scale 0..255."""
        return self._images.std

    @property
    def _images(self) -> Preprocessing:
        if not isinstance(self.preprocessing, Preprocessing):
            raise InputError(f"this works on images, '{self.name}' reads {self.preprocessing.modality.unit}")
        return self.preprocessing

    def onnx_graph(self, image_size: int) -> bytes:
        """Prepared samples (uint8 pixels [n, size, size, 3], tokens int64 [n, t]) to features [n, d]."""
        if self.build_graph is not None:
            return self.build_graph(image_size)
        from ecos_core.features.torch_engine import export_images, export_tokens

        module = self.torch_module(image_size)
        if isinstance(self.preprocessing, Preprocessing):
            return export_images(module, image_size, self.mean, self.std)
        return export_tokens(module)


def preprocessing_of(**settings: Any) -> Preprocessing:
    """A ``Preprocessing``. Raises InputError for a side that is not allowed."""
    try:
        return Preprocessing(**settings)
    except ValidationError as error:
        problem = error.errors()[0]
        name = "--image-size" if problem["loc"] == ("image_size",) else str(problem["loc"][0])
        raise InputError(f"{name} {problem['input']}: {problem['msg'].lower()}") from error


def on_255(values: Iterable[float]) -> tuple[float, ...]:
    """Statistics on the scale 0..1 as ours on 0..255."""
    return tuple(round(255.0 * value, 6) for value in values)


def fixed_size(wanted: Wanted, own: int) -> int:
    """The side of a network that takes one only. Raises InputError when another is asked for."""
    if wanted.image_size not in (None, own):
        raise InputError(f"{wanted.name}: sees images of {own} px; use  --image-size {own}  or leave it out")
    return own


@functools.lru_cache(maxsize=16)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file, 64 hex digits; read once a process while it does not change."""
    found = path.stat()
    return _digest(path, found.st_size, found.st_mtime_ns)


def files_digest(paths: Iterable[Path]) -> str:
    """sha256 over files' names and digests; that of the file alone where it is one."""
    digests = {path.name: file_digest(path) for path in paths}
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256(
        "\n".join(f"{digest} {name}" for name, digest in sorted(digests.items())).encode()
    ).hexdigest()


def weights_files(folder: Path) -> list[Path]:
    """The files of a folder that hold its weights, safetensors before pickles. Raises InputError without any."""
    for pattern in ("*.safetensors", "*.bin", "*.pth", "*.pt"):
        found = sorted(
            path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith(".")
        )
        if found:
            return found
    raise InputError(f"{folder}: no weights in it (*.safetensors, *.bin, *.pth)")
