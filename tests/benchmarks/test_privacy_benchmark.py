from __future__ import annotations

from pathlib import Path

from benchmarks import privacy
from ecos_core.privacy.ledger import Ledger


def test_the_figures_of_the_accounting_are_told_with_their_bars() -> None:
    rows = list(privacy.accounting(quick=True))
    assert [set(row) for row in rows] == [{"name", "ours", "bar", "ok", "detail"}] * len(rows)
    assert all(row["ok"] for row in rows if not row["name"].endswith("(s)"))


def test_the_long_ledger_of_the_speed_figures_is_a_real_one(tmp_path: Path) -> None:
    privacy.long_ledger(tmp_path / "ledger", 40)
    ledger = Ledger.open(tmp_path / "ledger")
    assert ledger.verify().releases == 40
    assert privacy.replay(ledger) == privacy.replay(ledger) == bytes(800)
    assert ledger.verify().releases == 40
