from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import client, client_audit, client_crash
from ecos_core.errors import InputError

pytestmark = pytest.mark.integration


def test_killed_at_any_write_the_client_keeps_its_promises(tmp_path: Path) -> None:
    """The first boundaries, one in the middle and the last: each is a service killed by -9 and restarted."""
    home = client.make_home(tmp_path / "home", client.points(300, client.DIMENSION))
    outcomes = [
        client_crash.crash_at(home.path, client.request(boundary, 50.0), client.token_of(home), boundary)
        for boundary in (0, 1, 3, 5, 7, 9, 11, 12, 13, 14, 15, 60)
    ]
    assert [outcome.faults for outcome in outcomes] == [()] * len(outcomes)
    assert not outcomes[0].finished
    assert outcomes[-1].finished
    assert home.open_ledger().verify().releases == len(outcomes)


def test_a_planted_fault_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that answers before it commits loses the answer it sent: the check must notice."""
    from ecos_core.client.engine import Engine

    honest = Engine.answer

    def hasty(self: Engine, message: bytes, requester: str, operation: str | None = None) -> bytes:
        task = self.check(message, requester, operation)
        if operation is None:  # the restarted client is honest
            return honest(self, message, requester)
        from ecos_core.client import wire

        told = {
            "sequence": 99,
            "epsilon_release": 0.0,
            "epsilon": 0.0,
            "delta": 1e-5,
            "request_digest": "0" * 64,
        }
        return wire.encode({"operation": "score", "receipt": told}, task.answer())

    monkeypatch.setattr(Engine, "answer", hasty)
    home = client.make_home(tmp_path / "home", client.points(300, client.DIMENSION))
    crash = client_crash.crash_at(home.path, client.request(0, 50.0), client.token_of(home), 99)
    assert "an answer left that was not spent" in crash.faults


@pytest.mark.parametrize("fault", client_audit.TRAPS)
def test_a_planted_fault_changes_what_a_requester_gets(fault: str) -> None:
    """Too few answers to bound epsilon by, enough to see that the fault is in the client (to five deviations)."""
    trap = client_audit.TRAPS[fault]
    with trap.plant():
        answers = client_audit.ask_one_home(present=True, sigma=1.0, trials=100, repeats=2)
    first, second = answers.T
    assert (first != second).any() == (fault == "memo ignored")
    assert (answers.dtype.kind == "f") == (fault == "float noise")
    assert (first.std() < 0.75) == (fault == "sigma halved")
    assert (first.mean() > 1.5) == (fault == "one vote counted twice")


def test_every_figure_is_within_its_bar_or_a_timing() -> None:
    rows = [row for part in (client.wire_size, client.race) for row in part(True)]
    assert all(row["ok"] for row in rows)


def test_a_part_takes_the_place_of_its_earlier_rows_only(tmp_path: Path) -> None:
    where = tmp_path / "results" / "client.json"
    for part, ours in (("timing", 1.0), ("wire", 2.0), ("timing", 3.0)):
        client.keep(where, part, [{"part": part, **client.row("x", ours, 1.0, True)}])
    kept = [(row["part"], row["ours"]) for row in json.loads(where.read_text())["rows"]]
    assert kept == [("wire", 2.0), ("timing", 3.0)]


def test_a_part_that_is_not_known_is_named() -> None:
    with pytest.raises(InputError, match="nonsense"):
        client.run(quick=True, parts=("nonsense",))
