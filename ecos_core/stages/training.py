"""Train on a selection and evaluate on a public test set: references in, a model's folder out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ecos_core.progress import ProgressSink, silent
from ecos_core.stages.selecting import resolve_selection
from ecos_core.storage import Location
from ecos_core.training.config import TrainConfig
from ecos_core.training.train import train_selection


@dataclass(frozen=True)
class Trained:
    """A finished training: its folder, its manifest's digest and the content of its metrics.json."""

    model: str
    digest: str
    metrics: dict[str, Any] = field(repr=False)
    reused: bool = False

    @property
    def accuracy(self) -> float:
        """On the public test set, a fraction; NaN without one."""
        return float(self.metrics.get("accuracy_mean", float("nan")))

    @property
    def seeds(self) -> list[dict[str, Any]]:
        """One row a seed: figures, history and, with a test set, its evaluation."""
        return list(self.metrics["seeds"])

    @property
    def files(self) -> list[str]:
        """Names of what belongs to the artefact, its checkpoints left out."""
        return [name for name in Location.of(self.model).names() if not name.startswith("scratch")]


def train(
    lake: str,
    selection: str,
    out: str,
    config: TrainConfig,
    *,
    labels: str | None = None,
    test: str | None = None,
    fingerprint: str | None = None,
    progress: ProgressSink = silent,
) -> Trained:
    """Finished work of the same inputs is found and reused. ``selection`` may be ``…/latest``;
    ``fingerprint``: the extractor, where the lake has several and the selection does not say. Raises InputError."""
    result = train_selection(
        resolve_selection(selection),
        lake,
        out,
        labels=labels,
        test=test,
        config=config,
        fingerprint=fingerprint,
        progress=progress,
    )
    return Trained(result.out, result.manifest.digest, result.metrics, result.reused)
