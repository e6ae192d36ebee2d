"""Compression, client labels and trained cells on two drawn domains."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from benchmarks import client_labelling, compression, digits, uses
from benchmarks.grid import Grid, ImageSet, Job, JobData, planned_sigma
from benchmarks.images import PictureSet
from ecos_core.errors import InputError


@pytest.fixture(scope="module")
def data():
    """Two domains, two classes each, well apart; the student sees half of the numbers."""
    rng = np.random.default_rng(0)
    centres = np.eye(8)[[0, 1, 4, 5]]
    features = np.repeat(centres, 60, axis=0) + rng.normal(0, 0.2, (240, 8))
    ids = np.array([f"{row:064x}" for row in range(240)])
    labels = np.repeat(["a", "b", "a", "b"], 60)
    domains = np.repeat(["north", "south"], 120)
    images = ImageSet(ids, features.astype(np.float32), labels, domains, "digest")
    grid = Grid(clients=("north",), budgets=(10, 20), seeds=(1,), clusters=4, epsilon=20.0)
    return JobData(images, Job("id+ood", "north", 1), grid)


def test_students_learn_from_the_teacher(data):
    images = data.images
    student = ImageSet(images.sample_ids, images.features[:, :6], images.labels, images.domains, "digest")
    rows = compression.measure(data, student, ("ecos", "random"))
    assert [(row["sampler"], row["budget"]) for row in rows] == [
        ("teacher", None),
        ("ecos", 10),
        ("ecos", 20),
        ("random", 10),
        ("random", 20),
    ]
    assert all(row["accuracy"] > 0.6 for row in rows)  # the noise is real; half is guessing
    assert [row["epsilon"] for row in rows] == [0.0, 20.0, 20.0, 0.0, 0.0]


def test_every_way_to_label_is_compared_at_the_same_epsilons(data, monkeypatch):
    monkeypatch.setattr(client_labelling, "QUERIES", (10, 20))
    monkeypatch.setattr(client_labelling, "NEIGHBOURS", 20)
    rows = client_labelling.measure(data, ("ecos", "random"))
    assert len(rows) == 3 * 3 * 2 * 2
    best = {(row["method"], row["sampler"]): row for row in rows if row["epsilon"] == 8.0}
    assert best["histogram", "ecos"]["label_accuracy"] > 0.7
    assert best["knn", "ecos"]["label_accuracy"] > 0.7
    assert {row["budget"] for row in rows} == {10, 20}


def test_queries_and_scores_together_cost_what_one_histogram_does():
    from ecos_core.privacy.accounting import epsilon_charged
    from ecos_core.privacy.events import Adjacency, histogram_event, knn_events

    sigma, share = planned_sigma(2.0, 1e-5), client_labelling.SCORES_SHARE
    noise = client_labelling.knn_sigma(sigma, 30, 1 - share)
    labels = knn_events(1e5, noise, adjacency=Adjacency.ADD_REMOVE, gamma=1.0, queries=30)
    assert epsilon_charged([histogram_event(sigma / math.sqrt(share)), *labels], 1e-5) == pytest.approx(
        2, rel=0.02
    )


def test_rows_hold_each_client_and_the_average_over_the_seeds_they_share():
    cell = {"use": "fixmatch", "sampler": "ecos", "budget": 10, "epsilon": 1.0, "probe_accuracy": 0.5}
    cells = [
        cell | {"client": client, "seed": seed, "accuracy": accuracy}
        for client, seed, accuracy in (
            ("n", 1, 0.1),
            ("n", 3, 0.3),
            ("s", 1, 0.5),
            ("s", 3, 0.7),
            ("s", 4, 0),
        )
    ]
    rows = {row["client"]: row for row in uses.summarise(cells)}
    assert rows["n"]["accuracy_mean"] == pytest.approx(0.2)
    assert rows["average"]["accuracy_mean"] == pytest.approx(0.4)
    assert (rows["average"]["seeds"], rows["average"]["probe_accuracy"]) == ([1, 3], 0.5)


def test_a_finished_cell_is_not_measured_again(tmp_path):
    path = tmp_path / "cell.json"
    assert uses._kept(path, lambda: [{"accuracy": 0.5}]) == [{"accuracy": 0.5}]
    assert uses._kept(path, lambda: 1 / 0) == [{"accuracy": 0.5}]


def test_an_unknown_use_is_named():
    with pytest.raises(
        InputError, match="magic is none of the uses linear_probe, compression, client_labels"
    ):
        digits.run(uses=("magic",))


def test_uses_are_measured_beside_the_table(tmp_path, monkeypatch):
    """Drawn pictures of two domains through the command's own function: the table, then the students' rows."""
    monkeypatch.setattr(digits, "pictures", lambda _: PictureSet("drawn", lambda _: drawn_pictures()))
    options = {"clients": ("dark",), "samplers": ("ecos", "ecos_noise_free", "random"), "budgets": (8, 12)}
    found = digits.run(
        uses=("compression", "linear_probe"), **options, clusters=4, epsilon=20.0, image_size=64, quick=True,
        home=tmp_path, workers=1,
    )  # fmt: skip
    rows = found["rows"]
    assert {row["sampler"] for row in rows if "use" not in row} >= {"ecos", "ecos_noise_free", "random"}
    students = [row for row in rows if row.get("use") == "compression"]
    assert {row["sampler"] for row in students} == {"teacher", "ecos", "random"}
    assert "### compression" in found["text"] and "ECOS without noise" in found["text"]
    written = (tmp_path / "bench" / "digits" / "compression.md").read_text()
    assert "| picks of | budget | epsilon | dark | average |" in written and "| ECOS | 12 | 20 |" in written
    assert r"ECOS & 12 & 20 & " in (tmp_path / "bench" / "digits" / "compression.tex").read_text()
    kept = json.loads((tmp_path / "bench" / "digits" / "compression.json").read_text())
    assert kept["rows"] == students and kept["costs"]


def drawn_pictures():
    """(domain, class, PNG): squares that are wide or high, on a dark or a bright ground."""
    rng = np.random.default_rng(0)
    for domain, ground in (("dark", 40), ("bright", 200)):
        for label in ("high", "wide"):
            for _ in range(20):
                pixels = np.clip(rng.normal(ground, 10, (64, 64, 3)), 0, 255).astype(np.uint8)
                pixels[
                    (slice(8, 56), slice(28, 36)) if label == "high" else (slice(28, 36), slice(8, 56))
                ] = 120
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "PNG")
                yield domain, label, file.getvalue()
