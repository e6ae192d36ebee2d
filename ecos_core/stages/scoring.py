"""Filter: ask the client for centroid coverage scores, and keep its answer and receipt as an artefact.

The client answers a repeat of the same request with the same bytes for nothing, so asking again after a crash, or on
every scheduled run over an unchanged lake, costs no privacy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core.client.connection import Connection
from ecos_core.client.connection import connect as connect_to
from ecos_core.client.protocol import ClientInfo
from ecos_core.clustering.clustering import Clustering
from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import InputError, RemoteError
from ecos_core.privacy.planner import Plan, plan_epsilon, plan_sigma
from ecos_core.sampling.config import Scores
from ecos_core.stages.account import Account
from ecos_core.storage import Location, Manifest, read_manifest, read_shard, write_manifest, write_shard

KIND = "scores"


@dataclass(frozen=True)
class StoredScores:
    """A client's answer on disk: ``folder`` holds the counts and the receipt; ``account`` is None where no client was
    asked (the demo's noise-free reference)."""

    folder: Location
    manifest: Manifest
    account: Account | None


@dataclass(frozen=True)
class Quote:
    """What a release would cost, before anyone is asked, and what the client says of its account: ``spent`` and
    ``limit`` (epsilon), None where it cannot say now."""

    plan: Plan
    spent: float | None = None
    limit: float | None = None


def planned(privacy: PrivacyConfig) -> Plan:
    """The noise that this release will carry and what it costs, before anyone is asked."""
    if privacy.sigma is not None:
        return plan_epsilon(privacy.sigma, privacy.delta, adjacency=privacy.adjacency, gamma=privacy.gamma)
    if privacy.epsilon is None:
        raise InputError("privacy: give epsilon or sigma")
    return plan_sigma(privacy.epsilon, privacy.delta, adjacency=privacy.adjacency, gamma=privacy.gamma)


def quote(client: ClientConfig, privacy: PrivacyConfig) -> Quote:
    """The plan, with the client's own statement of its account, which is free; without it where it cannot say now.

    Raises InputError when a file of the configuration cannot be read.
    """
    plan = planned(privacy)
    if not answers_at_once(client):
        return Quote(plan)
    try:
        with connect(client) as connection:
            info = stated(connection, privacy)
    except RemoteError:
        return Quote(plan)
    return Quote(plan, info.epsilon_spent, info.epsilon_limit)


def stated(connection: Connection, privacy: PrivacyConfig) -> ClientInfo:
    """What the client states of itself. Raises InputError when it counts at another delta than the question is
    planned at: its epsilon would not be the one that was asked for."""
    info = connection.info()
    if info.delta != privacy.delta:
        raise InputError(
            f"privacy: planned at delta {privacy.delta:g}, but the client counts epsilon at delta {info.delta:g}; "
            f"nothing was asked: set delta to {info.delta:g}"
        )
    return info


def answers_at_once(client: ClientConfig) -> bool:
    """Whether what it states of itself can be asked in passing: a mailbox is emptied when its owner likes."""
    return client.url.startswith("http")


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
    """Ask, verify the receipt, store the answer beside the receipt that proves it, in a folder of ``folder`` that is
    named by the answer's digest. Raises RemoteError, PolicyError or BudgetExceeded as the client answers."""
    plan = planned(privacy)
    with connect(client) as connection:
        limit = stated(connection, privacy).epsilon_limit
        release = connection.score(
            clustering.centroids,
            sigma=plan.sigma,
            fingerprint=clustering.fingerprint,
            adjacency=str(privacy.adjacency),
            gamma=privacy.gamma,
        )
    receipt = release.receipt
    account = Account.after(receipt, privacy, plan.sigma, limit)
    target = folder / receipt.answer_digest[:16]
    return write_scores(clustering, release.counts, target, account, receipt.model_dump(mode="json"))


def write_scores(
    clustering: Clustering,
    counts: npt.NDArray[np.int64],
    folder: Location,
    account: Account | None,
    receipt: dict[str, Any] | None,
) -> StoredScores:
    """Write ``counts`` int64 [R] of a clustering with their account and receipt; None: nobody was asked, no noise."""
    import pyarrow as pa

    sizes = clustering.statistics.sizes
    table = pa.table(
        {
            "cluster": pa.array(np.arange(len(sizes)), pa.int32()),
            "size": pa.array(sizes, pa.int64()),
            "noisy_score": pa.array(counts, pa.int64()),
        }
    )
    privacy = NOBODY_ASKED if account is None else account.stored()
    manifest = Manifest(
        kind=KIND,
        inputs={"clustering": clustering.id},
        shards=[write_shard(folder, "scores.parquet", table)],
        summary={"privacy": privacy, "receipt": receipt, "noise": privacy["sigma"]},
    )
    write_manifest(folder, manifest)
    return StoredScores(folder, manifest, account)


NOBODY_ASKED = {"sigma": 0.0, "adjacency": "none", "note": "noise-free reference of the demo"}


def read_scores(folder: Location) -> tuple[StoredScores, Scores]:
    """Read an answer back."""
    manifest = read_manifest(folder, KIND)
    told = manifest.summary["privacy"]
    counts = read_shard(folder, manifest.shards[0], ["noisy_score"])["noisy_score"].to_numpy()
    noise = float(manifest.summary.get("noise", told["sigma"]))
    return StoredScores(folder, manifest, Account.read(told)), Scores(noisy=counts, sigma=noise)
