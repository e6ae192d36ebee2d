"""Compression and client labels on two drawn domains."""

import numpy as np
import pytest

from benchmarks import uses
from benchmarks.grid import Grid, ImageSet, Job, JobData
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
    grid = Grid(clients=("north",), budgets=(10, 20), seeds=(1,), clusters=4, epsilon=2.0)
    return JobData(images, Job("id+ood", "north", 1), grid)


def test_students_learn_from_the_teacher(data):
    images = data.images
    student = ImageSet(images.sample_ids, images.features[:, :6], images.labels, images.domains, "digest")
    rows = uses.compression(data, student, ("ecos", "random"))
    assert [(row["sampler"], row["budget"]) for row in rows] == [
        ("teacher", None),
        ("ecos", 10),
        ("ecos", 20),
        ("random", 10),
        ("random", 20),
    ]
    assert all(row["accuracy"] > 0.8 for row in rows)
    assert [row["epsilon"] for row in rows] == [0.0, 2.0, 2.0, 0.0, 0.0]


def test_one_release_labels_every_samplers_picks(data):
    rows = uses.client_labels(data, ("ecos", "random"))
    best = {row["sampler"]: row["label_accuracy"] for row in rows if row["budget"] == 20}
    assert best["ecos"] > 0.9
    assert {row["epsilon"] for row in rows} == {2.0}


def test_rows_average_the_seeds(data):
    cell = {"use": "client_labels", "sampler": "ecos", "budget": 10, "epsilon": 1.0, "client": "north"}
    cells = [cell | {"seed": seed, "accuracy": seed / 10, "label_accuracy": 0.5} for seed in (1, 3)]
    (row,) = uses.summarise(cells)
    assert row["accuracy_mean"] == pytest.approx(0.2)
    assert (row["seeds"], row["label_accuracy"]) == ([1, 3], 0.5)


def test_an_unknown_use_is_named(tmp_path, monkeypatch, data):
    data.images.save(tmp_path / "features.npz")
    monkeypatch.setattr(uses.pacs, "prepare", lambda *_, **__: tmp_path / "features.npz")
    with pytest.raises(InputError, match="none of compression, client_labels"):
        uses.run(tmp_path, uses=("magic",), home=tmp_path)
