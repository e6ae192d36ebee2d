# ruff: noqa: E501 - the page's prose stands here in long lines
"""The study as a page: ``docs/study.md`` and its plot, both made from
``benchmarks/results/denoising_study.json``.

    python -m benchmarks.study_page
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "denoising_study.json"
PAGE = HERE.parent / "docs" / "study.md"
PLOT = "study.png"

Row = dict[str, Any]

HEAD = """# The study behind the samplers' defaults

PACS at 128 px, EfficientNet-Lite0 features, pool ID+OoD unless said otherwise; each domain in turn is the client (40 %
private, 20 % test), seeds 1 to 3. Accuracy in per cent of a linear probe (C = 0.01) on the client's test images, mean over
the splits that all lines of a table have (`splits`), one draw of noise each; power 0.75 where no power is shown. Epsilon is one release's at delta 1e-5
(add/remove). Between two lines of a table differences below about one point are noise.

Made by `ecos bench denoising_study --data-root FOLDER` and `python -m benchmarks.study_page`; the numbers are those of
`benchmarks/results/denoising_study.json`.
"""

SECTIONS: tuple[tuple[str, str, str], ...] = (
    (
        "choice",
        "Choice inside a cluster",
        "`facility` (facility location: the samples nearest to all members) against `k_center` (farthest first, the paper's); clusters by signal to noise, empirical Bayes, power 1: the defaults in the first line. k-center reaches for a cluster's outliers first, which costs most where the clusters are large: at little privacy budget. **Default: `facility`.**",
    ),
    (
        "power",
        "Power of the weights",
        "`facility`, clusters by signal to noise. No power is better than 1 by more than the noise of the study. **Default: 1.**",
    ),
    (
        "others",
        "Samplers that ask no client",
        "Global `k_center` runs over the whole pool.",
    ),
    (
        "clusters",
        "The number of clusters",
        "Few clusters where the noise is strong, many where it is weak: R with records / (R sigma) = 1 is near the best "
        "of each column, a fixed R is not.",
    ),
    (
        "denoising",
        "Denoising",
        "At clusters chosen by signal to noise the rules are close, and empirical Bayes (the tables above) is never far "
        "from the best; the fixed threshold and clipping lose where R is large for the noise. **Default: empirical Bayes.**",
    ),
    (
        "queries",
        "Other questions at the same total epsilon",
        "`two rounds`: half the privacy budget on coarse clusters, half on finer ones inside the hot ones. `moments k`: "
        "the noised mean feature in k directions and a maximum-entropy tilt of the lake's shares. Neither beats one "
        "histogram on PACS, where a quarter of the lake is near the client. **Neither is the default.**",
    ),
    (
        "no image in the lake",
        "No image of the client's domain in the lake (OoD)",
        "Nothing in the lake is near, so there is little for proximity to find: asking the client does not pay here, and "
        "random is as good or better.",
    ),
    ("larger budgets", "Larger budgets", "The defaults but power 0.75, at a budget of 1,000."),
    ("epsilon", "Other epsilons", "The defaults but power 0.75, at other epsilons."),
)

COLUMNS = ("pool", "scheme", "diversity", "power", "denoise", "weighting", "clusters")


def main() -> None:
    """Write the page and the plot."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    PAGE.write_text(page(rows), encoding="utf-8")
    plot(rows, PAGE.with_name(PLOT))


def page(rows: Sequence[Row]) -> str:
    """The whole page as Markdown."""
    parts = [HEAD, f"![Accuracy by epsilon]({PLOT})\n"]
    for group, title, text in SECTIONS:
        members = [row for row in rows if row["group"] == group]
        if members:
            parts += [f"## {title}\n", f"{text}\n", f"{table(members)}\n"]
    return "\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    """Lines: what varies inside the group; columns: epsilon and budget."""
    varying = [name for name in COLUMNS if len({str(row[name]) for row in rows}) > 1]
    columns = sorted({(row["epsilon"], row["budget"]) for row in rows}, key=_column_order)
    heads = [*varying, *(f"eps {epsilon or 'none'}, {budget}" for epsilon, budget in columns), "splits"]
    lines: dict[tuple[str, ...], dict[tuple[Any, int], Row]] = {}
    for row in rows:
        label = tuple("auto" if row[name] is None else str(row[name]) for name in varying)
        lines.setdefault(label, {})[row["epsilon"], row["budget"]] = row
    out = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for label, cells in lines.items():
        figures = [f"{cells[column]['accuracy']:.1f}" if column in cells else "" for column in columns]
        splits = str(min(cell["splits"] for cell in cells.values()))
        out.append(f"| {' | '.join([*label, *figures, splits])} |")
    return "\n".join(out)


def _column_order(column: tuple[float | None, int]) -> tuple[float, int]:
    return (float("inf") if column[0] is None else column[0], column[1])


def plot(rows: Sequence[Row], where: Path) -> None:
    """Accuracy against epsilon for both choices inside a cluster, at each budget."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6))
    chosen = [row for row in rows if row["group"] == "choice"]
    for diversity, colour in (("facility", "tab:blue"), ("k_center", "tab:orange")):
        for budget, style in ((300, "-"), (100, "--")):
            line = [row for row in chosen if row["diversity"] == diversity and row["budget"] == budget]
            line.sort(key=lambda row: _column_order((row["epsilon"], 0)))
            names = [str(row["epsilon"] or "none") for row in line]
            values = [row["accuracy"] for row in line]
            axes.plot(names, values, style, marker="o", color=colour, label=f"{diversity}, budget {budget}")
    axes.set_xlabel("epsilon (delta 1e-5)")
    axes.set_ylabel("accuracy, per cent")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(where, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
