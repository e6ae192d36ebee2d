"""Put stored results into docs/results.md and docs/other-data.md:  python -m benchmarks.publish

Every table of these pages stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` and is made here from
``benchmarks/results``; a test checks that none was edited by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.grid import Grid
from benchmarks.tables import AVERAGE, NAMES, markdown

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
OTHER_PAGE = ROOT / "docs" / "other-data.md"
RESULTS = ROOT / "benchmarks" / "results"


def stored(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def accuracy_table(name: str) -> str:
    result = stored(name)
    return markdown(result["rows"], Grid.model_validate(result["grid"]))


def headlines(name: str) -> str:
    """Differences in points between averages over the clients, pool id+ood."""
    rows = stored(name)["rows"]
    mean = {
        (row["sampler"], row["budget"]): 100 * row["accuracy_mean"]
        for row in rows
        if row["client"] == AVERAGE and row["pool"] == "id+ood"
    }
    budgets = sorted({budget for _, budget in mean if budget is not None})
    lines = ["| ECOS against | " + " | ".join(f"budget {b:,}" for b in budgets) + " |"]
    lines.append("| --- " * (len(budgets) + 1) + "|")
    for sampler in dict.fromkeys(key[0] for key in mean):
        if sampler == "ecos":
            continue
        cells = []
        for budget in budgets:
            peer = mean.get((sampler, budget), mean.get((sampler, None)))
            cells.append("" if peer is None else f"{mean['ecos', budget] - peer:+.1f}")
        lines.append(f"| {NAMES[sampler]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def client_labels(name: str) -> str:
    """Accuracy of the model and of the labels it was trained on, by sampler and budget."""
    lines = ["| picks of | budget | epsilon | accuracy | right labels |", "| --- | --- | --- | --- | --- |"]
    for row in stored("uses")["rows"]:
        if row["use"] == name:
            accuracy = f"{100 * row['accuracy_mean']:.1f} ± {100 * row['accuracy_std']:.1f}"
            cells = [NAMES[row["sampler"]], f"{row['budget']:,}", f"{row['epsilon']:g}", accuracy]
            lines.append("| " + " | ".join([*cells, f"{100 * row['label_accuracy']:.1f}"]) + " |")
    return "\n".join(lines) + "\n"


SECTIONS: dict[str, Callable[[str], str]] = {
    "pacs_128": accuracy_table,
    "pacs_128 headlines": lambda _: headlines("pacs_128"),
    "digits": accuracy_table,
    "digits headlines": lambda _: headlines("digits"),
    "client_labels": client_labels,
    "text": accuracy_table,
    "text headlines": lambda _: headlines("text"),
    "tabular": accuracy_table,
    "tabular headlines": lambda _: headlines("tabular"),
}


def fill(text: str) -> str:
    """The page with every section made anew. Unknown names raise KeyError."""

    def section(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- begin {name} -->\n{SECTIONS[name](name)}<!-- end {name} -->"

    return re.sub(r"<!-- begin (.+?) -->\n.*?<!-- end \1 -->", section, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in (PAGE, OTHER_PAGE):
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
