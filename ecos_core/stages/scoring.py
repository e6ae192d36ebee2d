"""Filter: ask the client for centroid coverage scores, and keep its answer and receipt as an artefact.

The client answers a repeat of the same request with the same bytes for nothing, so asking again after a crash, or on
every scheduled run over an unchanged lake, costs no privacy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.client.connection import Connection
from ecos_core.client.connection import connect as connect_to
from ecos_core.client.protocol import ScoreRelease
from ecos_core.clustering.clustering import Clustering
from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import InputError
from ecos_core.privacy.planner import Plan, plan_epsilon, plan_sigma
from ecos_core.sampling.config import Scores
from ecos_core.storage import Location, Manifest, read_manifest, read_shard, write_manifest, write_shard

KIND = "scores"


@dataclass(frozen=True)
class StoredScores:
    """A client's answer on disk: ``folder`` holds the counts, ``manifest.summary`` the privacy account and receipt.

    ``epsilon_limit`` is what the client said its limit is when it was asked; owners may change it, so it is no part
    of the artefact.
    """

    folder: Location
    manifest: Manifest
    epsilon_limit: float | None = None

    @property
    def privacy(self) -> dict[str, Any]:
        """``epsilon``, ``epsilon_autodp`` (totals), ``epsilon_release``, ``delta``, ``sigma``, ``adjacency``, …"""
        return {**self.manifest.summary["privacy"], "epsilon_limit": self.epsilon_limit}


def planned(privacy: PrivacyConfig) -> Plan:
    """The noise that this release will carry and what it costs, before anyone is asked."""
    if privacy.sigma is not None:
        return plan_epsilon(privacy.sigma, privacy.delta, adjacency=privacy.adjacency, gamma=privacy.gamma)
    if privacy.epsilon is None:
        raise InputError("privacy: give epsilon or sigma")
    return plan_sigma(privacy.epsilon, privacy.delta, adjacency=privacy.adjacency, gamma=privacy.gamma)


def connect(client: ClientConfig) -> Connection:
    """A connection with the token of the file. Raises InputError when a file cannot be read."""
    path = Path(client.token_file).expanduser()
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InputError(
            f"{path}: the token file cannot be read ({error.strerror}); the data owner hands it out"
        ) from error
    options: dict[str, Any] = {}
    if client.certificate_authority:
        options["authority"] = Path(client.certificate_authority).expanduser()
    return connect_to(client.url, token, public_key=client.public_key, timeout_s=client.timeout_s, **options)


def request_scores(
    clustering: Clustering, client: ClientConfig, privacy: PrivacyConfig, folder: Location
) -> StoredScores:
    """Ask, verify the receipt, store. Raises RemoteError, PolicyError or BudgetExceeded as the client answers."""
    plan = planned(privacy)
    with connect(client) as connection:
        limit = connection.info().epsilon_limit
        release = connection.score(
            clustering.centroids,
            sigma=plan.sigma,
            fingerprint=clustering.fingerprint,
            adjacency=str(privacy.adjacency),
            gamma=privacy.gamma,
        )
    return dataclasses.replace(store_release(clustering, release, folder), epsilon_limit=limit)


def store_release(clustering: Clustering, release: ScoreRelease, folder: Location) -> StoredScores:
    """Write the answer beside the receipt that proves it; the folder is named by the receipt's answer digest."""
    privacy = {
        name: getattr(release, name)
        for name in (
            "sigma", "sensitivity", "adjacency", "gamma", "delta", "epsilon", "epsilon_autodp", "epsilon_release",
        )
    }  # fmt: skip
    receipt = release.receipt.model_dump(mode="json")
    return write_scores(
        clustering, release.counts, folder / release.receipt.answer_digest[:16], privacy, receipt
    )


def write_scores(
    clustering: Clustering,
    counts: npt.NDArray[np.int64],
    folder: Location,
    privacy: dict[str, Any],
    receipt: dict[str, Any] | None,
) -> StoredScores:
    """Write ``counts`` int64 [R] of a clustering with their privacy account."""
    import pyarrow as pa

    sizes = clustering.statistics.sizes
    table = pa.table(
        {
            "cluster": pa.array(np.arange(len(sizes)), pa.int32()),
            "size": pa.array(sizes, pa.int64()),
            "noisy_score": pa.array(counts, pa.int64()),
        }
    )
    manifest = Manifest(
        kind=KIND,
        inputs={"clustering": clustering.id},
        shards=[write_shard(folder, "scores.parquet", table)],
        summary={"privacy": privacy, "receipt": receipt, "noise": privacy["sigma"]},
    )
    write_manifest(folder, manifest)
    return StoredScores(folder, manifest)


def read_scores(folder: Location) -> tuple[StoredScores, Scores]:
    """Read an answer back."""
    manifest = read_manifest(folder, KIND)
    stored = StoredScores(folder, manifest)
    counts = read_shard(folder, manifest.shards[0], ["noisy_score"])["noisy_score"].to_numpy()
    return stored, Scores(noisy=counts, sigma=float(manifest.summary.get("noise", stored.privacy["sigma"])))
