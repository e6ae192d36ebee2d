"""Real clients for tests: a home on disk, an engine on it, and the HTTP service on a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ecos_core.client.engine import Engine
from ecos_core.client.home import Home, init_home_from_features
from ecos_core.client.policy import Policy
from ecos_core.client.serve import prepared

FINGERPRINT = "test-extractor"
DIMENSION = 8


def some_features(records: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(records, DIMENSION)).astype(np.float32)


def some_centroids(clusters: int = 5, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(clusters, DIMENSION)).astype(np.float32)


def make_home(path: Path, features: np.ndarray | None = None, **rules: Any) -> Home:
    """A client of ``features``; ``rules`` are the policy's, by default a generous budget and no deadline."""
    labels = rules.pop("labels", None)
    units = rules.pop("units", None)
    values = {
        "epsilon": 10.0,
        "delta": 1e-5,
        "answer_after_seconds": 0.0,
        "requests_per_minute": 100_000,
        **rules,
    }
    table = some_features() if features is None else features
    return init_home_from_features(
        path,
        Policy.model_validate(values),
        features=table,
        fingerprint=FINGERPRINT,
        labels=labels,
        units=units,
    )


def token_of(home: Home) -> str:
    return (home.path / "token").read_text().strip()


@contextmanager
def serving(home: Home, **options: Any) -> Iterator[str]:
    """The HTTP service of ``home`` in a thread, on a free port of loopback; yields its address. ``options``: those
    of ``serve``."""
    server, listener, address = prepared(Engine(home), **options)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield address
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
