"""Figures say what the arrays say, and refuse arrays that do not fit together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.reporting import ResultRow, coverage_curve, figures, principal_plane
from ecos_core.reporting.style import CSS_NAMES, png, svg


def _row(sampler: str, budget: int, mean: float, deviation: float = 0.01, client: str = "a") -> ResultRow:
    return ResultRow("ood", client, sampler, budget, mean, deviation, (1, 2, 3))


def test_scores_are_drawn_highest_first_with_bars_of_one_sigma() -> None:
    figure = figures.scores(np.array([-3, 50, 7]), 6.0, np.array([0.0, 50.0, 1.0]))
    bars = figure.axes[0].containers[0]
    assert bars.lines[0].get_ydata().tolist() == [50, 7, -3]
    assert [segment[:, 1].tolist() for segment in bars.lines[2][0].get_segments()] == [
        [44, 56],
        [1, 13],
        [-9, 3],
    ]


def test_the_quotas_figure_counts_the_clusters_that_take_part() -> None:
    figure = figures.quotas(np.array([0, 4, 9]), np.array([5, 6, 9]))
    assert "2 of 3 take part" in figure.axes[0].get_xlabel()
    assert [bar.get_height() for bar in figure.axes[0].containers[1]] == [9, 4]


def test_accuracy_pools_several_clients() -> None:
    rows = [_row("ecos", 10, 0.6, 0.03, "a"), _row("ecos", 10, 0.8, 0.04, "b"), _row("random", 10, 0.5)]
    drawn = {text.get_text() for text in figures.accuracy(rows).axes[0].texts}
    assert drawn == {"70.0", "50.0"}


def test_accuracy_over_budgets_is_one_line_a_sampler() -> None:
    rows = [_row(sampler, budget, 0.5) for sampler in ("ecos", "random") for budget in (10, 100)]
    assert len(figures.accuracy(rows).axes[0].containers) == 2


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="vector of 3"):
        figures.scores(np.zeros(3), 1.0, np.zeros(2))
    with pytest.raises(InputError, match="no rows"):
        figures.accuracy([])
    with pytest.raises(InputError, match=r"\[n, 2\]"):
        figures.lake_map(np.zeros((3, 3)), np.zeros(3, dtype=bool))


def test_png_and_svg_are_the_same_bytes_every_time() -> None:
    figure = figures.cluster_sizes(np.array([3, 2, 9]))
    assert png(figure)[:8] == b"\x89PNG\r\n\x1a\n"
    assert png(figure) == png(figure)
    drawn = svg(figure, "sizes")
    assert drawn == svg(figure, "sizes")
    assert not [colour for colour in CSS_NAMES if colour in drawn]
    assert "<text" in drawn


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_coverage_never_rises_and_ends_at_zero(n: int, d: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(n, d))
    curve = coverage_curve(features, random.permutation(n), quantile=1.0)
    assert (np.diff(curve) <= 0).all()
    assert curve[-1] == 0
    first = np.linalg.norm(features - features[0], axis=1).max()
    assert coverage_curve(features, np.array([0]), quantile=1.0)[0] == pytest.approx(first, rel=1e-5)


def test_coverage_refuses_rows_that_do_not_exist() -> None:
    with pytest.raises(InputError, match="rows of the 3"):
        coverage_curve(np.zeros((3, 2)), np.array([3]))


def test_the_plane_keeps_the_directions_of_most_variance() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(500, 5)) * [1, 10, 1, 3, 1]
    plane = principal_plane(features)
    assert np.abs(np.corrcoef(plane[:, 0], features[:, 1])[0, 1]) > 0.99
    assert np.abs(np.corrcoef(plane[:, 1], features[:, 3])[0, 1]) > 0.95
    assert np.array_equal(plane, principal_plane(features))


def test_the_plane_refuses_what_is_not_finite() -> None:
    with pytest.raises(InputError, match="finite"):
        principal_plane(np.array([[0.0, np.nan], [1.0, 2.0]]))
