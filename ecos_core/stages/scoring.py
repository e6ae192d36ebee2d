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

from ecos_core.client.connecting import connect as connect_to
from ecos_core.client.connection import Connection
from ecos_core.client.receipts import ReceiptBook
from ecos_core.clustering.clustering import Clustering
from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import InputError, RemoteError
from ecos_core.lake.lake import Lake
from ecos_core.privacy.planner import Plan, plan_epsilon, plan_sigma
from ecos_core.sampling.config import Scores
from ecos_core.stages.account import Account
from ecos_core.stages.coverage import outside_statement
from ecos_core.storage import Location, Manifest, read_manifest, read_shard, write_manifest, write_shard

KIND = "scores"


@dataclass(frozen=True)
class StoredScores:
    """A client's answer on disk: ``folder`` holds the counts and the receipt; ``account`` is None where no client was
    asked (the demo's noise-free reference)."""

    folder: Location
    manifest: Manifest
    account: Account | None

    @property
    def outside(self) -> dict[str, Any] | None:
        """How much of the client lies outside the lake (``coverage.outside_statement``); None where not asked."""
        stated: dict[str, Any] | None = self.manifest.summary.get("outside")
        return stated


@dataclass(frozen=True)
class Quote:
    """What a release would cost, before anyone is asked, and what the client says of its account: ``spent`` and
    ``limit`` (epsilon), None where it cannot say now."""

    plan: Plan
    spent: float | None = None
    limit: float | None = None
    releases: int = 1

    @property
    def epsilon(self) -> float:
        """What all the releases come to together."""
        return in_all(self.plan, self.releases)


def planned(privacy: PrivacyConfig) -> Plan:
    """The noise that this release will carry and what it costs, before anyone is asked."""
    if privacy.sigma is not None:
        return plan_epsilon(privacy.sigma, privacy.delta, adjacency=privacy.adjacency, gamma=privacy.gamma)
    if privacy.epsilon is None:
        raise InputError("privacy: give epsilon or sigma")
    return plan_sigma(privacy.epsilon, privacy.delta, adjacency=privacy.adjacency, gamma=privacy.gamma)


def in_all(plan: Plan, releases: int) -> float:
    """Epsilon of so many releases of ``plan`` together."""
    if releases == 1:
        return plan.epsilon
    return plan_epsilon(
        plan.sigma, plan.delta, adjacency=plan.adjacency, gamma=plan.gamma, releases=releases
    ).epsilon


def quote(client: ClientConfig, privacy: PrivacyConfig, releases: int = 1) -> Quote:
    """The plan, with the client's own statement of its account, which is free; without it where it cannot say now.

    Raises InputError when a file of the configuration cannot be read.
    """
    plan = planned(privacy)
    if not answers_at_once(client):
        return Quote(plan, releases=releases)
    try:
        with connect(client) as connection:
            info = connection.agreed(privacy.delta)
    except RemoteError:
        return Quote(plan, releases=releases)
    return Quote(plan, info.epsilon_spent, info.epsilon_limit, releases)


def answers_at_once(client: ClientConfig) -> bool:
    """Whether what it states of itself can be asked in passing: a mailbox is emptied when its owner likes."""
    return client.url.startswith("http")


def connect(client: ClientConfig, lake: str | None = None) -> Connection:
    """The one way from settings to a client: token, pinned key, certificates. Raises InputError when a file cannot be
    read, or the token would travel in clear text.

    ``lake``: where the client's receipts are kept, and new ones held against them.
    """
    path = Path(client.token_file).expanduser()
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise InputError(
            f"{path}: the token file cannot be read ({error.strerror}); the data owner hands it out"
        ) from error
    files = {
        "authority": client.certificate_authority,
        "certificate": client.certificate,
        "certificate_key": client.certificate_key,
    }
    return connect_to(
        client.url,
        token,
        public_key=client.public_key,
        receipts=None if lake is None else ReceiptBook(Location.of(lake) / "receipts"),
        timeout_s=client.timeout_s,
        allow_clear_text=client.allow_clear_text,
        **{name: Path(file).expanduser() for name, file in files.items() if file},
    )


def request_scores(
    lake: Lake,
    clustering: Clustering,
    client: ClientConfig,
    privacy: PrivacyConfig,
    folder: Location,
    *,
    outside: bool = True,
) -> StoredScores:
    """Ask about ``clustering`` of ``lake``, which keeps the client's receipts wherever the clustering lies; verify the
    receipt; store the answer beside it, in a folder of ``folder`` that is named by the answer's digest.

    ``outside``: also, in the same answer and at the same price, how much of the client lies outside what the lake
    covers; not of a client of before, nor where only a sample of its records is asked (gamma below 1). Raises
    RemoteError, PolicyError or BudgetExceeded as the client answers.
    """
    plan = planned(privacy)
    with connect(client, lake.location.url) as connection:
        info = connection.agreed(privacy.delta)
        reach = clustering.reach if outside and info.takes_radii and privacy.gamma == 1 else None
        release = connection.score(
            clustering.centroids,
            sigma=plan.sigma,
            fingerprint=clustering.fingerprint,
            adjacency=str(privacy.adjacency),
            gamma=privacy.gamma,
            reach=None if reach is None else (reach.radii, reach.regions),
        )
    receipt = release.receipt
    account = Account.after(receipt, privacy, plan.sigma, info.epsilon_limit)
    counts, far, statement = release.counts, None, None
    if reach is not None:
        counts, far = np.split(counts, [clustering.clusters])
        scores = Scores(counts, plan.sigma, far, reach.regions)
        statement = outside_statement(lake, clustering, scores)
    return write_scores(
        clustering,
        counts,
        folder / receipt.answer_digest[:16],
        account,
        receipt.model_dump(mode="json"),
        outside=far,
        statement=statement,
    )


def write_scores(
    clustering: Clustering,
    counts: npt.NDArray[np.int64],
    folder: Location,
    account: Account | None,
    receipt: dict[str, Any] | None,
    *,
    outside: npt.NDArray[np.int64] | None = None,
    statement: dict[str, Any] | None = None,
) -> StoredScores:
    """Write ``counts`` int64 [R] of a clustering with their account and receipt; None: nobody was asked, no noise.

    ``outside`` int64 [K]: the records outside every cluster's radius, by region; ``statement``: what they say.
    """
    import pyarrow as pa

    sizes = clustering.statistics.sizes
    columns = {
        "cluster": pa.array(np.arange(len(sizes)), pa.int32()),
        "size": pa.array(sizes, pa.int64()),
        "noisy_score": pa.array(counts, pa.int64()),
    }
    regions = []
    if outside is not None:
        columns["region"] = pa.array(clustering.reach.regions, pa.int32())
        places = pa.array(np.arange(len(outside)), pa.int32())
        table = pa.table({"region": places, "noisy_score": pa.array(outside, pa.int64())})
        regions = [write_shard(folder, "outside.parquet", table)]
    privacy = NOBODY_ASKED if account is None else account.stored()
    manifest = Manifest(
        kind=KIND,
        inputs={"clustering": clustering.id},
        shards=[write_shard(folder, "scores.parquet", pa.table(columns)), *regions],
        summary={
            "privacy": privacy,
            "receipt": receipt,
            "noise": privacy["sigma"],
            **({"outside": statement} if statement else {}),
        },
    )
    write_manifest(folder, manifest)
    return StoredScores(folder, manifest, account)


NOBODY_ASKED = {"sigma": 0.0, "adjacency": "none", "note": "noise-free reference of the demo"}


def read_scores(folder: Location) -> tuple[StoredScores, Scores]:
    """Read an answer back."""
    manifest = read_manifest(folder, KIND)
    told = manifest.summary["privacy"]
    stored = StoredScores(folder, manifest, Account.read(told))
    noise = float(manifest.summary.get("noise", told["sigma"]))
    table = read_shard(folder, manifest.shards[0])
    counts = table["noisy_score"].to_numpy()
    if "region" not in table.column_names:
        return stored, Scores(noisy=counts, sigma=noise)
    outside = read_shard(folder, manifest.shards[1])["noisy_score"].to_numpy()
    return stored, Scores(counts, noise, outside, table["region"].to_numpy())
