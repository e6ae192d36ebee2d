"""Several clients answer for one sampling run: their scores are summed, and the epsilon is the worst
client's.

Every client protects its own records, so the data sets are disjoint and epsilons do not add up.
``sum_scores`` sums what each client noised alone: the server sees every client's noised scores, and the noise
grows with the number of clients. ``secure_sum_scores`` sums masked answers: the server sees the sum only, and
the noise does not grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ecos_core.client.connection import Connection
from ecos_core.client.contributions import whole_votes
from ecos_core.client.protocol import Integers, Participant, Receipt
from ecos_core.errors import EcosError, InputError, RemoteError
from ecos_core.privacy.events import HISTOGRAM_SENSITIVITY, Adjacency

Found = TypeVar("Found")


@dataclass(frozen=True)
class Dropped:
    """A client that did not answer, and why."""

    url: str
    reason: str


@dataclass(frozen=True, eq=False)
class FederatedRelease:
    """A sum over clients, in the shape of a ``ScoreRelease``.

    ``counts`` int64 [R]; ``sigma``: of the sum's noise; ``epsilon``, ``epsilon_release``: of the client that
    fares worst; ``receipts``: of those that are in the sum; ``dropped``: the others.
    """

    counts: Integers
    sigma: float
    sensitivity: float
    adjacency: str
    gamma: float
    delta: float
    epsilon: float
    epsilon_release: float
    receipts: tuple[Receipt, ...]
    dropped: tuple[Dropped, ...]


def sum_scores(
    connections: Sequence[Connection],
    centroids: npt.ArrayLike,
    *,
    sigma: float,
    fingerprint: str,
    adjacency: str = "add-remove",
    gamma: float = 1.0,
) -> FederatedRelease:
    """The sum of the clients' noised scores; ``sigma`` is each client's. Clients that fail are left out and
    named.

    Raises RemoteError when none answers.
    """

    def ask(connection: Connection) -> tuple[Integers, Receipt]:
        release = connection.score(
            centroids, sigma=sigma, fingerprint=fingerprint, adjacency=adjacency, gamma=gamma
        )
        return release.counts, release.receipt

    answered, dropped = _ask_all(connections, ask)
    if not answered:
        raise RemoteError(f"none of {len(connections)} clients answered; {_reasons(dropped)}", retryable=True)
    counts = np.stack([counts for counts, _ in answered]).sum(axis=0)
    receipts = [receipt for _, receipt in answered]
    return _released(counts, sigma * len(answered) ** 0.5, adjacency, gamma, receipts, dropped)


def secure_sum_scores(
    connections: Sequence[Connection],
    centroids: npt.ArrayLike,
    *,
    sigma: float,
    fingerprint: str,
    adjacency: str = "add-remove",
) -> FederatedRelease:
    """The sum alone, with noise ``sigma`` altogether. A client that drops out is named and the round done
    again.

    A broken round was paid for by those who answered it: should the missing answer turn up, the round's sum
    could be read. Raises RemoteError when fewer than two clients remain.
    """
    remaining, dropped = list(connections), []
    while len(remaining) >= 2:
        infos, missing = _ask_all(remaining, lambda connection: (connection, connection.info().participant))
        dropped += missing
        remaining = [connection for connection, _ in infos]
        participants = sorted((found for _, found in infos), key=lambda found: found.public_key)
        if len(remaining) < 2:
            break
        asked = participants

        def ask(
            connection: Connection, asked: Sequence[Participant] = asked
        ) -> tuple[Connection, npt.NDArray[Any], Receipt]:
            release = connection.masked_scores(
                centroids, asked, sigma=sigma, fingerprint=fingerprint, adjacency=adjacency
            )
            return connection, release.values, release.receipt

        answered, missing = _ask_all(remaining, ask)
        dropped += missing
        if not missing:
            total = np.stack([masked for _, masked, _ in answered]).sum(axis=0, dtype=np.uint32)
            counts = total.view(np.int32).astype(np.int64)
            if adjacency == Adjacency.UNIT:
                counts = whole_votes(counts)
            receipts = [receipt for _, _, receipt in answered]
            return _released(counts, sigma, adjacency, 1.0, receipts, dropped)
        remaining = [connection for connection, _, _ in answered]
    raise RemoteError(f"a secure sum needs two clients; {_reasons(dropped)}", retryable=True)


def _ask_all(
    connections: Sequence[Connection], ask: Callable[[Connection], Found]
) -> tuple[list[Found], list[Dropped]]:
    """Ask all at once; those that fail are reported, in order."""
    if not connections:
        raise InputError("clients: at least one is needed")

    def attempt(connection: Connection) -> Found | Dropped:
        try:
            return ask(connection)
        except EcosError as error:
            return Dropped(connection.url, str(error))

    with ThreadPoolExecutor(min(32, len(connections))) as pool:
        outcomes = list(pool.map(attempt, connections))
    dropped = [outcome for outcome in outcomes if isinstance(outcome, Dropped)]
    return [outcome for outcome in outcomes if not isinstance(outcome, Dropped)], dropped


def _released(
    counts: Integers,
    sigma: float,
    adjacency: str,
    gamma: float,
    receipts: Sequence[Receipt],
    dropped: Sequence[Dropped],
) -> FederatedRelease:
    return FederatedRelease(
        counts=counts,
        sigma=sigma,
        sensitivity=HISTOGRAM_SENSITIVITY[Adjacency(adjacency)],
        adjacency=adjacency,
        gamma=gamma,
        delta=max(receipt.delta for receipt in receipts),
        epsilon=max(receipt.epsilon for receipt in receipts),
        epsilon_release=max(receipt.epsilon_release for receipt in receipts),
        receipts=tuple(receipts),
        dropped=tuple(dropped),
    )


def _reasons(dropped: Sequence[Dropped]) -> str:
    return "; ".join(found.reason for found in dropped)
