"""The figures in docs/privacy.md are the accountants'."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from ecos_core.privacy.accounting import epsilon_charged, epsilon_paper
from ecos_core.privacy.events import Adjacency, histogram_event
from ecos_core.privacy.planner import plan_sigma

PAGE = Path(__file__).parents[3] / "docs" / "privacy.md"
DELTA = 1e-5


def golden_row(sigma: int) -> str:
    """The table's line for one sigma."""
    cells = [epsilon_paper([histogram_event(sigma, gamma=0.8)], DELTA)]
    cells += [
        epsilon_charged([histogram_event(sigma, adjacency, gamma)], DELTA)
        for gamma in (0.8, 1.0)
        for adjacency in (Adjacency.ADD_REMOVE, Adjacency.REPLACE)
    ]
    return f"| {sigma} | " + " | ".join(f"{cell:.4f}" for cell in cells) + " |"


def test_golden_table() -> None:
    text = PAGE.read_text()
    table = text[text.index("<!-- golden table") : text.index("<!-- end of golden table")]
    assert re.findall(r"^\| \d.*$", table, re.MULTILINE) == [
        golden_row(sigma) for sigma in (5, 10, 25, 40, 55, 70)
    ]


def test_the_odds() -> None:
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) : 1 \| ([\d.]+) % \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 4
    for epsilon, odds, belief in rows:
        assert float(odds) == pytest.approx(math.exp(float(epsilon)), abs=0.05)
        assert float(belief) == pytest.approx(100 / (1 + math.exp(-float(epsilon))), abs=0.05)


def test_sigmas_for_the_papers_epsilon() -> None:
    assert "sigma 6.13 (add-remove) or 8.66 (replace)" in PAGE.read_text()
    assert f"{plan_sigma(0.582, DELTA).sigma:.2f}" == "6.13"
    assert plan_sigma(0.582, DELTA, adjacency=Adjacency.REPLACE).sigma == pytest.approx(8.657, abs=0.003)
