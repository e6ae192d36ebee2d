"""The only way out: what leaves this client was noised, charged, stored and signed here.

A request becomes a query by its operation (``client.operations``), which sees numbers of the request only. From there
on everything is the same for all of them: the policy, the price, the noise, drawn before the data is read; the sum of
the records' bounded contributions (``contributions``, ``knn``); the mask, where several clients are summed; one
durable transaction of the ledger that holds price and answer; the receipt. What is refused, and in which words, depends
on the request, the policy and the ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ecos_core.client import protocol, wire
from ecos_core.client.contributions import UNIT_SCALE, clean_sum, whole_votes
from ecos_core.client.keys import public_hex, sign_receipt
from ecos_core.client.knn import noised_labels
from ecos_core.client.masks import check_participants, mask, participant, trusted_sigma
from ecos_core.client.operations import OPERATIONS
from ecos_core.client.operations.operation import Neighbours, Operation, Query, Sum
from ecos_core.client.policy import Policy
from ecos_core.client.protocol import (
    Arrays,
    Event,
    Parameters,
    Receipt,
    Request,
    canonical_points,
    canonical_reach,
    parse,
)
from ecos_core.client.records import PrivateFeatures
from ecos_core.errors import InputError, PolicyError
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.events import Adjacency, GaussianEvent, knn_events
from ecos_core.privacy.ledger import Ledger, Part, StoredAnswer
from ecos_core.privacy.mechanisms import discrete_gaussian_noise
from ecos_core.storage import sha256_hex

SMALLEST_SHARE = 2.0  # of the noise of a sum: sums of such are as good as discrete Gaussian (``masks``)
MULTIPLICATIONS_A_SECOND = 5e9  # what a client can surely do with a model, for ``model_seconds``


@dataclass(frozen=True)
class Priced:
    """A request that the policy allows: what it costs, and how it is answered inside the ledger's transaction."""

    request: Request
    events: tuple[GaussianEvent, ...]
    answer: Callable[[], Arrays]


class Releases:
    """One client's answers: ``price`` a request, then ``release`` it."""

    def __init__(
        self,
        policy: Policy,
        held: Mapping[str, PrivateFeatures],
        key: Ed25519PrivateKey,
        ledger: Ledger,
        identity: Any,
    ) -> None:
        self._policy, self._held, self._key, self._ledger = policy, held, key, ledger
        self._identity, self._public_key = identity, public_hex(key)

    def price(self, operation: Operation, header: dict[str, Any], arrays: Arrays) -> Priced:
        """Hold a request against the policy; looks at no data. Raises InputError, PolicyError."""
        asked = parse(operation.parameters, header, f"{operation.name} request")
        self._policy.check_fingerprint(asked.fingerprint)
        held = self._held[asked.fingerprint]
        dimension = held.features.shape[1]
        request = Request(asked, self._checked(operation, arrays, dimension))
        query = operation.ask(asked, request.arrays)
        by_unit = asked.adjacency == Adjacency.UNIT
        if isinstance(query, Neighbours):
            self._check_mechanism(asked, query, query.screening_sigma, query.argmax_sigma)
            return Priced(request, _events(query, asked), lambda: _labels(held, query, by_unit=by_unit))
        if query.model is not None:
            self._check_model(query, dimension)
        if not query.participants:
            self._check_mechanism(asked, query, query.sigma)
            return Priced(
                request, (_event(query, query.sigma, asked),), lambda: _counts(held, query, by_unit=by_unit)
            )
        share, trusted = self._shares(query)
        self._check_mechanism(asked, query, trusted)
        hidden = mask(self._key, query.participants, request.digest, query.cells)
        return Priced(
            request,
            (_event(query, trusted, asked),),
            lambda: {"masked": _noised(held, query, share, by_unit=by_unit).astype(np.uint32) + hidden},
        )

    def release(self, priced: Priced, requester: str, begun: Callable[[], None] = lambda: None) -> bytes:
        """Charge, answer, store, sign; or the stored answer, for nothing: the same bytes whenever it is asked for.

        ``begun`` is called before the noise is drawn. Raises what ``Ledger.spend`` does; nothing was spent then.
        """
        operation = priced.request.parameters.operation

        def answer(_: Part) -> bytes:
            begun()
            return wire.encode({"operation": operation}, priced.answer())

        version = self._identity.data_version
        stored = self._ledger.spend(
            priced.request.digest, requester, version, operation, priced.events, answer
        )
        receipt = self._receipt(priced, requester, stored)
        _, arrays = wire.decode(stored.answer)
        return wire.encode(
            {"operation": operation, "receipt": receipt.model_dump(mode="json")},
            arrays,
        )

    def _receipt(self, priced: Priced, requester: str, stored: StoredAnswer) -> Receipt:
        delta = self._ledger.delta
        total = self._ledger.total_at(self._identity.data_version, stored.sequence)
        receipt = Receipt(
            client_id=self._identity.client_id,
            public_key=self._public_key,
            requester=requester,
            data_version=self._identity.data_version,
            operation=priced.request.parameters.operation,
            request_digest=priced.request.digest,
            answer_digest=sha256_hex(stored.answer),
            sequence=stored.sequence,
            counter=stored.sequence,
            chain_hash=stored.chain_hash,
            events=tuple(_told(event) for event in priced.events),
            delta=delta,
            epsilon=protocol.finite(total.epsilon),
            epsilon_release=protocol.finite(epsilon_charged(priced.events, delta)),
        )
        return sign_receipt(self._key, receipt)

    def _checked(self, operation: Operation, arrays: Arrays, dimension: int) -> Arrays:
        """The request's arrays in their one form. Raises InputError, PolicyError: first for their number and size."""
        reach = operation.takes_reach and {"radii", "regions"} <= set(arrays)
        if set(arrays) != set(operation.arrays) | ({"radii", "regions"} if reach else set()):
            more = " (and radii with regions)" if operation.takes_reach else ""
            raise InputError(f"request: exactly these arrays are needed: {', '.join(operation.arrays)}{more}")
        checked = {
            name: self._checked_array(name, kind, arrays[name], dimension)
            for name, kind in operation.arrays.items()
        }
        if reach:
            checked["radii"], checked["regions"] = canonical_reach(
                arrays["radii"], arrays["regions"], len(checked["centroids"])
            )
        return checked

    def _checked_array(
        self, name: str, kind: str, array: npt.NDArray[Any], dimension: int
    ) -> npt.NDArray[Any]:
        dtype = np.dtype("|u1" if kind == "model" else "<f4")
        if array.dtype != dtype:
            raise InputError(f"request: '{name}' must be of type {dtype.name}")
        if kind == "model":
            if array.ndim != 1 or array.nbytes > self._policy.largest_model_mb * 2**20:
                raise PolicyError(
                    f"model: larger than this client takes ({self._policy.largest_model_mb:g} MB)"
                )
            return array
        if array.ndim != 2 or array.shape[1] != dimension:
            raise InputError(
                f"this extractor's features have {dimension} dimensions; the request's have others"
            )
        check = self._policy.check_clusters if kind == "centroids" else self._policy.check_points
        check(len(array))
        return canonical_points(array, name)

    def _check_mechanism(self, asked: Parameters, query: Query, *sigmas: float) -> None:
        for sigma in sigmas:
            self._policy.check_mechanism(sigma, asked.adjacency, query.gamma)

    def _check_model(self, query: Sum, dimension: int) -> None:
        """By the model's size and the owner's own statement, never by the data or a clock."""
        model = query.model
        if model is None or model.dimension != dimension:
            raise InputError(
                f"model: this extractor's features have {dimension} dimensions; the model's have others"
            )
        records = self._policy.stated_records or self._policy.minimum_records
        if model.multiplications * records > self._policy.model_seconds * MULTIPLICATIONS_A_SECOND:
            raise PolicyError(
                f"model: too large for this client's limit of {self._policy.model_seconds} s; send a smaller one"
            )

    def _shares(self, query: Sum) -> tuple[float, float]:
        """(what this client adds, what it may count on), sigmas of a sum over several clients."""
        check_participants(query.participants, participant(self._key), self._policy.peers)
        share = query.sigma / math.sqrt(len(query.participants))
        if share < SMALLEST_SHARE:
            raise PolicyError(
                f"sigma {query.sigma:g}: each client's share, {share:.3g}, must be at least {SMALLEST_SHARE:g}"
            )
        return share, trusted_sigma(share, len(query.participants), self._policy.dishonest_peers)


def _event(query: Sum, sigma: float, asked: Parameters) -> GaussianEvent:
    """What one sum spends. Under ``unit`` weights and noise are in steps of 1 / UNIT_SCALE."""
    adjacency = Adjacency(asked.adjacency)
    if adjacency is Adjacency.UNIT:
        most = UNIT_SCALE * math.sqrt(query.squared_bound)
        return GaussianEvent(sigma * UNIT_SCALE, most, adjacency, query.gamma)
    squares = query.squared_bound * (2 if adjacency is Adjacency.REPLACE else 1)
    return GaussianEvent(sigma, math.sqrt(squares), adjacency, query.gamma)


def _events(query: Neighbours, asked: Parameters) -> tuple[GaussianEvent, ...]:
    return tuple(
        knn_events(
            query.screening_sigma,
            query.argmax_sigma,
            adjacency=Adjacency(asked.adjacency),
            gamma=query.gamma,
            queries=len(query.points),
        )
    )


def _noised(held: PrivateFeatures, query: Sum, sigma: float, *, by_unit: bool) -> npt.NDArray[np.int64]:
    """The noise is drawn before the data is read. Under ``unit`` in steps of 1 / UNIT_SCALE."""
    noise = discrete_gaussian_noise(query.cells, sigma * UNIT_SCALE if by_unit else sigma)
    return (noise + clean_sum(held, query, by_unit=by_unit)).reshape(query.shape)


def _counts(held: PrivateFeatures, query: Sum, *, by_unit: bool) -> Arrays:
    noised = _noised(held, query, query.sigma, by_unit=by_unit)
    return {"counts": whole_votes(noised) if by_unit else noised}


def _labels(held: PrivateFeatures, query: Neighbours, *, by_unit: bool) -> Arrays:
    points, classes = len(query.points), len(query.classes)
    screening = discrete_gaussian_noise(points, query.screening_sigma)
    voting = discrete_gaussian_noise(points * classes, query.argmax_sigma).reshape(points, classes)
    return {"labels": noised_labels(held, query, screening, voting, by_unit=by_unit)}


def _told(event: GaussianEvent) -> Event:
    return Event(
        sigma=event.sigma,
        sensitivity=event.sensitivity,
        adjacency=event.adjacency.value,
        gamma=event.gamma,
        count=event.count,
    )


def operation_named(name: object, expected: str | None = None) -> Operation:
    """Raises InputError for one that is not offered, or not the ``expected`` one."""
    if not isinstance(name, str) or name not in OPERATIONS or expected not in (None, name):
        raise InputError(f"operation: must be {expected or ' or '.join(OPERATIONS)}")
    return OPERATIONS[name]
