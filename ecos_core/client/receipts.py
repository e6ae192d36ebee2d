"""The requester's side of a receipt: held against the question that was asked, and against all earlier receipts.

A client that was put back to an older state (a restored backup, a copied disk) has forgotten what it spent. Its
ledger is a chain, and every receipt names one link of it: whoever keeps receipts finds out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ecos_core.client.protocol import Event, Receipt, Request
from ecos_core.errors import IntegrityError
from ecos_core.privacy.events import Adjacency, GaussianEvent, histogram_event, knn_events
from ecos_core.storage import Location, canonical_json

CLOSE = 1e-9  # of two ratios of floats


class RolledBackError(IntegrityError):
    """The client's ledger is not the one that its earlier receipts came from."""

    def __init__(self, client: str, expected: str, found: str) -> None:
        super().__init__(client, expected, found)
        self.args = (
            f"client {client}: {found}, but an earlier receipt says {expected}: its ledger was put back to an older "
            "state or copied, and what it says it spent is not all; have its owner run  ecos client verify",
        )


def check_charge(request: Request, receipt: Receipt, delta: float | None = None) -> None:
    """Whether the receipt charges for what was asked: noise, sensitivity, adjacency, subsampling and number, at
    ``delta`` where it is known. Raises IntegrityError.

    Only the noise of a share in a sum is the client's to state: at most the whole sum's, at least its own.
    """
    where = f"receipt {receipt.sequence} of client {receipt.client_id}"
    asked = request.parameters
    if delta is not None and receipt.delta != delta:
        raise IntegrityError(f"{where}: delta", f"{delta:g}", f"{receipt.delta:g}")
    if receipt.operation != asked.operation:
        raise IntegrityError(f"{where}: operation", asked.operation, receipt.operation)
    expected, found = sorted(map(_facts, _asked_for(request))), sorted(map(_facts, receipt.events))
    shares = len(getattr(asked, "participants", ())) or 1
    fits = len(expected) == len(found) and all(
        want[1:] == got[1:] and want[0] / math.sqrt(shares) * (1 - CLOSE) <= got[0] <= want[0] * (1 + CLOSE)
        for want, got in zip(expected, found, strict=True)
    )
    if not fits:
        raise IntegrityError(f"{where}: what was charged", _told(expected), _told(found))


class _Facts(NamedTuple):
    """One mechanism in units of its sensitivity, so that a histogram in finer steps is the same."""

    noise: float
    adjacency: str
    gamma: float
    times: int


def _facts(event: GaussianEvent | Event) -> _Facts:
    adjacency = Adjacency(event.adjacency)
    return _Facts(event.sigma / event.sensitivity, str(adjacency), event.gamma, event.count)


def _asked_for(request: Request) -> list[GaussianEvent]:
    asked = request.parameters
    adjacency, gamma = Adjacency(asked.adjacency), float(getattr(asked, "gamma", 1.0))
    if asked.operation == "label":
        screening, argmax = float(getattr(asked, "screening_sigma")), float(getattr(asked, "argmax_sigma"))  # noqa: B009
        queries = len(request.arrays["points"])
        return knn_events(screening, argmax, adjacency=adjacency, gamma=gamma, queries=queries)
    return [histogram_event(float(getattr(asked, "sigma")), adjacency, gamma)]  # noqa: B009


def _told(events: list[_Facts]) -> str:
    return "; ".join(
        f"noise {noise:.4g} of the sensitivity, {adjacency}, gamma {gamma:g}, x{times}"
        for noise, adjacency, gamma, times in events
    )


class ReceiptBook:
    """Earlier receipts, one file each, in a folder of this machine or of a store that several workers share.

        FOLDER/<client id>/<sequence>.<chain hash>.<request>.<data version>.<answer>.json

    A file is written whole, once, under a name that tells all that is compared: writers need no lock.
    """

    def __init__(self, folder: Location) -> None:
        self._folder = folder

    def check_and_keep(self, receipt: Receipt) -> None:
        """Hold a verified receipt against all earlier ones of this client, and keep it. Raises RolledBackError."""
        mine = _Line.of(receipt)
        known = self._known(receipt.client_id)
        for line in known:
            if line.sequence == mine.sequence and line.chain_hash != mine.chain_hash:
                raise RolledBackError(
                    receipt.client_id,
                    f"entry {line.sequence} is {line.chain_hash[:16]}",
                    f"entry {mine.sequence} of its ledger is {mine.chain_hash[:16]}",
                )
            same = (line.request, line.data_version) == (mine.request, mine.data_version)
            if same and line != mine:
                raise RolledBackError(
                    receipt.client_id,
                    f"that it was answered as entry {line.sequence}",
                    f"this question was answered anew, as entry {mine.sequence}",
                )
        if mine not in known:
            content = canonical_json(receipt.model_dump(mode="json"))
            (self._folder / receipt.client_id / mine.file).write_bytes(content)

    def check_counter(self, client_id: str, counter: int) -> None:
        """Hold what the client says is its ledger's last entry against the receipts. Raises RolledBackError."""
        last = max((line.sequence for line in self._known(client_id)), default=0)
        if counter < last:
            raise RolledBackError(client_id, f"that it had {last}", f"its ledger has {counter} entries")

    def _known(self, client_id: str) -> list[_Line]:
        names = (self._folder / client_id).names()
        return [line for line in map(_Line.read, names) if line is not None]


class _Line(NamedTuple):
    sequence: int
    chain_hash: str
    request: str
    data_version: str
    answer: str

    @classmethod
    def of(cls, receipt: Receipt) -> _Line:
        return cls(
            receipt.sequence,
            receipt.chain_hash[:32],
            receipt.request_digest[:32],
            receipt.data_version[:32],
            receipt.answer_digest[:32],
        )

    @property
    def file(self) -> str:
        return ".".join([f"{self.sequence:012d}", *self[1:], "json"])

    @classmethod
    def read(cls, name: str) -> _Line | None:
        parts = name.split(".")
        if len(parts) != 6 or parts[5] != "json" or not parts[0].isdecimal():
            return None
        return cls(int(parts[0]), *parts[1:5])
