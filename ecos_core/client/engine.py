"""Turn one request into one answer. Both transports call this and nothing else.

Order: who asks and what the policy says (request and policy only), then the owner's approval, then ``release``: the
ledger (stored answer, budget), and only inside its transaction noise, then data. A repeat, also after a restart, is the
same bytes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np

from ecos_core import __version__
from ecos_core.client import protocol, wire
from ecos_core.client.approval import Approvals
from ecos_core.client.faults import RefusedByOwnerError, WaitingForApprovalError
from ecos_core.client.home import Home
from ecos_core.client.keys import public_hex
from ecos_core.client.masks import participant
from ecos_core.client.operations.score import score_request
from ecos_core.client.protocol import ClientInfo
from ecos_core.client.release import Priced, Releases, operation_named
from ecos_core.errors import BudgetExceeded, InputError
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.events import Adjacency, GaussianEvent
from ecos_core.privacy.mechanisms import discrete_gaussian_noise
from ecos_core.storage import sha256_hex

log = logging.getLogger(__name__)
SIGMA_TRIED = 6.12
KEPT_ANSWERS = 256  # whole responses kept in memory, for fast repeats; the ledger holds them all


class Engine:
    """One client at work. Thread-safe; new answers are made one at a time."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.policy = home.policy
        self.tokens = home.tokens
        self._key = home.key()
        self._public_key = public_hex(self._key)
        self._ledger = home.open_ledger()
        self._held = {name: home.features(name) for name in home.policy.extractors}
        self._releases = Releases(home.policy, self._held, self._key, self._ledger, home.identity)
        self._slot = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self.approvals = Approvals(home.path)

    def warm_up(self) -> None:
        """Load the accountants and the sampler and touch the features, so that the first answer is as quick
        as any.
        """
        epsilon_charged(
            [GaussianEvent(SIGMA_TRIED, 1.0, Adjacency(self.policy.adjacency))], self._ledger.delta
        )
        discrete_gaussian_noise(1, SIGMA_TRIED)
        for held in self._held.values():
            held.features.max(initial=0.0)

    def close(self) -> None:
        """Close this thread's connection to the ledger."""
        self._ledger.close()

    @property
    def head(self) -> int:
        """The number of the ledger's last entry."""
        return self._ledger.head.sequence

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
            approval=self.policy.approval_of(requester),
            participant=participant(self._key),
            counter=self.head,
        )

    def answer(self, message: bytes, requester: str, operation: str | None = None) -> bytes:
        """The framed release for a framed request (of that ``operation``, when one is given).

        Raises InputError (malformed), PolicyError, BudgetExceeded; nothing was spent then.
        """
        priced = self.check(message, requester, operation)
        key = sha256_hex(f"{requester}\n{priced.request.digest}".encode())
        if (kept := self._kept.get(key)) is not None:
            return kept
        with self._slot:
            if (kept := self._kept.get(key)) is not None:
                return kept
            return self._answer_new(priced, key, requester)

    def check(self, message: bytes, requester: str, expected: str | None = None) -> Priced:
        """Parse and hold against the policy. Looks at the request and the policy only."""
        header, arrays = wire.decode(message)
        operation = operation_named(header.get("operation"), expected)
        self.policy.check_requester(requester, operation.name)
        return self._releases.price(operation, header, arrays)

    def _answer_new(self, priced: Priced, key: str, requester: str) -> bytes:
        """Release. From before the noise is drawn the slot is held for a whole number of deadlines.

        What comes before (parsing, accounting) takes a time that depends on the request and the ledger only.
        """
        began: float | None = None

        def begun() -> None:
            nonlocal began
            began = time.monotonic()

        self._check_approved(priced, key, requester)
        try:
            response = self._releases.release(priced, requester, begun)
        finally:
            if began is not None:
                self._wait(began)
        self._kept[key] = response
        while len(self._kept) > KEPT_ANSWERS:
            self._kept.popitem(last=False)
        return response

    def _check_approved(self, priced: Priced, key: str, requester: str) -> None:
        """Under manual approval, note the request down for the owner unless it was approved."""
        if self.policy.approval_of(requester) == "automatic" or self.approvals.is_approved(key):
            return
        if (reason := self.approvals.refusal(key)) is not None:
            raise RefusedByOwnerError.because(reason)
        self.approvals.ask(key, self.describe(priced, requester))
        raise WaitingForApprovalError(key)

    def preview(self, message: bytes, requester: str) -> dict[str, Any]:
        """What a request would do and cost: ``describe``, and its outcome. Nothing is spent or written."""
        described = self.describe(self.check(message, requester), requester)
        if described["outcome"] == "answered" and self.policy.approval_of(requester) == "manual":
            described["outcome"] = "waits for your approval, then answered"
        return described

    def example(self, clusters: int, sigma: float, gamma: float) -> bytes:
        """A score request of made-up centroids, to try the policy and the price with."""
        if not self.policy.extractors:
            raise InputError("policy.yaml: no extractor is agreed; add one with  ecos client extractor add")
        fingerprint = self.policy.extractors[0]
        dimension = self._held[fingerprint].features.shape[1]
        points = np.arange(clusters * dimension, dtype=np.float32).reshape(clusters, dimension) / 1e3
        return score_request(
            points, sigma=sigma, gamma=gamma, adjacency=self.policy.adjacency, fingerprint=fingerprint
        ).encode()

    def describe(self, priced: Priced, requester: str) -> dict[str, Any]:
        """What a request asks and what it would cost, for the owner. Looks at no data."""
        version = self.home.identity.data_version
        before = self._ledger.statement(None, version)
        try:
            after = self._ledger.check(requester, version, priced.events).epsilon
            outcome = "answered"
        except BudgetExceeded as error:
            after, outcome = error.asked, "refused, over budget"
        shapes = {name: list(array.shape) for name, array in priced.request.arrays.items()}
        return {
            "requester": requester,
            **priced.request.parameters.model_dump(mode="json", exclude={"participants"}),
            "shapes": shapes,
            "epsilon_release": protocol.finite(epsilon_charged(priced.events, self._ledger.delta)),
            "epsilon_before": protocol.finite(before.epsilon_spent),
            "epsilon_after": protocol.finite(after),
            "epsilon_limit": before.epsilon_limit,
            "delta": self._ledger.delta,
            "outcome": outcome,
        }

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
