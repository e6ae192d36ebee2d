"""Which library and device run k-means: decided once, with the reason, and asserted.

FAISS asked for a GPU that it cannot see trains on the CPU without a word, so nothing here relies on asking.
"""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecos_core.clustering.fitting import Fit, FitOptions
from ecos_core.clustering.seeding import seeds, subsample
from ecos_core.errors import InputError, MissingDependencyError
from ecos_core.features.devices import sees_gpu

log = logging.getLogger(__name__)

BackendName = Literal["auto", "faiss", "torch"]
# From here on a quarter of the sample still has 40 points a centroid.
WARM_UP_POINTS_PER_CENTROID = 160


@dataclass(frozen=True)
class Backend:
    """A decision: ``name`` faiss or torch, ``device`` cpu or cuda, ``reason`` in words."""

    name: str
    device: str
    reason: str

    def fit(self, sample: NDArray[np.float32], options: FitOptions) -> tuple[NDArray[np.float32], float]:
        """Run it from k-means++ seeds; raises InputError when the device is gone.

        On a large sample the first half of the iterations sees a quarter of the points: centroids travel
        far then, and need no precision.
        """
        run: Fit
        if self.name == "faiss":
            from ecos_core.clustering.faiss_backend import fit as run
        else:
            from ecos_core.clustering.torch_backend import fit as run
        generator = np.random.default_rng(options.seed)
        start = seeds(sample, options.clusters, generator)
        early = options.iterations // 2
        if early and len(sample) >= WARM_UP_POINTS_PER_CENTROID * options.clusters:
            quarter = subsample(sample, len(sample) // 4, generator)
            start, _ = run(quarter, start, replace(options, iterations=early), self.device)
            options = replace(options, iterations=options.iterations - early)
        return run(sample, start, options, self.device)


def choose_backend(name: BackendName = "auto") -> Backend:
    """Decide and log. A GPU that FAISS sees, else a GPU that torch sees, else FAISS on the CPU, else torch.

    Raises InputError for an unknown name or a missing GPU, MissingDependencyError when what is asked for is not
    installed.
    """
    backend = _decide(name)
    log.info("k-means backend %s on %s: %s", backend.name, backend.device, backend.reason)
    return backend


def _decide(name: BackendName) -> Backend:
    faiss = _installed("faiss")
    if name == "faiss":
        if faiss is None:
            raise MissingDependencyError("faiss", "cloud")
        return _on_faiss(faiss, "asked for")
    if name == "torch":
        if _installed("torch") is None:
            raise MissingDependencyError("torch", "cloud")
        return Backend("torch", "cuda" if sees_gpu() else "cpu", "asked for")
    if name != "auto":
        raise InputError(f"unknown k-means backend '{name}': use auto, faiss or torch")
    if faiss is not None and faiss.get_num_gpus() > 0:
        return _on_faiss(faiss, "FAISS sees a GPU")
    if sees_gpu():
        return Backend("torch", "cuda", "torch sees a GPU and FAISS does not")
    if faiss is not None:
        return _on_faiss(faiss, "no GPU is seen, FAISS is the fastest on a CPU")
    if _installed("torch") is not None:
        return Backend("torch", "cpu", "FAISS is not installed and no GPU is seen")
    raise MissingDependencyError("faiss", "cloud")


def _installed(package: str) -> Any:
    """The module; None when it is not installed or its libraries do not load here."""
    if importlib.util.find_spec(package) is None:
        return None
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:
        log.warning("%s is installed but does not load: %s", package, error)
        return None


def _on_faiss(faiss: Any, reason: str) -> Backend:
    return Backend("faiss", "cuda" if faiss.get_num_gpus() > 0 else "cpu", reason)
