"""The process in which a data owner's records become features: nothing else is in its reach.

It is given, on standard input, what an extractor consists of, gives up files, network and other processes
(``confinement``), then answers one record after the other: decoded, run through the graph with a batch of exactly
one, normalised and projected. A record's answer depends on that record only: there is no batch, one thread, and the
same buffers for every record.

A frame is its length (8 bytes, little-endian) and its content. The first frame is the recipe (JSON), then come the
files that it names. An answer is a letter and a content: ``R`` ready (JSON), ``F`` a feature (float32), ``E`` why
this record has none (JSON), ``X`` why there is no extractor (a line of text).
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MEMORY_BYTES = 4 * 2**30
# The graph is held as bytes, as a protobuf, as the runtime's own and as its repacked constants.
MEMORY_A_GRAPH_BYTE = 6


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next content; None at the end."""
    length = stream.read(8)
    return stream.read(int.from_bytes(length, "little")) if len(length) == 8 else None


def write_frame(stream: BinaryIO, *parts: bytes) -> None:
    """One frame of ``parts``."""
    stream.write(sum(map(len, parts)).to_bytes(8, "little"))
    for part in parts:
        stream.write(part)
    stream.flush()


def main() -> None:
    """Serve one extractor until standard input ends."""
    given, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    recipe = json.loads(read_frame(given) or b"{}")
    files = {name: read_frame(given) or b"" for name in recipe["files"]}
    from ecos_core.errors import EcosError
    from ecos_core.features.confinement import confine

    _warm_up(recipe)
    try:
        confined = confine(MEMORY_BYTES + MEMORY_A_GRAPH_BYTE * sum(map(len, files.values())))
        worker = _Worker(recipe, files)
    except Exception as error:
        known = isinstance(error, EcosError)
        reason = str(error) if known else f"the extractor cannot be started ({type(error).__name__}: {error})"
        write_frame(answers, b"X", reason.encode())
        return
    write_frame(answers, b"R", json.dumps({"dimension": worker.dimension, "confined": confined}).encode())
    while (record := read_frame(given)) is not None:
        write_frame(answers, *worker.answer(record))


def _warm_up(recipe: dict[str, Any]) -> None:
    """Load what is loaded at first use while files can still be opened."""
    from PIL import ExifTags, Image, ImageChops, ImageOps, ImagePalette, ImageSequence  # noqa: F401

    from ecos_core.features import extractor, onnx_engine  # noqa: F401
    from ecos_core.features.projection import Projection, read_projection

    for name in ("ascii", "cp437", "latin-1", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "idna"):
        codecs.lookup(name)
    Image.init()
    one = np.ones((1, 1), np.float32)
    finish(one[0], True, read_projection(Projection(one[0], one, 0.0).to_bytes()))
    if recipe["graph"]:
        import onnxruntime  # noqa: F401
    if recipe["preprocessing"].get("modality") == "text":
        import tokenizers  # noqa: F401


class _Worker:
    """One extractor, as its recipe says."""

    def __init__(self, recipe: dict[str, Any], files: dict[str, bytes]) -> None:
        from ecos_core.errors import InputError
        from ecos_core.features.extractor import GRAPH_NAME, PROJECTION_NAME, read_preprocessing
        from ecos_core.features.projection import read_projection
        from ecos_core.lake.modality import TEXT

        self._preprocessing = read_preprocessing(recipe["preprocessing"], files.__getitem__)
        self._normalise = bool(recipe["normalise"])
        self._projection = read_projection(files[PROJECTION_NAME]) if PROJECTION_NAME in files else None
        self._network: Any = None
        if recipe["graph"]:
            from ecos_core.features.onnx_engine import OnnxEngine, TokenEngine

            tokens = self._preprocessing.modality is TEXT
            self._network = (TokenEngine if tokens else OnnxEngine)(files[GRAPH_NAME])
        example = self._preprocessing.example()
        self._batch = np.empty((1, *example.shape), example.dtype)
        self.dimension = int(recipe["dimension"])
        if self._feature(example).shape != (self.dimension,):
            raise InputError(f"the graph does not give the {self.dimension} numbers that its record states")

    def answer(self, record: bytes) -> tuple[bytes, bytes]:
        """``F`` and the feature, or ``E`` and why there is none."""
        from ecos_core.lake.decode import BadSample

        try:
            feature = self._feature(self._preprocessing.prepare(record))
        except BadSample as error:
            return b"E", json.dumps([error.reason, error.detail]).encode()
        except MemoryError:
            return b"E", json.dumps(["too_large", "more memory than a record may take"]).encode()
        except Exception as error:  # ONNX Runtime's errors have no common base; a record's stay with it
            return b"E", json.dumps(["not_computed", type(error).__name__]).encode()
        if feature.shape != (self.dimension,) or not np.isfinite(feature).all():
            return b"E", json.dumps(["not_finite", "its features are not finite numbers"]).encode()
        return b"F", feature.tobytes()

    def _feature(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        self._batch[0] = prepared
        found = self._batch if self._network is None else self._network.run(self._batch)
        return finish(found[0], self._normalise, self._projection)


def finish(feature: NDArray[np.float32], normalise: bool, projection: Any) -> NDArray[np.float32]:
    """Scale to L2 norm 1, project: float32 [d] to float32 [k], in float64 and one record at a time."""
    exact = feature.astype(np.float64)
    if normalise:
        exact /= max(float(np.sqrt(np.sum(exact * exact))), 1e-12)
    if projection is not None:
        mean, components = projection.exact
        exact = (exact - mean) @ components
    return exact.astype(np.float32)


if __name__ == "__main__":
    main()
