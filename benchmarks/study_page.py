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
private, 20 % test). Accuracy in per cent of a linear probe (C = 0.01) on the client's test images, mean over the splits (a
client and a seed) that all lines of a table have (`splits`), one draw of discrete Gaussian noise each. Epsilon is one
release's at delta 1e-5 (add/remove). What is not named in a table is the default: clusters by signal to noise, empirical
Bayes, weight by score, power 1, facility location. Between two lines of a table differences below about one point are
noise. Tables on different splits do not compare.

Made by `ecos bench denoising_study --data-root FOLDER` (an hour or two of one core; it goes on where it was stopped) and
`python -m benchmarks.study_page`; the numbers are those of `benchmarks/results/denoising_study.json`.
"""

SECTIONS: tuple[tuple[str, str, str], ...] = (
    (
        "epsilon",
        "Less and more privacy",
        "The defaults from epsilon 0.08 to no noise. At 300 nothing is lost by more than the study's noise down to epsilon 0.1; at 100, with fourteen images a class, epsilon 0.582 loses half a point against no noise and epsilon 0.1 two. At 1,000 (below) epsilon 0.1 is 0.7 behind.",
    ),
    (
        "choice",
        "Choice inside a cluster",
        "`facility` (facility location: the samples nearest to all members) against `k_center` (farthest first, the paper's). The lines of `facility` also say what the defaults lose to noise. k-center reaches for a cluster's outliers first, which costs most where the clusters are large: wherever there is noise. **Default: `facility`.**",
    ),
    (
        "power",
        "Power of the weights",
        "No power is better than 1 by more than the noise of the study. **Default: 1.**",
    ),
    (
        "clusters",
        "The number of clusters",
        "`auto`: R with records / (R sigma) = 3, at least 10 and at most one for 20 images of the lake: 10 to 17 clusters at epsilon 0.1, 36 to 86 at 0.582. Many clusters under strong noise lose most: at epsilon 0.1 a thousand lose 7 to 12 points against ten. `auto` is within the noise of the best of every column, without a look at the data. With records / (R sigma) = 1, three times as many clusters, epsilon 0.1 came to 73.3 and 80.8 and epsilon 0.582 to 75.5 and 82.6.",
    ),
    (
        "denoising",
        "Denoising",
        "Where the number of clusters follows the noise, the rule matters little; weighting by `ratio` (score over the cluster's size in the lake) is no better than by score. **Empirical Bayes and score it is**; `clip` stays, which is the paper's rule. The others were measured once and their code is gone.",
    ),
    (
        "100 clusters",
        "The paper's 100 clusters",
        "Where the number of clusters is given and too large for the noise, `tilt` (clusters near each other in feature space support each other) was worth three points at epsilon 0.1; where it is not, nothing. `clusters: auto` is worth more there than any rule, so that the code of `tilt` is gone.",
    ),
    (
        "queries",
        "Other questions at the same total epsilon",
        "Measured once; the code of the losers is gone. `two rounds`: half the privacy budget on coarse clusters, half on finer ones inside the hot ones. `moments k`: the noised mean feature in k directions and a maximum-entropy tilt of the lake's shares. On PACS, where a quarter of the lake is near the client, two rounds are level with one histogram or below it, and moments below it in every column. **One histogram is the only question.** What moments had that a histogram has not: one release served every later clustering.",
    ),
    (
        "larger budgets",
        "Larger budgets",
        "Up to 5,000 of the lake's 7,600 images or so. From 1,000 to 5,000 ECOS gains nothing: it has the images that are like the client's, and what it adds is not. Privacy hardly matters here: epsilon 0.1 is within a point of no noise. Global `k_center` and `random`, which ask no client, come within two to four points at 5,000, when most of the lake is taken.",
    ),
    (
        "no image in the lake",
        "No image of the client's domain in the lake (OoD)",
        "Nothing in the lake is near, so there is little for proximity to find. Without noise ECOS is up to two points above global k-center, at epsilon 0.1 level with it, at 0.582 two to three below: no order that a user could rely on. It is above random at budget 100.",
    ),
)

COLUMNS = ("pool", "scheme", "diversity", "power", "denoise", "weighting", "clusters")


def main() -> None:
    """Write the page and the plot."""
    rows = stored(RESULTS)
    PAGE.write_text(page(rows), encoding="utf-8")
    plot(rows, PAGE.with_name(PLOT))


def stored(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def page(rows: Sequence[Row]) -> str:
    """The whole page as Markdown."""
    parts = [HEAD, f"![Accuracy by epsilon, clusters and budget]({PLOT})\n"]
    for group, title, text in SECTIONS:
        parts += [f"## {title}\n", f"{text}\n", f"{table([row for row in rows if row['group'] == group])}\n"]
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
    """Accuracy of the defaults against epsilon, and against the number of clusters and the budget by epsilon."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (by_epsilon, by_clusters, by_budget) = plt.subplots(1, 3, figsize=(13, 3.6))
    for budget in (300, 100):
        line = [row for row in rows if row["group"] == "epsilon" and row["budget"] == budget]
        line.sort(key=lambda row: _column_order((row["epsilon"], 0)))
        names = [str(row["epsilon"] or "none") for row in line]
        by_epsilon.plot(names, [row["accuracy"] for row in line], marker="o", label=f"budget {budget}")
    for epsilon in (0.1, 0.582, None):
        label = f"epsilon {epsilon or 'none'}"
        line = [row for row in rows if (row["group"], row["epsilon"]) == ("clusters", epsilon)]
        line = [row for row in line if row["clusters"] and row["budget"] == 300]
        places = [row["clusters"] for row in line]
        by_clusters.plot(places, [row["accuracy"] for row in line], marker="o", label=f"{label}, budget 300")
        line = [row for row in rows if (row["group"], row["epsilon"]) == ("larger budgets", epsilon)]
        line = [row for row in line if row["scheme"] == "histogram"]
        places = [row["budget"] for row in line]
        by_budget.plot(places, [row["accuracy"] for row in line], marker="o", label=label)
    for sampler in ("random", "k_center"):
        line = [row for row in rows if (row["group"], row["scheme"]) == ("larger budgets", sampler)]
        places = [row["budget"] for row in line]
        by_budget.plot(places, [row["accuracy"] for row in line], ":", marker="s", label=sampler)
    titles = ("epsilon (delta 1e-5)", "clusters R", "budget")
    for axes, title in zip((by_epsilon, by_clusters, by_budget), titles, strict=True):
        axes.set_xlabel(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    by_clusters.set_xscale("log")
    by_budget.set_xscale("log")
    by_epsilon.set_ylabel("accuracy, per cent")
    figure.tight_layout()
    figure.savefig(where, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
