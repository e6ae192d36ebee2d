"""Evaluate a trained model on the client's own data: the client answers with noised counts, charged to its ledger.

On a public test set accuracy is free; here it is a query like any other, and a repeat of it is free.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from ecos_core.client.connection import Release
from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import InputError
from ecos_core.stages.account import Account
from ecos_core.stages.scoring import connect, planned, stated
from ecos_core.storage import Location
from ecos_core.training.train import METRICS_NAME


@dataclass(frozen=True)
class ClientEvaluation:
    """``accuracy`` in [0, 1] from the noised counts; ``error``: its standard deviation from the noise alone."""

    accuracy: float
    error: float
    account: Account
    receipt: dict[str, Any]

    def told(self) -> dict[str, Any]:
        """As JSON, for who called from outside."""
        return {
            "accuracy": self.accuracy,
            "error": self.error,
            "privacy": asdict(self.account),
            "receipt": self.receipt,
        }


def evaluate_at_client(model: str, client: ClientConfig, privacy: PrivacyConfig) -> ClientEvaluation:
    """Ask the client how many of its records the first seed's model gets right. ``model``: a training's folder.

    Only a model of features can be sent: a linear probe. Raises InputError for another, and as the client answers.
    """
    seed, fingerprint = _described(model)
    plan = planned(privacy)
    content = (Location.of(model) / f"model-seed{seed}.onnx").read_bytes()
    with connect(client) as connection:
        limit = stated(connection, privacy).epsilon_limit
        release = connection.evaluate(
            content,
            _classes(content),
            sigma=plan.sigma,
            fingerprint=fingerprint,
            model_format="onnx",
            adjacency=str(privacy.adjacency),
        )
    return _evaluation(release, plan.sigma, privacy, limit)


def check_evaluation(use: str, privacy: PrivacyConfig) -> None:
    """Before anything is trained: raises InputError for what could not be evaluated at a client."""
    if use != "linear_probe":
        raise InputError(
            f"evaluation at the client: it holds features, which a {use} model does not take; use linear_probe"
        )
    if privacy.gamma < 1:
        raise InputError("evaluation at the client: give epsilon or sigma only (gamma 1)")


def _described(model: str) -> tuple[int, str]:
    """(first seed, extractor) of a training. Raises InputError for one that a client cannot evaluate."""
    metrics = json.loads((Location.of(model) / METRICS_NAME).read_bytes())
    check_evaluation(metrics["use"], PrivacyConfig())
    return int(metrics["seeds"][0]["seed"]), str(metrics["extractor"])


def _classes(content: bytes) -> list[str]:
    import onnx

    stored = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    return [str(name) for name in json.loads(stored["classes"])]


def _evaluation(release: Release, sigma: float, privacy: PrivacyConfig, limit: float) -> ClientEvaluation:
    right, wrong = (float(count) for count in release.values)
    total = max(right + wrong, 1.0)
    accuracy = min(max(right / total, 0.0), 1.0)
    account = Account.after(release.receipt, privacy, sigma, limit)
    error = sigma * math.hypot(accuracy, 1.0 - accuracy) / total
    return ClientEvaluation(accuracy, error, account, release.receipt.model_dump(mode="json"))
