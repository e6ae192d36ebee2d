"""The page holds the stored results' numbers, and nothing else."""

from __future__ import annotations

from benchmarks.denoising_study import summarise
from benchmarks.study_page import PAGE, RESULTS, page, stored, table


def test_page_is_made_from_the_stored_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(stored(RESULTS))


def test_the_results_page_quotes_the_defaults_of_the_study() -> None:
    def accuracies(epsilon: float) -> str:
        groups = {100: "epsilon", 300: "epsilon", 1000: "larger budgets"}
        found = [
            f"{row['accuracy']:.1f}"
            for budget, group in groups.items()
            for row in stored(RESULTS)
            if (row["group"], row["epsilon"], row["budget"]) == (group, epsilon, budget)
        ]
        return "{}, {} and {}".format(*found)

    text = " ".join(PAGE.with_name("results.md").read_text(encoding="utf-8").split())
    assert accuracies(0.582) in text
    assert accuracies(0.1) in text


def test_table_has_a_line_for_what_varies() -> None:
    row = {"pool": "id+ood", "scheme": "histogram", "denoise": "clip", "weighting": "score", "clusters": None}
    rows = [
        {**row, "diversity": d, "power": 1.0, "epsilon": e, "budget": 100, "accuracy": a, "splits": 3}
        for d, e, a in (("facility", 0.1, 70.0), ("facility", None, 72.25), ("k_center", None, 71.0))
    ]
    assert table(rows).splitlines() == [
        "| diversity | eps 0.1, 100 | eps none, 100 | splits |",
        "| --- | --- | --- | --- |",
        "| facility | 70.0 | 72.2 | 3 |",
        "| k_center |  | 71.0 | 3 |",
    ]


def test_a_group_is_compared_on_the_splits_that_all_its_lines_have() -> None:
    def cell(power: float, client: str, accuracy: float) -> dict[str, object]:
        setting = {"group": "g", "power": power, "budgets": [100]}
        return {"setting": setting, "client": client, "seed": 1, "budget": 100, "accuracy": accuracy}

    cells = [cell(1.0, "a", 0.5), cell(1.0, "b", 0.9), cell(2.0, "a", 0.6)]
    rows = summarise(cells)
    assert [(row["power"], row["accuracy"], row["splits"]) for row in rows] == [
        (1.0, 50.0, 1),
        (2.0, 60.0, 1),
    ]
