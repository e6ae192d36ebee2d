"""The speed benchmarks run at a small size and their peers agree with us."""

from __future__ import annotations

from benchmarks import assign, kmeans, pipeline


def test_assignment_agrees_with_its_peers() -> None:
    rows = assign.run(rows=2_000, dim=16, clusters=20, repeats=1)
    assert [row["peer"] for row in rows][1:] == [
        "faiss.IndexFlatL2",
        "faiss.IndexFlatL2",
        "sklearn pairwise argmin",
    ]
    assert all(row["same"] for row in rows)


def test_kmeans_is_as_good_as_its_peers() -> None:
    rows = kmeans.run(rows=2_000, dim=8, clusters=10, iterations=20)
    assert len(rows) == 3
    assert rows[0]["same"]


def test_pipeline_reports_its_stages_and_growth() -> None:
    rows = pipeline.run(rows=400, dim=8, clusters=5)
    assert [row["name"] for row in rows][-2] == "exponent of growth"
    assert all(row["choose_s"] > 0 for row in rows[:4])
