"""What the chain says so far, read forward entry by entry: limits, delta, the cohorts' accounts, the clock."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError, IntegrityError
from ecos_core.privacy.accounting import Spend, total_loss
from ecos_core.privacy.budget import Account, Budget, Limits, StatementRow
from ecos_core.privacy.chain import GENESIS_HASH, Entry, entries_after, hash_of
from ecos_core.privacy.clock import Moment
from ecos_core.privacy.counter import Mark
from ecos_core.privacy.events import GaussianEvent

CHARGED = ("release", "extension", "shared")


class Book:
    """A process's view of the ledger; ``read`` takes in what any process appended since."""

    def __init__(self) -> None:
        self.limits = Limits(total=1.0)
        self.delta = 0.0
        self.accounts: dict[str, Account] = {}
        # By data version: its releases, and the cohorts that were ever in one (a set in order).
        self.rows: dict[str, list[StatementRow]] = {}
        self.cohorts: dict[str, dict[str, None]] = {}
        self.newest_version: str | None = None
        self.seen = Mark(0, GENESIS_HASH)
        # The highest entry that is known to be committed: it must never be gone.
        self.committed = self.seen
        self.moment = Moment()

    def read(self, connection: sqlite3.Connection, where: Path) -> None:
        """Raises IntegrityError when the chain is broken, or what was seen before is no longer there."""
        found = hash_of(connection, self.committed.sequence)
        if self.committed.sequence and found != self.committed.chain_hash:
            raise rolled_back(where, self.committed, found)
        for entry in entries_after(connection, self.seen, str(where)):
            self._take(entry)
            self.commit(entry.mark)

    def commit(self, mark: Mark) -> None:
        """Note that the entry of ``mark`` is committed."""
        if mark.sequence > self.committed.sequence:
            self.committed = mark

    @property
    def budget(self) -> Budget:
        """Limits and accounts as of now."""
        return Budget(self.accounts, self.limits, self.delta, self.moment.next().age)

    def spent(
        self,
        cohorts: Iterable[str],
        requester: str | None = None,
        *,
        until: float = math.inf,
        and_then: Sequence[GaussianEvent] = (),
    ) -> Spend:
        """The epsilon of a record of the cohort that paid most: in all up to an entry's number (``and_then``
        some more), or what counts against one requester now."""
        age = self.moment.next().age
        used = (self.accounts.get(name, Account()) for name in cohorts)
        losses = {
            (one.total.until(until) if requester is None else one.of(requester, self.limits, age))
            for one in used
        }
        more = total_loss(and_then, self.delta)
        return Spend(max(((loss + more).epsilon(self.delta) for loss in losses), default=0.0), self.delta)

    def _take(self, entry: Entry) -> None:
        body = entry.body
        self.moment = Moment.of(body, self.moment)
        if body["kind"] == "open":
            self.delta = body["delta"]
        if body["kind"] in ("open", "limits"):
            self.limits = _limits(body["limits"])
        if body["kind"] in CHARGED:
            row = statement_row(entry, self.moment.age)
            loss = total_loss(row.events, self.delta)
            self.newest_version = row.data_version
            self.rows.setdefault(row.data_version, []).append(row)
            self.cohorts.setdefault(row.data_version, {}).update(dict.fromkeys(row.cohorts))
            for cohort in row.cohorts:
                self.accounts.setdefault(cohort, Account()).add(row, loss)
        self.seen = entry.mark


def _limits(values: Mapping[str, Any]) -> Limits:
    """Ledgers before schema 3 have a limit over all data versions, which a client's home never set."""
    kept = dict(values)
    if kept.pop("lifetime", None) is not None:
        raise InputError(
            "ledger limit 'lifetime' is enforced by no version any more: keep to the one that set it"
        )
    return Limits(**kept)


def cohorts_in(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The cohorts of an entry; before schema 3 a data version was the one cohort."""
    return tuple(body.get("cohorts") or (body["data_version"],))


def statement_row(entry: Entry, age: float = 0.0) -> StatementRow:
    """What a release's entry says."""
    body = entry.body
    return StatementRow(
        entry.sequence,
        body["time"],
        age,
        body["requester"],
        body["data_version"],
        cohorts_in(body),
        body["operation"],
        tuple(GaussianEvent.from_dict(values) for values in body["events"]),
        body["kind"] == "shared",
    )


def rolled_back(where: Path, mark: Mark, found: str | None) -> IntegrityError:
    """The error for a database that lacks an entry which is known to have been there."""
    place = f"{where}: rolled back or replaced (entry {mark.sequence} was released)"
    return IntegrityError(place, mark.chain_hash, found or "no such entry")
