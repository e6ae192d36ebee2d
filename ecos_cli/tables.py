"""Results as text tables, for the terminal and for logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def results_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Method, budget, epsilon, delta, accuracy with its spread over the seeds, in per cent."""
    header = ("method", "budget", "epsilon", "delta", "accuracy", "")
    lines = [header, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def text(line: tuple[str, ...]) -> str:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:5], widths[1:5], strict=True)),
        ]
        return "  ".join([*cells, line[5]]).rstrip()

    rule = "-" * len(text((*header[:5], "")))
    notes = [
        f"paper mode: the paper's own accounting claims epsilon {row['epsilon_paper']:.3f} for this mechanism"
        for row in rows[:]
        if row.get("epsilon_paper") is not None
    ][:1]
    return "\n".join([text(header), rule, *(text(line) for line in lines[1:]), rule, *notes])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    from ecos_core.reporting.style import sampler_name

    epsilon = row.get("epsilon")
    delta = row.get("delta")
    return (
        sampler_name(row["sampler"]),
        f"{row['budget']:,}",
        "-" if epsilon is None else f"{epsilon:.3f}",
        "-" if delta is None else f"{delta:g}",
        f"{100 * row['accuracy_mean']:.1f} %",
        f"± {100 * row['accuracy_std']:.1f}  ({len(row['seeds'])} seeds)",
    )
