"""What the owner asks of the own client: is this receipt mine, and what did every release cost?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ecos_core.client.home import Home
from ecos_core.client.keys import public_hex, verify_receipt
from ecos_core.client.protocol import Receipt, parse
from ecos_core.client.wire import strict_json
from ecos_core.errors import InputError, IntegrityError
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.budget import StatementRow
from ecos_core.privacy.events import Adjacency, GaussianEvent


def read_receipt(path: Path) -> Receipt:
    """A receipt as JSON: by itself, or in the ``manifest.json`` of scores. Raises InputError."""
    try:
        content: Any = strict_json(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    for name in ("summary", "receipt"):
        content = content.get(name, content) if isinstance(content, dict) else content
    return parse(Receipt, content, str(path))


def check_receipt(home: Home, receipt: Receipt) -> None:
    """Whether this client signed the receipt and its ledger holds it as it says. Raises IntegrityError."""
    where = f"receipt {receipt.sequence}"
    verify_receipt(receipt, public_key=public_hex(home.key()))
    book = home.open_ledger()
    entry = book.entry(receipt.sequence)
    if entry is None or entry.body["kind"] != "release":
        raise IntegrityError(
            f"{where}: entry of the ledger", "a release", "nothing" if entry is None else "another"
        )
    body = entry.body
    events = [GaussianEvent.from_dict(event) for event in body["events"]]
    said = [
        GaussianEvent(event.sigma, event.sensitivity, Adjacency(event.adjacency), event.gamma, event.count)
        for event in receipt.events
    ]
    for what, in_ledger, in_receipt in (
        ("chain hash", entry.chain_hash, receipt.chain_hash),
        ("request", body["request_digest"], receipt.request_digest),
        ("answer", body["answer_sha256"], receipt.answer_digest),
        ("data version", body["data_version"], receipt.data_version),
        ("operation", body["operation"], receipt.operation),
        ("delta", book.delta, receipt.delta),
        ("events", events, said),
    ):
        if in_ledger != in_receipt:
            raise IntegrityError(f"{where}: {what}", str(in_ledger), str(in_receipt))


@dataclass(frozen=True)
class Line:
    """One release of the account: what it cost by itself, and what all so far come to (epsilons; None: not worked
    out)."""

    row: StatementRow
    epsilon_release: float | None
    epsilon_total: float | None

    def told(self) -> dict[str, Any]:
        """As JSON, for ``--json``."""
        return {
            "sequence": self.row.sequence,
            "time": datetime.fromtimestamp(self.row.time, UTC).isoformat(timespec="seconds"),
            "requester": self.row.requester,
            "operation": self.row.operation,
            "shared": self.row.shared,
            "epsilon_release": self.epsilon_release,
            "epsilon_total": self.epsilon_total,
            "events": [event.to_dict() for event in self.row.events],
        }


def account_lines(rows: Sequence[StatementRow], delta: float, last: int) -> Iterator[Line]:
    """The releases in their order; the ``last`` of them with what each cost and the total after it."""
    total: list[GaussianEvent] = []
    for place, row in enumerate(rows):
        total += row.events
        if place < len(rows) - last:
            yield Line(row, None, None)
        else:
            yield Line(row, epsilon_charged(row.events, delta), epsilon_charged(total, delta))
