"""Put stored results into the pages of docs/ that show them:  python -m benchmarks.publish

Every table of these pages stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` and is made here from
``benchmarks/results``; a test checks that none was edited by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.accuracy_tables import AVERAGE, NAMES, markdown, markdown_table
from benchmarks.grid import Grid

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
OTHER_PAGE = ROOT / "docs" / "other-data.md"
SPEED_PAGE = ROOT / "docs" / "speed.md"
CLIENT_PAGE = ROOT / "docs" / "client.md"
FEATURES_PAGE = ROOT / "docs" / "features.md"
README = ROOT / "README.md"
PAGES = (README, PAGE, OTHER_PAGE, SPEED_PAGE, CLIENT_PAGE, FEATURES_PAGE)
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
    lines = []
    for sampler in dict.fromkeys(key[0] for key in mean):
        if sampler == "ecos":
            continue
        cells = []
        for budget in budgets:
            peer = mean.get((sampler, budget), mean.get((sampler, None)))
            cells.append("" if peer is None else f"{mean['ecos', budget] - peer:+.1f}")
        lines.append([NAMES[sampler], *cells])
    return markdown_table(["ECOS against", *(f"budget {b:,}" for b in budgets)], lines)


def in_a_sentence(name: str) -> str:
    """ECOS at a thousand picks beside what else one could do."""
    found = {
        row["sampler"]: f"{100 * row['accuracy_mean']:.1f} %"
        for row in stored(name)["rows"]
        if (row["client"], row["pool"]) == (AVERAGE, "id+ood") and row["budget"] in (1000, None)
    }
    return (
        "PACS, 128 px, epsilon 0.582, budget 1,000, mean of four clients and three seeds: "
        f"ECOS {found['ecos']}, random {found['random']},\nglobal k-center {found['k_center']}, "
        f"the *whole* labelled lake of 7,600 images {found['whole_lake']}, the client's own labelled data "
        f"{found['local']}.\n"
    )


METHODS = {"histogram": "one histogram", "majority": "one histogram, majority", "knn": "private kNN"}
TEACHER = {"teacher": "teacher (whole labelled lake)"}


def compression(name: str) -> str:
    """The student's accuracy by sampler and budget, domains as columns, average last."""
    return _by_client(name, ("sampler", "budget", "epsilon"))


def compression_costs(_: str) -> str:
    """Size and latency of the two networks."""
    lines = [
        [row["model"], f"{row['megabytes']:.1f}", f"{row['milliseconds']:.1f}"]
        for row in stored("compression")["costs"]
    ]
    return markdown_table(["network", "ONNX file, MB", "one picture, ms"], lines)


def tuned(name: str) -> str:
    """Accuracy of the trained network and of the linear probe on the same picks, by client; no deviation of one
    seed."""
    lines = []
    for row in stored(name)["rows"]:
        figure = _figure(row) if len(row["seeds"]) > 1 else f"{100 * row['accuracy_mean']:.1f}"
        cells = [NAMES[row["sampler"]], f"{row['budget']:,}", row["client"], figure]
        cells += [f"{100 * row['probe_accuracy']:.1f}", ", ".join(map(str, row["seeds"]))]
        lines.append(cells)
    return markdown_table(["picks of", "budget", "client", "trained", "linear probe", "seeds"], lines)


def correlations(name: str) -> str:
    """Rank correlation of KL reduction and accuracy, by pool and budget."""
    lines = []
    for row in stored(name)["rows"]:
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        cells = [row["pool"], f"{row['budget']:,}", f"{row['correlation']:.2f}", interval, str(row["splits"])]
        lines.append(cells)
    return markdown_table(["pool", "budget", "correlation", "95 % interval", "splits"], lines)


def client_labels(name: str) -> str:
    """Right labels and the accuracy of the model trained on them (in brackets), by number of labelled picks."""
    rows = [row for row in stored(name)["rows"] if row["client"] == AVERAGE]
    budgets = sorted({row["budget"] for row in rows})
    lines = []
    for line in dict.fromkeys((row["epsilon"], row["method"], row["sampler"]) for row in rows):
        found = {r["budget"]: r for r in rows if (r["epsilon"], r["method"], r["sampler"]) == line}
        cells = [f"{line[0]:g}", METHODS[line[1]], NAMES[line[2]]]
        cells += [f"{100 * found[b]['label_accuracy']:.1f} ({_figure(found[b])})" for b in budgets]
        lines.append(cells)
    return markdown_table(["epsilon", "labels by", "picks of", *(f"{b:,} picks" for b in budgets)], lines)


def extraction(name: str) -> str:
    """Images a second of the lake and of its peers, by backbone."""
    rows = stored(name)["rows"]
    peers = ["ONNX Runtime, ready tensors", "decode, forward", "ImageFolder + DataLoader, torch"]
    lines = []
    for case in dict.fromkeys(
        row["name"].removesuffix(": lake") for row in rows if row["name"].endswith(": lake")
    ):
        found = {row["peer"]: row for row in rows if row["name"] == f"{case}: lake"}
        cells = [case, f"{found[peers[0]]['ours_per_s']:.1f}"]
        cells += [f"{found[peer]['peer_per_s']:.1f} ({found[peer]['ratio']:.2f})" for peer in peers]
        lines.append(cells)
    return markdown_table(["backbone", "lake to features", *(f"{peer} (ratio)" for peer in peers)], lines)


def float16(name: str) -> str:
    """What half the bytes change."""
    rows = {row["name"]: row for row in stored(name)["rows"]}
    alike = rows["assigned alike"]
    lines = [
        [f"images assigned to the same of {alike['clusters']} clusters", f"{100 * alike['ratio']:.2f} %"]
    ]
    for label, row in rows.items():
        if label.startswith("inertia"):
            lines.append(["inertia of centroids fitted on it", f"{100 * (row['ratio'] - 1):+.2f} %"])
        elif label.startswith("picked alike"):
            lines.append([f"the same picks ({label.split(', ')[1]})", f"{100 * row['ratio']:.1f} %"])
        elif label.startswith("probe"):
            figures = f"{row['float16']:.2f} %, {row['points']:+.2f} ± {row['points_std']:.2f} points"
            lines.append([f"accuracy of a linear probe on {label.split(', ')[1]}", figures])
    return markdown_table(["float16 against float32", ""], lines)


def plot_client_labels(path: Path) -> None:
    """Right labels against the number of labelled picks, one panel an epsilon."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [
        r for r in stored("client_labels")["rows"] if r["client"] == AVERAGE and r["method"] != "majority"
    ]
    epsilons = sorted({row["epsilon"] for row in rows})
    figure, axes = pyplot.subplots(1, len(epsilons), figsize=(3.4 * len(epsilons), 3.2), sharey=True)
    for axis, epsilon in zip(axes, epsilons, strict=True):
        for method, style in (("histogram", "-"), ("knn", "--")):
            for sampler, colour in (("ecos", "tab:blue"), ("random", "tab:orange")):
                line = [
                    row
                    for row in rows
                    if (row["epsilon"], row["method"], row["sampler"]) == (epsilon, method, sampler)
                ]
                axis.plot(
                    [row["budget"] for row in line],
                    [100 * row["label_accuracy"] for row in line],
                    style,
                    marker="o",
                    color=colour,
                    label=f"{METHODS[method]}, {NAMES[sampler]}",
                )
        axis.set_xscale("log")
        axis.set_title(f"epsilon {epsilon:g}")
        axis.set_xlabel("labelled picks")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("right labels (%)")
    axes[0].legend(fontsize=6)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


SPEED = {
    "name": "what",
    "ours_s": "seconds",
    "with_copy_s": "with the copy",
    "times_floor": "times the floor",
    "wall_s": "seconds",
    "peer": "peer",
    "peer_s": "its seconds",
    "peak_bytes": "peak bytes",
    "ratio": "ratio",
    "inertia_ratio": "inertia",
    "fit_s": "fit",
    "assign_s": "assign",
    "cluster_s": "cluster",
    "score_s": "score",
    "choose_s": "choose",
    "select_s": "choose",
    "prefect_share": "Prefect's share",
    "bar": "bar",
    "device": "device",
}


def speed(name: str) -> str:
    """What was timed, its peer, the ratio and the bar; only the columns that a row fills."""
    rows = stored(name)["rows"]
    keys = [key for key in SPEED if any(key in row for row in rows)]
    lines = [[_cell(row.get(key)) for key in keys] for row in rows]
    return markdown_table([SPEED[key] for key in keys], lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def bars(name: str) -> str:
    """Each figure beside its bar, and what was looked at; a missed one says so."""
    lines = [
        [
            row["name"],
            f"{row['ours']:,.4g}",
            f"{row['bar']:,.4g}",
            "yes" if row["ok"] else "**no**",
            row["detail"],
        ]
        for row in stored(name)["rows"]
    ]
    return markdown_table(["figure", "measured", "bar", "met", "more"], lines)


def _by_client(name: str, keys: tuple[str, ...]) -> str:
    rows = stored(name)["rows"]
    clients = list(dict.fromkeys(row["client"] for row in rows))
    lines = []
    for line in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        found = {row["client"]: row for row in rows if tuple(row[key] for key in keys) == line}
        budget = "all" if line[1] is None else f"{line[1]:,}"
        cells = [(NAMES | TEACHER)[line[0]], budget, f"{line[2]:g}"]
        cells += [_figure(found[client]) for client in clients]
        lines.append(cells)
    return markdown_table(["picks of", *keys[1:], *clients], lines)


def _figure(row: dict[str, Any]) -> str:
    return f"{100 * row['accuracy_mean']:.1f} ± {100 * row['accuracy_std']:.1f}"


SECTIONS: dict[str, Callable[[str], str]] = {
    "client": bars,
    "pacs_128": accuracy_table,
    "pacs_128 in a sentence": lambda _: in_a_sentence("pacs_128"),
    "pacs_128 headlines": lambda _: headlines("pacs_128"),
    "digits": accuracy_table,
    "digits headlines": lambda _: headlines("digits"),
    "client_labels": client_labels,
    "compression": compression,
    "compression costs": compression_costs,
    "fine_tune": tuned,
    "fixmatch": tuned,
    "proximity": correlations,
    "text": accuracy_table,
    **dict.fromkeys(
        ("k_center", "kmeans", "assign", "pipeline", "scale", "orchestration", "gpu_checks"), speed
    ),
    "text headlines": lambda _: headlines("text"),
    "tabular": accuracy_table,
    "tabular headlines": lambda _: headlines("tabular"),
    "extraction": extraction,
    "float16": float16,
}


def fill(text: str) -> str:
    """The page with every section made anew. Unknown names raise KeyError."""

    def section(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- begin {name} -->\n{SECTIONS[name](name)}<!-- end {name} -->"

    return re.sub(r"<!-- begin (.+?) -->\n.*?<!-- end \1 -->", section, text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
    plot_client_labels(PAGE.with_name("client_labels.png"))
