"""Rows, tables and plots of an accuracy benchmark, in the shape of the paper's tables: domains as
columns, average last.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grid import Cell, Grid
from ecos_core.training.evaluation import spread

AVERAGE = "average"
NAMES = {
    "ecos": "ECOS",
    "ecos_paper": "ECOS, paper mode",
    "ecos_noise_free": "ECOS without noise (not private)",
    "random": "random",
    "k_center": "k-center",
    "proximity": "top clusters only",
    "dsir": "importance resampling (p/q)",
    "oracle": "oracle (knows the domain)",
    "balanced": "class-balanced",
    "whole_lake": "the whole labelled lake",
    "local": "the client's own labelled data",
}


def rows_of(cells: Sequence[Cell], grid: Grid) -> list[dict[str, Any]]:
    """One row for each pool, client, sampler and budget, and one over all clients (``average``).

    ``accuracy_std`` is the sample standard deviation over the seeds, for the average that of the seeds'
    averages. The budget of the references that use all there is is None.
    """
    groups: dict[tuple[str, str, str, int | None], list[Cell]] = defaultdict(list)
    for cell in cells:
        budget = None if cell.sampler in ("whole_lake", "local") else cell.budget
        for client in (cell.client, AVERAGE):
            groups[cell.pool, client, cell.sampler, budget].append(cell)
    order = {name: place for place, name in enumerate((*grid.clients, AVERAGE))}
    samplers = {name: place for place, name in enumerate(grid.samplers)}
    keys = sorted(
        groups, key=lambda key: (grid.pools.index(key[0]), order[key[1]], samplers[key[2]], key[3] or 0)
    )
    return [_row(key, groups[key], grid) for key in keys]


def _row(key: tuple[str, str, str, int | None], cells: list[Cell], grid: Grid) -> dict[str, Any]:
    pool, client, sampler, budget = key
    by_seed: dict[int, list[float]] = defaultdict(list)
    for cell in cells:
        by_seed[cell.seed].append(cell.accuracy)
    figure = spread([float(np.mean(values)) for values in by_seed.values()])
    return {
        "pool": pool,
        "client": client,
        "sampler": sampler,
        "budget": budget,
        "epsilon": cells[0].epsilon,
        "delta": grid.delta if cells[0].epsilon else 0.0,
        "sigma": cells[0].sigma,
        "accuracy_mean": figure.mean,
        "accuracy_std": figure.std,
        "accuracy_low": figure.low,
        "accuracy_high": figure.high,
        "seeds": sorted(by_seed),
    }


def markdown(rows: Sequence[dict[str, Any]], grid: Grid) -> str:
    """Tables in Markdown, one a pool; accuracy in per cent, mean +- standard deviation over the seeds."""
    parts = []
    for pool in grid.pools:
        header = ["method", "budget", "epsilon", *grid.clients, AVERAGE]
        lines = [[name, budget, epsilon, *cells] for name, budget, epsilon, cells in _table(rows, grid, pool)]
        parts.append(f"### {pool}\n\n{markdown_table(header, lines)}")
    return "\n".join(parts)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, its cells as they are."""
    return "".join(_line(cells) + "\n" for cells in (header, ["---"] * len(header), *rows))


def latex(rows: Sequence[dict[str, Any]], grid: Grid) -> str:
    """The same as LaTeX, one ``tabular`` a pool (needs booktabs)."""
    parts = []
    for pool in grid.pools:
        header = ["method", "budget", "epsilon", *grid.clients, AVERAGE]
        lines = [[name, budget, epsilon, *cells] for name, budget, epsilon, cells in _table(rows, grid, pool)]
        parts.append(latex_table(f"{pool}; {_figures_of(grid.seeds)}", header, lines))
    return "\n\n".join(parts) + "\n"


def latex_table(note: str, header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in LaTeX (booktabs), the first column to the left, after a comment of what it holds."""
    columns = [_in_latex(name) for name in header]
    body = [" & ".join(_in_latex(cell) for cell in line) + r" \\" for line in lines]
    return "\n".join(
        [
            f"% {note}",
            rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            r"\toprule",
            " & ".join(columns) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _in_latex(cell: str) -> str:
    return {"epsilon": r"$\epsilon$"}.get(cell, cell.replace("±", r"$\pm$").replace("_", " "))


def _figures_of(seeds: Sequence[int]) -> str:
    return f"accuracy in per cent, mean and deviation over seeds {list(seeds)}"


def use_tables(use: str, rows: Sequence[dict[str, Any]], grid: Grid) -> tuple[str, str]:
    """The rows of one use of the selections, in Markdown and LaTeX: domains as columns, average last, and beside a
    training the linear probe of the same picks."""
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        key = (row["method"], row["sampler"], row["budget"], row["epsilon"])
        groups.setdefault(key, {})[row["client"]] = row
    labelled, probed = any(method for method, *_ in groups), "probe_accuracy" in rows[0]
    header = ["picks of", "budget", "epsilon", *grid.clients, AVERAGE]
    header = ["labels by"] * labelled + header + ["linear probe"] * probed
    lines = []
    for (method, sampler, budget, epsilon), found in groups.items():
        cells = [_percent(found.get(client)) for client in (*grid.clients, AVERAGE)]
        line = [NAMES.get(sampler, sampler), _budget(budget), _epsilon(epsilon), *cells]
        probe = [f"{100 * found[AVERAGE]['probe_accuracy']:.1f}"] if probed else []
        lines.append([str(method)] * labelled + line + probe)
    text = f"### {use}\n\n{markdown_table(header, lines)}"
    return text, latex_table(f"{use}; {_figures_of(grid.seeds)}", header, lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(rows: Sequence[dict[str, Any]], grid: Grid, pool: str) -> list[tuple[str, str, str, list[str]]]:
    """(method, budget, epsilon, a cell for each client and the average), by budget, then sampler."""
    found = {(row["sampler"], row["budget"], row["client"]): row for row in rows if row["pool"] == pool}
    lines = []
    for budget in (*grid.budgets, None):
        for sampler in grid.samplers:
            mean = found.get((sampler, budget, AVERAGE))
            if mean is None:
                continue
            cells = [_percent(found.get((sampler, budget, client))) for client in (*grid.clients, AVERAGE)]
            lines.append((NAMES[sampler], _budget(budget), _epsilon(mean["epsilon"]), cells))
    return lines


def _budget(budget: int | None) -> str:
    return "all" if budget is None else f"{budget:,}"


def _epsilon(epsilon: float | None) -> str:
    return "-" if epsilon is None else f"{epsilon:.3g}"


def _percent(row: dict[str, Any] | None) -> str:
    return "" if row is None else f"{100 * row['accuracy_mean']:.1f} ± {100 * row['accuracy_std']:.1f}"


def plot(rows: Sequence[dict[str, Any]], grid: Grid, path: Path) -> None:
    """Average accuracy against the budget, one panel a pool, as SVG or PNG by the path's ending."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(grid.pools), figsize=(5.5 * len(grid.pools), 4), squeeze=False)
    for axis, pool in zip(axes[0], grid.pools, strict=True):
        mean = [row for row in rows if (row["pool"], row["client"]) == (pool, AVERAGE)]
        for sampler in grid.samplers:
            _draw(axis, sampler, [row for row in mean if row["sampler"] == sampler])
        axis.set_xscale("log")
        axis.set_xticks(grid.budgets, [f"{budget:,}" for budget in grid.budgets])
        axis.minorticks_off()
        axis.set_xlabel("budget (samples)")
        axis.set_ylabel("accuracy (%)")
        axis.set_title(f"{pool}, epsilon {grid.epsilon:g}")
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def _draw(axis: Any, sampler: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    if rows[0]["budget"] is None:
        axis.axhline(100 * rows[0]["accuracy_mean"], linestyle=":", color="grey", linewidth=1)
        return
    axis.errorbar(
        [row["budget"] for row in rows],
        [100 * row["accuracy_mean"] for row in rows],
        yerr=[100 * row["accuracy_std"] for row in rows],
        marker="o",
        capsize=2,
        label=NAMES[sampler],
    )
