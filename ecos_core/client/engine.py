"""Turn one request into one answer. Both transports call this and nothing else.

Order: who asks and what the policy says (request and policy only), then the ledger (stored answer, budget),
and only inside the ledger's transaction noise, then data. The receipt is made from what the ledger holds, so
that a repeat, also after a restart, is the same bytes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ecos_core import __version__
from ecos_core.client import protocol, wire
from ecos_core.client.faults import RateLimitedError
from ecos_core.client.home import Home
from ecos_core.client.keys import public_hex, sign_receipt
from ecos_core.client.operations import score
from ecos_core.client.protocol import ClientInfo, Event, Receipt, ScoreParameters, ScoreRequest
from ecos_core.client.records import PrivateFeatures
from ecos_core.errors import InputError
from ecos_core.privacy.accounting import account
from ecos_core.privacy.events import GaussianEvent
from ecos_core.privacy.ledger import StoredAnswer
from ecos_core.storage import sha256_hex

log = logging.getLogger(__name__)
KEPT_ANSWERS = 256  # whole responses kept in memory, for fast repeats; the ledger holds them all

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """A checked request, ready for the ledger: what it costs and how to answer it.

    ``answer`` draws the noise, then reads the data, and returns the arrays to release.
    """

    operation: str
    request_digest: str
    events: Sequence[GaussianEvent]
    answer: Callable[[], Arrays]


class Engine:
    """One client at work. Thread-safe; new answers are made one at a time."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.policy = home.policy
        self.tokens = home.tokens
        self._key = home.key()
        self._public_key = public_hex(self._key)
        self._ledger = home.open_ledger()
        self._data = {name: home.features(name) for name in home.policy.extractors}
        self._slot = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._recent: dict[str, deque[float]] = {}

    def info(self, requester: str) -> ClientInfo:
        """What this requester may know: the owner's statements and the ledger's state."""
        version = self.home.identity.data_version
        everyone = self._ledger.statement(None, version)
        own = self._ledger.statement(requester, version)
        closest = min(
            (everyone, own), key=lambda statement: statement.epsilon_limit - statement.epsilon_spent
        )
        return ClientInfo(
            client_id=self.home.identity.client_id,
            public_key=self._public_key,
            protocol=protocol.PROTOCOL_VERSION,
            version=__version__,
            data_version=version,
            requester=requester,
            operations=tuple(self.policy.operations),
            extractors=tuple(self.policy.extractors),
            adjacency=self.policy.adjacency,
            clusters_at_most=self.policy.most_clusters,
            stated_records=self.policy.stated_records,
            delta=self._ledger.delta,
            epsilon_spent=protocol.finite(closest.epsilon_spent),
            epsilon_limit=closest.epsilon_limit,
            approval=self.policy.approval,
        )

    def answer(self, message: bytes, requester: str, operation: str | None = None) -> bytes:
        """The framed release for a framed request (of that ``operation``, when one is given).

        Raises InputError (malformed), PolicyError, BudgetExceeded, RateLimitedError; nothing was spent then.
        """
        task = self.check(message, requester, operation)
        key = sha256_hex(f"{requester}\n{task.request_digest}".encode())
        if (kept := self._kept.get(key)) is not None:
            return kept
        with self._slot:
            if (kept := self._kept.get(key)) is not None:
                return kept
            return self._answer_new(task, key, requester)

    def check(self, message: bytes, requester: str, expected: str | None = None) -> Task:
        """Parse and hold against the policy. Looks at the request and the policy only."""
        header, arrays = wire.decode(message)
        operation = header.get("operation")
        if not isinstance(operation, str) or operation not in OPERATIONS or expected not in (None, operation):
            raise InputError(f"operation: must be {expected or ' or '.join(OPERATIONS)}")
        self.policy.check_requester(requester, operation)
        return OPERATIONS[operation](self, header, arrays)

    def _answer_new(self, task: Task, key: str, requester: str) -> bytes:
        """Ask the ledger; whatever data it takes, the slot is held for a whole number of deadlines."""
        began = time.monotonic()
        computed = False

        def release() -> bytes:
            nonlocal computed
            self._check_rate(requester)
            computed = True
            return wire.encode({"operation": task.operation}, task.answer())

        try:
            stored = self._ledger.spend(
                key, requester, self.home.identity.data_version, task.operation, task.events, release
            )
            response = self._respond(task, requester, stored)
        finally:
            if computed:
                self._wait(began)
        self._kept[key] = response
        while len(self._kept) > KEPT_ANSWERS:
            self._kept.popitem(last=False)
        return response

    def _respond(self, task: Task, requester: str, stored: StoredAnswer) -> bytes:
        """Frame the stored answer with its receipt: the same bytes whenever it is asked for."""
        delta = self._ledger.delta
        total = self._total_at(stored.sequence)
        receipt = Receipt(
            client_id=self.home.identity.client_id,
            public_key=self._public_key,
            requester=requester,
            data_version=self.home.identity.data_version,
            operation=task.operation,
            request_digest=task.request_digest,
            answer_digest=sha256_hex(stored.answer),
            sequence=stored.sequence,
            counter=stored.sequence,
            chain_hash=stored.chain_hash,
            events=tuple(_event(event) for event in task.events),
            delta=delta,
            epsilon=protocol.finite(total.epsilon),
            epsilon_autodp=protocol.finite(total.epsilon_autodp),
            epsilon_release=protocol.finite(account(task.events, delta).epsilon),
        )
        receipt = sign_receipt(self._key, receipt)
        _, arrays = wire.decode(stored.answer)
        return wire.encode({"operation": task.operation, "receipt": receipt.model_dump(mode="json")}, arrays)

    def _total_at(self, sequence: int) -> Any:
        rows = self._ledger.statement(None, self.home.identity.data_version).events
        return account(
            [event for row in rows if row.sequence <= sequence for event in row.events], self._ledger.delta
        )

    def _check_rate(self, requester: str) -> None:
        now = time.monotonic()
        recent = self._recent.setdefault(requester, deque())
        while recent and recent[0] <= now - 60.0:
            recent.popleft()
        if len(recent) >= self.policy.requests_per_minute:
            raise RateLimitedError(self.policy.requests_per_minute)
        recent.append(now)

    def _wait(self, began: float) -> None:
        """Sleep until the next whole number of deadlines after ``began``."""
        step = self.policy.answer_after_seconds
        if step <= 0:
            return
        spent = time.monotonic() - began
        steps = max(1, math.ceil(spent / step))
        if steps > 1:
            log.warning("an answer took longer than answer_after_seconds (%g); raise it in policy.yaml", step)
        time.sleep(max(0.0, began + steps * step - time.monotonic()))

    def _score(self, header: dict[str, Any], arrays: Arrays) -> Task:
        parameters = protocol.parse(ScoreParameters, header, "score request")
        if set(arrays) != {"centroids"} or arrays["centroids"].dtype != np.dtype("<f4"):
            raise InputError("score request: exactly one array is needed, 'centroids', little-endian float32")
        self.policy.check_fingerprint(parameters.fingerprint)
        self.policy.check_mechanism(parameters.sigma, parameters.adjacency)
        self.policy.check_clusters(len(arrays["centroids"]))
        data = self._held(parameters.fingerprint, arrays["centroids"])
        request = ScoreRequest(parameters, protocol.canonical_centroids(arrays["centroids"]))
        units = data.units if parameters.adjacency == "unit" else None
        event = score.privacy_event(parameters.sigma, parameters.adjacency, parameters.gamma)

        def answer() -> Arrays:
            counts = score.noised_histogram(
                data.features, request.centroids, parameters.sigma, gamma=parameters.gamma, units=units
            )
            return {"counts": counts}

        return Task("score", request.digest, [event], answer)

    def _held(self, fingerprint: str, points: npt.NDArray[np.float32]) -> PrivateFeatures:
        data = self._data[fingerprint]
        dimension = data.features.shape[1]
        if points.ndim != 2 or points.shape[1] != dimension:
            raise InputError(
                f"this extractor's features have {dimension} dimensions; the request's have others"
            )
        return data


def _event(event: GaussianEvent) -> Event:
    return Event(
        sigma=event.sigma,
        sensitivity=event.sensitivity,
        adjacency=event.adjacency.value,
        gamma=event.gamma,
        count=event.count,
    )


OPERATIONS: dict[str, Callable[[Engine, dict[str, Any], Arrays], Task]] = {"score": Engine._score}
