"""The forward pass by ONNX Runtime: the default on a CPU, and all that the data owner needs.

EfficientNet-Lite0 at 128 px on one core: about 340 images/s against 110 for torch. ``run`` may be called from
several threads at once; each call uses one core, which scales better than splitting one batch over the cores. The
graph is loaded at the first call: at the data owner's it never is in the process that holds keys and files.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError, MissingDependencyError


class OnnxEngine:
    """uint8 pixels [n, size, size, 3] to float32 features [n, dimension] on the CPU.

    ``dimension``: where it is known; else the graph is loaded when it is asked for.
    """

    name = "onnx"
    device = "cpu"
    parallel = True  # calls from several threads run side by side

    def __init__(self, graph: bytes, *, threads: int = 1, dimension: int | None = None) -> None:
        self._graph, self._threads, self._dimension = graph, threads, dimension
        self._loaded: Any = None
        self._loading = threading.Lock()

    @property
    def dimension(self) -> int:
        """Numbers of a feature."""
        if self._dimension is None:
            self._dimension = int(self._session.get_outputs()[0].shape[1])
        return self._dimension

    def run(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        """Features float32 [n, d] of prepared samples [n, ...]."""
        session = self._session
        features: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: prepared})[0]
        return features

    @property
    def _session(self) -> Any:
        with self._loading:
            if self._loaded is None:
                self._loaded = _load(self._graph, self._threads)
        return self._loaded


def _load(graph: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "client") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base class for a bad model
        raise InputError(f"the ONNX graph cannot be loaded: {str(error).splitlines()[0][:200]}") from error


class TokenEngine(OnnxEngine):
    """Tokens int64 [n, t], padded with 0, to float32 [n, dimension]; padding that no text needs is cut off first."""

    def run(self, prepared: NDArray[Any]) -> NDArray[np.float32]:
        """Features float32 [n, d] of tokens int64 [n, t]."""
        return super().run(cut_padding(prepared))


def cut_padding(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens [n, t] to [n, l], with l the longest text of them, at least 1."""
    longest = int((tokens != 0).sum(axis=1).max(initial=1))
    return np.ascontiguousarray(tokens[:, :longest])
