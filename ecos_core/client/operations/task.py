"""What every operation turns a checked request into, and what it may look at to do so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ecos_core.client.policy import Policy
from ecos_core.client.protocol import Arrays, Request
from ecos_core.client.records import PrivateFeatures
from ecos_core.errors import InputError
from ecos_core.privacy.events import GaussianEvent


@dataclass(frozen=True)
class Context:
    """What an operation works with: the owner's rules, and the private features by extractor, its own key."""

    policy: Policy
    held: Mapping[str, PrivateFeatures]
    key: Ed25519PrivateKey

    def features(self, fingerprint: str, points: npt.NDArray[np.float32]) -> PrivateFeatures:
        """The features that ``points`` [m, d] are to be compared with. Raises PolicyError, InputError."""
        self.policy.check_fingerprint(fingerprint)
        held = self.held[fingerprint]
        dimension = held.features.shape[1]
        if points.ndim != 2 or points.shape[1] != dimension:
            raise InputError(
                f"this extractor's features have {dimension} dimensions; the request's have others"
            )
        return held


@dataclass(frozen=True)
class Task:
    """A checked request, ready for the ledger: what it costs and how to answer it.

    ``answer`` draws the noise, then reads the data, and returns the arrays to release.
    """

    request: Request
    events: Sequence[GaussianEvent]
    answer: Callable[[], Arrays]


Prepare = Callable[[Context, dict[str, Any], Arrays], Task]


def only_array(arrays: Arrays, name: str, dtype: str) -> npt.NDArray[Any]:
    """The one array a request must hold. Raises InputError when it holds another, or others."""
    if set(arrays) != {name} or arrays[name].dtype != np.dtype(dtype):
        raise InputError(f"request: exactly one array is needed, '{name}' of type {np.dtype(dtype).name}")
    return arrays[name]
