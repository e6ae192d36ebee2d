"""The figures of a run. Each function takes plain arrays and returns a matplotlib ``Figure``.

``style.png`` and ``style.svg`` turn one into bytes for MLflow and Prefect, or into an element of the report.
A figure never draws anything of the client's but the noised answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.reporting.style import (
    BLUE,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PLAIN_GREYS,
    SKY,
    new_figure,
    sampler_colour,
    sampler_marker,
    sampler_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ecos_core.reporting.data import ResultRow

MAP_POINTS = 4000


def scores(
    noisy: NDArray[np.generic], sigma: float, denoised: NDArray[np.floating] | None = None, *, most: int = 100
) -> Figure:
    """The noised counts with an error bar of one sigma, highest first, and what denoising makes of them.

    Args:
        noisy: [R] the client's answer, votes a cluster, may be negative.
        sigma: standard deviation of the noise, votes; 0 draws no bars.
        denoised: [R] after denoising, or None.
        most: how many clusters are drawn, from the highest score down.
    """
    noisy = _vector(noisy, "noisy scores")
    order = np.argsort(-noisy, kind="stable")[:most]
    rank = np.arange(1, len(order) + 1)
    figure, axes = new_figure()
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.errorbar(
        rank, noisy[order], yerr=sigma or None, fmt="o", color=BLUE, ecolor=SKY, elinewidth=1.1,
        markersize=2.6, label=f"noised count ± σ = {sigma:.3g}" if sigma else "count",
    )  # fmt: skip
    if denoised is not None:
        kept = _vector(denoised, "denoised scores", len(noisy))[order]
        axes.step(rank, kept, where="mid", color=ORANGE, linewidth=1.6, label="after denoising")
    axes.set_xlabel(
        "cluster, by score" + (f" (the first {most} of {len(noisy)})" if len(noisy) > most else "")
    )
    axes.set_ylabel("votes of the client")
    _legend(axes, "upper right")
    return figure


def accuracy(rows: Sequence[ResultRow]) -> Figure:
    """Accuracy of each sampler: against the budget, or as one line each where there is one budget only.

    Bars are one standard deviation over the seeds. The rows are averaged over clients first.
    """
    if not rows:
        raise InputError("accuracy figure: no rows; train on at least one selection first")
    table = _mean_over_clients(rows)
    budgets = sorted({budget for series in table.values() for budget in series})
    return _accuracy_at(table, budgets[0]) if len(budgets) == 1 else _accuracy_curves(table, budgets)


def quotas(quota: NDArray[np.integer], sizes: NDArray[np.integer] | None = None, *, most: int = 60) -> Figure:
    """Images asked of each cluster, largest first, above what the cluster holds.

    Args:
        quota: [R] images to take from each cluster.
        sizes: [R] images in each cluster, or None.
        most: how many clusters are drawn.
    """
    wanted = _vector(quota, "quotas")
    taking = int((wanted > 0).sum())
    order = np.argsort(-wanted, kind="stable")[: min(most, max(1, taking))]
    rank = np.arange(1, len(order) + 1)
    figure, axes = new_figure()
    if sizes is not None:
        held = _vector(sizes, "cluster sizes", len(wanted))[order]
        axes.bar(rank, held, width=0.86, color=GRID, label="images in the cluster")
    axes.bar(rank, wanted[order], width=0.86 if sizes is None else 0.5, color=BLUE, label="chosen")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(f"cluster, by quota ({taking} of {len(wanted)} take part)")
    axes.set_ylabel("images")
    _legend(axes, "upper right")
    return figure


def coverage(curves: Mapping[str, NDArray[np.floating]]) -> Figure:
    """How far what is to be covered lies from the nearest pick, as picks are added. Lower is more diverse.

    Args:
        curves: sampler -> [b] a distance (L2, feature space) after 1..b picks; see ``coverage_curve``.
    """
    figure, axes = new_figure()
    for sampler, curve in curves.items():
        values = _vector(curve, f"coverage of {sampler}")
        axes.plot(
            np.arange(1, len(values) + 1), values, color=sampler_colour(sampler), linewidth=1.8,
            label=sampler_name(sampler), linestyle="-" if sampler.startswith("ecos") else "--",
        )  # fmt: skip
    axes.set_xlabel("images chosen")
    axes.set_ylabel("distance to the nearest pick")
    axes.set_ylim(bottom=0)
    if curves:
        _legend(axes, "outside upper center", figure=figure)
    return figure


def lake_map(
    points: NDArray[np.floating], selected: NDArray[np.bool_], groups: Sequence[str] | None = None
) -> Figure:
    """The lake in two dimensions, the selection on top.

    Args:
        points: [n, 2] positions, for example of ``principal_plane``.
        selected: [n] whether the image was chosen.
        groups: [n] the domain of each image, or None. Told apart by shape, as colour means "chosen".
    """
    points = np.asarray(points, dtype=np.float64)
    chosen = np.asarray(selected, dtype=bool)
    if points.ndim != 2 or points.shape[1] != 2 or chosen.shape != (len(points),):
        raise InputError(f"map: points {points.shape} and selected {chosen.shape} must be [n, 2] and [n]")
    shown = _thin(~chosen)
    figure, axes = new_figure(height_in=3.8)
    axes.grid(visible=False)
    labels = np.asarray(groups if groups is not None else ["lake"] * len(points), dtype=object)
    for shade, (marker, group) in enumerate(zip("osv^D<>" * 8, sorted(set(labels.tolist())), strict=False)):
        part = shown[labels[shown] == group]
        axes.scatter(
            *points[part].T, s=7, marker=marker, color=PLAIN_GREYS[shade % 2], alpha=0.6, linewidths=0,
            label=group, rasterized=True,
        )  # fmt: skip
    axes.scatter(
        *points[chosen].T,
        s=9,
        color=BLUE,
        linewidths=0,
        label=f"chosen ({int(chosen.sum()):,})",
        rasterized=True,
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("first two principal components of the features")
    _legend(axes, "outside lower center", figure=figure, markerscale=2)
    return figure


def cluster_sizes(sizes: NDArray[np.integer]) -> Figure:
    """Images a cluster, largest first. ``sizes``: [R]."""
    held = np.sort(_vector(sizes, "cluster sizes"))[::-1]
    figure, axes = new_figure(height_in=2.4)
    axes.fill_between(np.arange(1, len(held) + 1), held, step="mid", color=SKY, linewidth=0)
    axes.set_xlabel("cluster, by size")
    axes.set_ylabel("images")
    axes.set_ylim(bottom=0)
    return figure


def _vector(values: Any, what: str, length: int | None = None) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or len(vector) == 0 or (length is not None and len(vector) != length):
        raise InputError(
            f"{what}: shape {vector.shape}, a vector{f' of {length}' if length else ''} is needed"
        )
    return vector


def _legend(axes: Any, where: str, figure: Figure | None = None, **options: Any) -> None:
    owner: Any = figure if figure is not None else axes
    columns = 3 if figure is not None else 1  # outside the axes there is room in width only
    owner.legend(loc=where, frameon=False, fontsize=9, labelcolor=INK, ncols=columns, **options)


def _thin(candidates: NDArray[np.bool_]) -> NDArray[np.intp]:
    """At most ``MAP_POINTS`` of the candidates, evenly spaced: the same every time."""
    found = np.flatnonzero(candidates)
    step = max(1, -(-len(found) // MAP_POINTS))
    return found[::step]


def _mean_over_clients(rows: Sequence[ResultRow]) -> dict[str, dict[int, tuple[float, float]]]:
    """sampler -> budget -> (mean, standard deviation), per cent; spreads of several clients are pooled."""
    cells: dict[str, dict[int, list[ResultRow]]] = {}
    for row in rows:
        cells.setdefault(row.sampler, {}).setdefault(row.budget, []).append(row)
    return {
        sampler: {
            budget: (
                100 * float(np.mean([row.accuracy_mean for row in found])),
                100 * float(np.sqrt(np.mean([row.accuracy_std**2 for row in found]))),
            )
            for budget, found in series.items()
        }
        for sampler, series in cells.items()
    }


def _accuracy_at(table: dict[str, dict[int, tuple[float, float]]], budget: int) -> Figure:
    ranked = sorted(table, key=lambda sampler: table[sampler][budget][0])
    figure, axes = new_figure(height_in=0.42 * len(ranked) + 1.2)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    for place, sampler in enumerate(ranked):
        mean, deviation = table[sampler][budget]
        axes.errorbar(
            mean, place, xerr=deviation, fmt=sampler_marker(sampler), color=sampler_colour(sampler),
            markersize=7, elinewidth=1.6, capsize=3,
        )  # fmt: skip
        axes.annotate(
            f"{mean:.1f}",
            (mean, place),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=9,
        )
    axes.set_yticks(range(len(ranked)), [sampler_name(sampler) for sampler in ranked], color=INK)
    axes.set_ylim(-0.6, len(ranked) - 0.3)
    axes.margins(x=0.12)
    axes.set_xlabel(f"accuracy, %, budget {budget:,}")
    return figure


def _accuracy_curves(table: dict[str, dict[int, tuple[float, float]]], budgets: Sequence[int]) -> Figure:
    figure, axes = new_figure(height_in=3.9)
    for sampler, series in sorted(table.items(), key=lambda item: -max(mean for mean, _ in item[1].values())):
        at = sorted(series)
        means, deviations = zip(*(series[budget] for budget in at), strict=True)
        axes.errorbar(
            at, means, yerr=deviations, fmt="-" + sampler_marker(sampler), color=sampler_colour(sampler),
            markersize=5, linewidth=1.7, capsize=3, label=sampler_name(sampler),
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
    axes.minorticks_off()
    axes.set_xlabel("budget, images")
    axes.set_ylabel("accuracy, %")
    _legend(axes, "outside upper center", figure=figure)
    return figure
