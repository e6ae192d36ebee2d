"""Results as text tables, for the terminal and for logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def results_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Method, use (where there are several), budget, epsilon, delta, accuracy with its spread over the seeds, in per
    cent."""
    several = len({row["use"] for row in rows}) > 1
    names, figures = ["method", *["use"] * several], ["budget", "epsilon", "delta", "accuracy", ""]
    lines = [[*names, *figures], *(_cells(row, several) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def text(line: Sequence[str]) -> str:
        *cells, spread = line
        aligned = [
            cell.ljust(width) if column < len(names) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths[:-1], strict=True))
        ]
        return "  ".join([*aligned, spread]).rstrip()

    rule = "-" * len(text(lines[0]))
    notes = [
        f"paper mode: the paper's own accounting claims epsilon {row['epsilon_paper']:.3f} for this mechanism"
        for row in rows[:]
        if row.get("epsilon_paper") is not None
    ][:1]
    return "\n".join([text(lines[0]), rule, *(text(line) for line in lines[1:]), rule, *notes])


def _cells(row: Mapping[str, Any], with_use: bool) -> list[str]:
    from ecos_core.reporting.style import sampler_name, use_name

    epsilon = row.get("epsilon")
    delta = row.get("delta")
    return [
        sampler_name(row["sampler"]),
        *[use_name(row["use"])] * with_use,
        f"{row['budget']:,}",
        "-" if epsilon is None else f"{epsilon:.3f}",
        "-" if delta is None else f"{delta:g}",
        f"{100 * row['accuracy_mean']:.1f} %",
        f"± {100 * row['accuracy_std']:.1f}  ({len(row['seeds'])} seeds)"
        if len(row["seeds"]) > 1
        else "(1 seed)",
    ]
