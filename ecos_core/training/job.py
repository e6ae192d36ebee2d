"""What one training of one seed is given, and what it hands back, whatever the use."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.progress import ProgressSink, silent
from ecos_core.storage import Location
from ecos_core.training.config import TrainConfig
from ecos_core.training.data import LabelledImages, digest_of

if TYPE_CHECKING:
    from ecos_core.features.extractor import Extractor
    from ecos_core.lake.lake import Lake, Snapshot


@dataclass(frozen=True)
class Job:
    """One training of one seed: everything a use may read. ``scratch`` is for checkpoints, inside the output;
    ``inputs`` the digests of what the weights are made from.
    """

    config: TrainConfig
    seed: int
    train: LabelledImages
    test: LabelledImages | None
    lake: Lake
    snapshot: Snapshot
    extractor: Callable[[], Extractor]
    fingerprint: str
    scratch: Location
    inputs: Mapping[str, str] = field(default_factory=dict)
    progress: ProgressSink = silent

    def test_features(self, test: LabelledImages) -> NDArray[np.float32]:
        """Features float32 [n, d] of the test set, extracted once: all trainings on this lake test on the same."""
        name = f"{digest_of(test)[:32]}.npy"
        where = self.lake.folder("features") / self.fingerprint / "test-sets" / name
        if where.exists():
            kept: NDArray[np.float32] = np.load(io.BytesIO(where.read_bytes()), allow_pickle=False)
            return kept
        features = self.extractor().extract(test.images)
        buffer = io.BytesIO()
        np.save(buffer, features, allow_pickle=False)
        where.write_bytes(buffer.getvalue())
        return features


@dataclass(frozen=True)
class Outcome:
    """What a use hands back. ``tensors`` and ``metadata`` are the safetensors file; ``probabilities``
    float32 [n, k] are of the test set (None without one); ``onnx`` and ``program`` (a ``torch.export``
    archive) are the model for others to run; ``figures`` are finite numbers for the metrics, ``history`` one
    row an epoch.
    """

    tensors: dict[str, NDArray[Any]]
    classes: tuple[str, ...]
    metadata: dict[str, str]
    probabilities: NDArray[np.float32] | None
    onnx: bytes | None = None
    program: bytes | None = None
    figures: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
