"""An extractor turns samples' bytes into feature vectors and carries the fingerprint that says exactly how.

A kind of sample (pictures, texts, rows of a table) has its own preprocessing and network; all else is shared.

Cloud and client compare fingerprints, never names. The fingerprint covers the backbone, its weights' digest, the
digest of its graph (``graphs``), the preprocessing, the normalisation and the projection; not the engine: torch and
ONNX Runtime agree to 1e-3. Fingerprints of schema 1 do not cover the graph; what was made under one keeps it, and its
graph is pinned where it is agreed to (``agreement``).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError, IntegrityError
from ecos_core.features.backbones import BUILT_HERE, BUILT_HERE_BEFORE, EMBEDDED, Backbone, find_backbone
from ecos_core.features.devices import sees_gpu
from ecos_core.features.graphs import Graph, inspect_graph
from ecos_core.features.preprocessing import Preprocessing, Preprocessor
from ecos_core.features.projection import Projection, read_projection
from ecos_core.features.tables import ColumnsEngine, TablePreprocessing
from ecos_core.features.texts import TextPreprocessing
from ecos_core.lake.modality import IMAGE, TABLE, TEXT
from ecos_core.storage import Location, canonical_json, sha256_hex

log = logging.getLogger(__name__)

EngineName = Literal["auto", "torch", "onnx"]
EXTRACTOR_NAME = "extractor.json"
PROJECTION_NAME = "projection.npz"
GRAPH_NAME = "backbone.onnx"
TABLE_NAME = "table"
SCHEMA_VERSION = 2
# Fixed, so that the bytes of a shard do not depend on how the work was cut.
BATCH_IMAGES = 32
GPU_BATCH_IMAGES = 256


class Engine(Protocol):
    """Prepared samples [n, …] (pixels uint8 [n, size, size, 3], tokens int64 [n, t]) to float32 [n, dimension]."""

    name: str
    device: str
    parallel: bool

    @property
    def dimension(self) -> int:
        """Numbers of a feature."""
        ...

    def run(self, prepared: NDArray[Any], /) -> NDArray[np.float32]:
        """Features float32 [n, d] of prepared samples [n, ...]."""
        ...


class _NotStarted:
    """Stands for the engine while only the recipe is asked for."""

    name, device, parallel, dimension = "none", "cpu", True, 0

    def run(self, prepared: NDArray[Any], /) -> NDArray[np.float32]:
        raise AssertionError("the engine was not started")


NOT_STARTED = _NotStarted()


@dataclasses.dataclass(frozen=True)
class Pin:
    """What a record says of an extractor's graph: the fingerprint's ``schema_version``, 1 (it does not cover the
    graph) or 2, and the ``graph``'s digest."""

    schema_version: int
    graph: str | None


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Samples' bytes to features. Build one with ``load_extractor`` or ``load_saved``.

    ``export`` gives the graph as ONNX (None: there is no network). ``pinned``: what the record that this was read
    from says of the graph; None: it is of this version, and its graph is looked at once when it is asked for.
    """

    backbone: str
    weights_sha256: str
    preprocessing: Preprocessor
    normalise: bool
    projection: Projection | None
    engine: Engine
    export: Callable[[], bytes] | None = dataclasses.field(default=None, repr=False, compare=False)
    pinned: Pin | None = None

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

    @functools.cached_property
    def graph(self) -> Graph | None:
        """The checked graph; None without a network. Raises InputError when it is no backbone's."""
        return None if self.export is None else inspect_graph(self.export())

    @functools.cached_property
    def pin(self) -> Pin:
        """The fingerprint's schema and the graph's digest, as pinned, or as they are."""
        return self.pinned or (Pin(2, self.graph.digest) if self.graph else Pin(1, None))

    @property
    def recipe(self) -> dict[str, Any]:
        """All that makes the features but the graph, which is made from it, and the projection."""
        return {
            "backbone": self.backbone,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.preprocessing.describe(),
            "normalise": self.normalise,
        }

    def same_recipe(self, record: dict[str, Any]) -> bool:
        """Whether a saved record's extractor was made from the same parts."""
        return all(record.get(name) == value for name, value in self.recipe.items())

    def _identity(self) -> dict[str, Any]:
        identity = {
            "schema_version": self.pin.schema_version,
            **self.recipe,
            "projection": self.projection.digest if self.projection else None,
        }
        return identity if self.pin.schema_version < 2 else {**identity, "graph": self.pin.graph}

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

    def to_frames(self) -> list[bytes]:
        """What ``sandbox_process`` is given: the recipe, then its files in the named order."""
        files = self.files()
        recipe = {**self.recipe, "graph": self.export is not None, "dimension": self.dimension}
        return [json.dumps({**recipe, "files": list(files)}).encode(), *files.values()]

    def with_projection(self, projection: Projection | None) -> Extractor:
        """The same extractor with another projection, and so with another fingerprint."""
        if projection and projection.input_dimension != self.engine.dimension:
            raise InputError(
                f"the projection takes {projection.input_dimension} numbers, "
                f"{self.backbone} gives {self.engine.dimension}"
            )
        return dataclasses.replace(self, projection=projection)

    def pinned_by(self, record: dict[str, Any]) -> Extractor:
        """The same extractor under the schema of a saved ``record``.

        Raises IntegrityError when the record is of schema 2 and this graph, where it is at hand, is another.
        """
        if record["schema_version"] < 2:
            return dataclasses.replace(self, pinned=Pin(record["schema_version"], None))
        stated = Pin(record["schema_version"], record["graph"])
        if self.engine.name == "onnx" and self.pin != stated:
            raise IntegrityError(f"the graph of '{self.backbone}'", str(stated.graph), str(self.pin.graph))
        return dataclasses.replace(self, pinned=stated)

    def files(self) -> dict[str, bytes]:
        """What an extractor consists of besides its record, by file name; the graph is always there."""
        found = dict(self.preprocessing.files())
        if self.projection:
            found[PROJECTION_NAME] = self.projection.to_bytes()
        if self.export is not None:
            found[GRAPH_NAME] = self.export()
        return found

    def save(self, folder: str | Location) -> None:
        """Write the projection, the graph unless whoever runs it builds it, and ``extractor.json`` last."""
        where = Location.of(folder)
        record = {**self._identity(), "fingerprint": self.fingerprint, "dimension": self.dimension}
        for name, content in self.files().items():
            if name != GRAPH_NAME or self.backbone not in BUILT_HERE:
                (where / name).write_bytes(content)
                if name == GRAPH_NAME:
                    record["graph_sha256"] = sha256_hex(content)
        (where / EXTRACTOR_NAME).write_bytes(json.dumps(record, indent=1, sort_keys=True).encode())


def load_extractor(
    name: str = EMBEDDED,
    *,
    image_size: int | None = None,
    engine: EngineName = "auto",
    weights: str | None = None,
    projection: Projection | None = None,
    normalise: bool = True,
    device: str | None = None,
    compile: bool = False,
    saved: Sequence[Location] = (),
) -> Extractor:
    """Load a backbone and the engine that runs it here.

    ``name``: one that ``backbones.registry`` knows; the extractor of a table is fitted on its lake
    (``features.lake_extractor``). ``image_size``: side in px, 32..1024; None: the backbone's own (128 for
    EfficientNet-Lite0 and torchvision). ``weights``: a weights name, a file or a folder. ``normalise``: scale each
    feature to L2 norm 1 (before the projection). ``engine='auto'``: torch on a GPU, else ONNX Runtime. ``saved``:
    folders of saved extractors; one made from the same recipe gives its graph, and with it the fingerprint: nothing
    is exported twice, and another exporter makes no other extractor. InputError.
    """
    backbone = find_backbone(name, weights, image_size)
    engine = _decide(engine, device)
    bare = Extractor(name, backbone.weights_sha256, backbone.preprocessing, normalise, None, NOT_STARTED)
    records = ((where, read_record(where)) for where in saved)
    where, record = next(
        ((where, record) for where, record in records if bare.same_recipe(record)), (None, None)
    )
    if where is not None and record is not None and engine == "onnx" and _travels(record):
        found = _from_graph(where, record, backbone.preprocessing)
    else:
        size = backbone.preprocessing.image_size if isinstance(backbone.preprocessing, Preprocessing) else 0
        export = functools.lru_cache(maxsize=1)(functools.partial(backbone.onnx_graph, size))
        runner = _start(backbone, export, engine, device, compile)
        found = dataclasses.replace(bare, engine=runner, export=export)
    found = found if record is None else found.pinned_by(record)
    return found.with_projection(projection)


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

    A folder that carries ``backbone.onnx`` needs neither torch nor the weights. The graph of a backbone that is
    built here is never taken from a folder. Raises InputError when there is no extractor or its graph is not
    allowed, IntegrityError when what was found here is not what the record says.
    """
    where = Location.of(folder)
    record = read_record(where)
    projection = read_projection((where / PROJECTION_NAME).read_bytes()) if record["projection"] else None
    preprocessing = read_preprocessing(record["preprocessing"], lambda name: (where / name).read_bytes())
    if isinstance(preprocessing, TablePreprocessing):
        loaded = table_extractor(preprocessing)
    elif _travels(record) and engine != "torch" and weights is None:
        loaded = _from_graph(where, record, preprocessing)
    else:
        loaded = load_extractor(
            record["backbone"],
            image_size=preprocessing.image_size if isinstance(preprocessing, Preprocessing) else None,
            engine=engine,
            weights=weights,
            normalise=record["normalise"],
            device=device,
        )
    loaded = loaded.with_projection(projection).pinned_by(record)
    if loaded.fingerprint != record["fingerprint"]:
        raise IntegrityError(
            f"{where}: extractor '{record['backbone']}'", record["fingerprint"], loaded.fingerprint
        )
    return loaded


def read_record(where: Location) -> dict[str, Any]:
    """The content of ``extractor.json``. Raises InputError when there is none."""
    try:
        record: dict[str, Any] = json.loads((where / EXTRACTOR_NAME).read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{where}: no extractor here ({EXTRACTOR_NAME} is missing); run  ecos index  first"
        ) from error
    if record["schema_version"] > SCHEMA_VERSION:
        raise InputError(f"{where}: an extractor of a newer version; upgrade ecos")
    return record


def _travels(record: dict[str, Any]) -> bool:
    """Whether the graph is taken from beside the record. That of a backbone which is built here never is."""
    here = BUILT_HERE if record["schema_version"] >= 2 else BUILT_HERE_BEFORE
    return "graph_sha256" in record and record["backbone"] not in here


def _from_graph(where: Location, record: dict[str, Any], preprocessing: Preprocessor) -> Extractor:
    """An extractor whose graph travelled with it."""
    content = (where / GRAPH_NAME).read_bytes()
    if sha256_hex(content) != record["graph_sha256"]:
        raise IntegrityError(str(where / GRAPH_NAME), record["graph_sha256"], sha256_hex(content))
    return Extractor(
        record["backbone"],
        record["weights_sha256"],
        preprocessing,
        record["normalise"],
        None,
        _onnx_engine(preprocessing, content),
        lambda: content,
    )


def read_preprocessing(record: dict[str, Any], read: Callable[[str], bytes]) -> Preprocessor:
    """The preprocessing that ``describe`` described; ``read`` gives the files beside it by name."""
    modality = record.get("modality", IMAGE.name)
    if modality == TEXT.name:
        return TextPreprocessing.read(record, read)
    return (TablePreprocessing if modality == TABLE.name else Preprocessing).model_validate(record)


def _fingerprint(identity: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def _decide(engine: EngineName, device: str | None) -> EngineName:
    if engine == "auto":
        engine, why = choose_engine(device)
        log.info("engine %s: %s", engine, why)
    if engine not in ("onnx", "torch"):
        raise InputError(f"unknown engine '{engine}': use auto, torch or onnx")
    if engine == "onnx" and device not in (None, "cpu"):
        raise InputError(f"the ONNX engine runs on the CPU; for '{device}' use  --engine torch")
    return engine


def _start(
    backbone: Backbone, export: Callable[[], bytes], engine: EngineName, device: str | None, compile: bool
) -> Engine:
    preprocessing = backbone.preprocessing
    if engine == "onnx":
        return _onnx_engine(preprocessing, export())
    from ecos_core.features.torch_engine import TorchEngine, choose_device, pixel_network

    example = np.stack([preprocessing.example()] * 2)
    if isinstance(preprocessing, Preprocessing):
        module = backbone.torch_module(preprocessing.image_size)
        network = pixel_network(module, preprocessing.mean, preprocessing.std)
    else:
        network = backbone.torch_module(0)
    return TorchEngine(network, example, device=choose_device(device), compile=compile)


def _onnx_engine(preprocessing: Preprocessor, graph: bytes) -> Engine:
    from ecos_core.features.onnx_engine import OnnxEngine, TokenEngine

    kind = TokenEngine if preprocessing.modality is TEXT else OnnxEngine
    return kind(graph, dimension=inspect_graph(graph).dimension)


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
