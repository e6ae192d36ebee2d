"""An extractor turns samples' bytes into feature vectors and carries the fingerprint that says exactly how.

A kind of sample (pictures, texts, rows of a table) has its own preprocessing and network; all else is shared.

Cloud and client compare fingerprints, never names. The fingerprint covers the backbone, its weights' digest,
the preprocessing, the normalisation and the projection; not the engine: torch and ONNX Runtime agree to 1e-3.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ecos_core.errors import InputError, IntegrityError
from ecos_core.features.backbones import EMBEDDED, Backbone, find_backbone
from ecos_core.features.devices import sees_gpu
from ecos_core.features.preprocessing import Preprocessing, Preprocessor
from ecos_core.features.projection import Projection
from ecos_core.features.tables import ColumnsEngine, TablePreprocessing
from ecos_core.features.texts import TextPreprocessing
from ecos_core.lake.modality import IMAGE, TABLE, TEXT
from ecos_core.storage import Location, canonical_json, sha256_hex

log = logging.getLogger(__name__)

EngineName = Literal["auto", "torch", "onnx"]
EXTRACTOR_NAME = "extractor.json"
PROJECTION_NAME = "projection.npz"
GRAPH_NAME = "backbone.onnx"
MINILM = "all_minilm_l6_v2"
TABLE_NAME = "table"
SCHEMA_VERSION = 1
# Fixed, so that the bytes of a shard do not depend on how the work was cut.
BATCH_IMAGES = 32
GPU_BATCH_IMAGES = 256


class Engine(Protocol):
    """Prepared samples [n, …] (pixels uint8 [n, size, size, 3], tokens int64 [n, t]) to float32 [n, dimension]."""

    name: str
    device: str
    parallel: bool
    dimension: int

    def run(self, prepared: NDArray[Any], /) -> NDArray[np.float32]:
        """Features float32 [n, d] of prepared samples [n, ...]."""
        ...


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Samples' bytes to features. Build one with ``load_extractor`` or ``load_saved``."""

    backbone: str
    weights_sha256: str
    preprocessing: Preprocessor
    normalise: bool
    projection: Projection | None
    engine: Engine
    export: Callable[[], bytes] | None = dataclasses.field(default=None, repr=False, compare=False)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 over everything that changes the features, 64 hex digits."""
        return _fingerprint(self._identity())

    @property
    def dimension(self) -> int:
        """Numbers in a feature."""
        return self.projection.dimension if self.projection else self.engine.dimension

    @property
    def batch_images(self) -> int:
        """Samples in a forward pass."""
        return BATCH_IMAGES if self.engine.device == "cpu" else GPU_BATCH_IMAGES

    def _identity(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "backbone": self.backbone,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing.describe(),
            "normalise": self.normalise,
            "projection": self.projection.digest if self.projection else None,
        }

    def describe(self) -> dict[str, Any]:
        """Everything a person or a manifest wants to know, engine and device included."""
        return {
            **self._identity(),
            "fingerprint": self.fingerprint,
            "dimension": self.dimension,
            "engine": self.engine.name,
            "device": self.engine.device,
        }

    def prepare(self, data: bytes) -> NDArray[Any]:
        """One sample as the network takes it. Raises ``lake.decode.BadSample``."""
        return self.preprocessing.prepare(data)

    def forward(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        """Prepared samples [n, …] to float32 [n, dimension]. Raises InputError when one is not finite."""
        features = self.engine.run(prepared)
        if not np.isfinite(features).all():
            raise InputError(
                f"{self.backbone} gave NaN or infinity on {self.engine.device}: check its weights file"
            )
        if self.normalise:
            features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        return self.projection.apply(features) if self.projection else features

    def extract(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Features float32 [n, dimension] of samples' bytes. Raises ``lake.decode.BadSample``."""
        parts = [
            self.forward(np.stack([self.prepare(data) for data in images[start : start + self.batch_images]]))
            for start in range(0, len(images), self.batch_images)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    def with_projection(self, projection: Projection | None) -> Extractor:
        """The same extractor with another projection, and so with another fingerprint."""
        if projection and projection.input_dimension != self.engine.dimension:
            raise InputError(
                f"the projection takes {projection.input_dimension} numbers, "
                f"{self.backbone} gives {self.engine.dimension}"
            )
        return dataclasses.replace(self, projection=projection)

    def save(self, folder: str | Location) -> None:
        """Write ``extractor.json`` (last), the projection, and the graph unless the client can build it."""
        where = Location.of(folder)
        record = {**self._identity(), "fingerprint": self.fingerprint, "dimension": self.dimension}
        if self.projection:
            buffer = io.BytesIO()
            np.savez(
                buffer,
                mean=self.projection.mean,
                components=self.projection.components,
                explained=np.float64(self.projection.explained),
            )
            (where / PROJECTION_NAME).write_bytes(buffer.getvalue())
        for name, content in self.preprocessing.files().items():
            (where / name).write_bytes(content)
        if self.export is not None and self.backbone != EMBEDDED:
            graph = self.export()
            record["graph_sha256"] = sha256_hex(graph)
            (where / GRAPH_NAME).write_bytes(graph)
        (where / EXTRACTOR_NAME).write_bytes(json.dumps(record, indent=1, sort_keys=True).encode())


def load_extractor(
    name: str = EMBEDDED,
    *,
    image_size: int = 128,
    engine: EngineName = "auto",
    weights: str | None = None,
    projection: Projection | None = None,
    normalise: bool = True,
    device: str | None = None,
    compile: bool = False,
) -> Extractor:
    """Load a backbone and the engine that runs it here.

    ``name``: ``efficientnet_lite0``, a torchvision classification model, or ``all_minilm_l6_v2`` for texts; the
    extractor of a table is fitted on its lake (``features.lake_extractor``). ``image_size``: side in px,
    32..1024. ``weights``: a weights name or a local ``state_dict`` file. ``normalise``: scale each feature to
    L2 norm 1 (before the projection). ``engine='auto'``: torch on a GPU, else ONNX Runtime. InputError.
    """
    if name == MINILM:
        from ecos_core.features.minilm import minilm_parts

        parts = minilm_parts(choose_engine(device)[0] if engine == "auto" else engine, device)
        encoder = Extractor(
            MINILM, parts.weights_sha256, parts.preprocessing, True, None, parts.runner, parts.export
        )
        return encoder.with_projection(projection)
    backbone = find_backbone(name, weights)
    try:
        preprocessing = Preprocessing(image_size=image_size, mean=backbone.mean, std=backbone.std)
    except ValidationError as error:
        raise InputError(f"--image-size {image_size}: {error.errors()[0]['msg'].lower()}") from error
    runner, export = _start_engine(backbone, preprocessing, engine, device, compile)
    bare = Extractor(name, backbone.weights_sha256, preprocessing, normalise, None, runner, export)
    return bare.with_projection(projection)


def table_extractor(preprocessing: TablePreprocessing) -> Extractor:
    """The extractor of a table: its standardised columns, without a network."""
    return Extractor(TABLE_NAME, "", preprocessing, False, None, ColumnsEngine(preprocessing.dimension))


def load_saved(
    folder: str | Location,
    *,
    engine: EngineName = "auto",
    weights: str | None = None,
    device: str | None = None,
) -> Extractor:
    """The extractor that ``save`` wrote, with the same fingerprint, or an error.

    A folder that carries ``backbone.onnx`` needs neither torch nor the weights. Raises InputError when there
    is no extractor, IntegrityError when what was found here is not what the record says.
    """
    where = Location.of(folder)
    try:
        record = json.loads((where / EXTRACTOR_NAME).read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{where}: no extractor here ({EXTRACTOR_NAME} is missing); run  ecos index  first"
        ) from error
    projection = read_projection(where) if record["projection"] else None
    preprocessing = _read_preprocessing(where, record["preprocessing"])
    if engine != "torch" and weights is None and "graph_sha256" in record:
        graph = (where / GRAPH_NAME).read_bytes()
        if sha256_hex(graph) != record["graph_sha256"]:
            raise IntegrityError(str(where / GRAPH_NAME), record["graph_sha256"], sha256_hex(graph))
        from ecos_core.features.onnx_engine import OnnxEngine

        loaded = Extractor(
            record["backbone"],
            record["weights_sha256"],
            preprocessing,
            record["normalise"],
            projection,
            OnnxEngine(graph),
            lambda: graph,
        )
    elif isinstance(preprocessing, TablePreprocessing):
        loaded = table_extractor(preprocessing).with_projection(projection)
    else:
        loaded = load_extractor(
            record["backbone"],
            image_size=preprocessing.image_size if isinstance(preprocessing, Preprocessing) else 128,
            engine=engine,
            weights=weights,
            projection=projection,
            normalise=record["normalise"],
            device=device,
        )
    if loaded.fingerprint != record["fingerprint"]:
        raise IntegrityError(
            f"{where}: extractor '{record['backbone']}'", record["fingerprint"], loaded.fingerprint
        )
    return loaded


def _read_preprocessing(where: Location, record: dict[str, Any]) -> Preprocessor:
    modality = record.get("modality", IMAGE.name)
    if modality == TEXT.name:
        return TextPreprocessing.read(where, record)
    return (TablePreprocessing if modality == TABLE.name else Preprocessing).model_validate(record)


def _fingerprint(identity: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def read_projection(where: Location) -> Projection:
    """Read an extractor's projection back."""
    with np.load(io.BytesIO((where / PROJECTION_NAME).read_bytes()), allow_pickle=False) as arrays:
        return Projection(arrays["mean"], arrays["components"], float(arrays["explained"]))


def _start_engine(
    backbone: Backbone, preprocessing: Preprocessing, engine: EngineName, device: str | None, compile: bool
) -> tuple[Engine, Callable[[], bytes]]:
    if engine == "auto":
        engine, why = choose_engine(device)
        log.info("engine %s: %s", engine, why)
    if engine == "onnx":
        from ecos_core.features.onnx_engine import OnnxEngine

        if device not in (None, "cpu"):
            raise InputError(f"the ONNX engine runs on the CPU; for '{device}' use  --engine torch")
        graph = backbone.onnx_graph(preprocessing.image_size)
        return OnnxEngine(graph), lambda: graph
    if engine == "torch":
        from ecos_core.features.torch_engine import TorchEngine, choose_device

        module = backbone.torch_module(preprocessing.image_size)
        return (
            TorchEngine(
                module,
                preprocessing.image_size,
                preprocessing.mean,
                preprocessing.std,
                device=choose_device(device),
                compile=compile,
            ),
            functools.partial(backbone.onnx_graph, preprocessing.image_size),
        )
    raise InputError(f"unknown engine '{engine}': use auto, torch or onnx")


def choose_engine(device: str | None) -> tuple[EngineName, str]:
    """The engine and why: decided once, logged once."""
    import importlib.util

    if device is not None and device != "cpu":
        return "torch", f"device {device} was asked for"
    if device is None and sees_gpu():
        return "torch", "torch sees a GPU"
    if importlib.util.find_spec("onnxruntime") is not None and importlib.util.find_spec("onnx") is not None:
        return "onnx", "no GPU; ONNX Runtime is about three times as fast as torch on a CPU"
    return "torch", "no GPU, and onnxruntime or onnx is not installed"
