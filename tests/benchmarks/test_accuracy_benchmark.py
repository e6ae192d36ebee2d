"""The accuracy grid on a small drawn world: honest splits, resume, tables, tracking, a clear word without
PACS.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import pacs
from benchmarks.accuracy import make_grid, run_table
from benchmarks.accuracy_tables import latex, markdown, rows_of
from benchmarks.grid import Grid, ImageSet, Job, JobData, paper_sigma, planned_sigma, run_sampler
from benchmarks.runner import run_grid
from ecos_core.errors import InputError

DOMAINS = ("north", "south")
SAMPLERS = ("ecos", "ecos_paper", "ecos_noise_free", "random", "k_center", "oracle", "whole_lake", "local")


@pytest.fixture(scope="module")
def images():
    """Two domains far apart, three classes in each, every class two bumps of its own."""
    rng = np.random.default_rng(0)
    features, labels, domains = [], [], []
    for place, domain in enumerate(DOMAINS):
        for label in range(3):
            centre = np.zeros(16)
            centre[place * 8 + label] = centre[15 - place * 8 - label] = 2
            features.append(centre + rng.normal(0, 0.6, (60, 16)))
            labels += [f"class {label}"] * 60
            domains += [domain] * 60
    stacked = np.concatenate(features).astype(np.float32)
    stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
    ids = np.array([f"{row:064x}" for row in range(len(stacked))])
    return ImageSet(ids, stacked, np.array(labels), np.array(domains), "digest")


@pytest.fixture(scope="module")
def grid():
    return Grid(
        clients=DOMAINS, samplers=SAMPLERS, budgets=(10, 30), seeds=(1, 2), clusters=6, draws=2, epsilon=1.0
    )


def test_client_test_and_lake_are_apart_and_the_ood_lake_has_no_image_of_the_client(images, grid):
    inside, outside = (JobData(images, Job(pool, "north", 1), grid) for pool in ("id+ood", "ood"))
    assert not set(inside.client) & set(inside.test)
    assert not (set(inside.client) | set(inside.test)) & set(inside.lake)
    assert (len(inside.client), len(inside.test), len(inside.lake)) == (72, 36, 72 + 180)
    assert set(images.domains[outside.lake]) == {"south"}
    assert np.array_equal(inside.test, outside.test)


def test_the_noise_is_that_of_the_accountants():
    """Method section 3: sigma 6.12 and, in the paper's accounting with gamma 0.8, sigma 10."""
    assert planned_sigma(0.582, 1e-5) == pytest.approx(6.12, rel=0.005)
    assert paper_sigma(0.5821, 1e-5) == pytest.approx(10.0, rel=0.001)


def test_only_the_noisy_are_averaged_over_draws_and_the_oracle_needs_a_domain(images, grid):
    data = JobData(images, Job("id+ood", "north", 1), grid)
    assert [len(cell.accuracies) for cell in run_sampler(data, "ecos")] == [2, 2]
    assert [len(cell.accuracies) for cell in run_sampler(data, "random")] == [1, 1]
    assert run_sampler(JobData(images, Job("ood", "north", 1), grid), "oracle") == []
    (cell,) = run_sampler(data, "local")
    assert (cell.budget, cell.epsilon) == (72, None)


def test_a_second_run_measures_nothing_again(images, grid, tmp_path, monkeypatch):
    images.save(tmp_path / "features.npz")
    first = run_grid(tmp_path / "features.npz", grid, tmp_path / "cells")
    monkeypatch.setattr("benchmarks.runner.run_job", lambda *_: pytest.fail("measured again"))
    assert run_grid(tmp_path / "features.npz", grid, tmp_path / "cells") == first
    with pytest.raises(InputError, match="not in the data; it has north, south"):
        run_grid(
            tmp_path / "features.npz", grid.model_copy(update={"clients": ("west",)}), tmp_path / "cells"
        )


def test_the_table_the_files_and_the_nested_runs(images, grid, tmp_path):
    from mlflow.tracking import MlflowClient

    images.save(tmp_path / "features.npz")
    small = grid.model_copy(update={"samplers": ("ecos", "random"), "pools": ("id+ood",)})
    result = run_table(
        "drawn",
        tmp_path / "features.npz",
        small,
        home=tmp_path,
        out=tmp_path / "out",
        mlflow_uri="",
        workers=1,
    )
    assert len(result["rows"]) == 2 * 2 * 3  # samplers, budgets, two clients and their average
    mean = {(row["sampler"], row["budget"]): row for row in result["rows"] if row["client"] == "average"}
    assert mean["ecos", 30]["accuracy_mean"] > mean["random", 30]["accuracy_mean"] - 0.05
    assert mean["ecos", 30]["epsilon"] == 1.0
    assert mean["random", 30]["epsilon"] == 0.0
    stored = json.loads(Path(result["results"]).read_text())
    assert stored["rows"] == json.loads(json.dumps(result["rows"]))
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".tex", ".svg"}
    client = MlflowClient(result["mlflow_uri"])
    experiment = client.get_experiment_by_name("bench-drawn")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    assert len(runs) == 1 + len(result["rows"])
    assert any(run.data.metrics.get("privacy/epsilon") == 1.0 for run in runs)


def test_rows_average_over_clients_before_the_spread_over_seeds(images, grid):
    from benchmarks.grid import Cell

    two = grid.model_copy(update={"samplers": ("random",), "pools": ("ood",), "budgets": (10,)})
    accuracies = {("north", 1): 0.2, ("south", 1): 0.4, ("north", 2): 0.4, ("south", 2): 0.6}
    cells = [Cell("ood", c, s, "random", 10, 0.0, None, (a,)) for (c, s), a in accuracies.items()]
    average = rows_of(cells, two)[-1]
    assert average["accuracy_mean"] == pytest.approx(0.4)
    assert average["accuracy_std"] == pytest.approx(np.std([0.3, 0.5], ddof=1))
    assert "| random | 10 | 0 | 30.0 ± 14.1 | 50.0 ± 14.1 | 40.0 ± 14.1 |" in markdown(
        rows_of(cells, two), two
    )
    assert r"random & 10 & 0 & 30.0 $\pm$ 14.1" in latex(rows_of(cells, two), two)


def test_without_pacs_it_says_where_to_get_it(tmp_path):
    with pytest.raises(InputError, match="authors"):
        pacs.run(tmp_path)


def test_a_bad_option_is_named():
    with pytest.raises(InputError, match="samplers"):
        make_grid(clients=DOMAINS, samplers=("best",))
    with pytest.raises(InputError, match="budgets"):
        make_grid(clients=DOMAINS, budgets=(0,))
