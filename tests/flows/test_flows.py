"""The flows on a tiny real lake, with a real client process, a real Prefect server and MLflow on SQLite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from ecos_cli.results_text import results_table
from ecos_core.client.home import open_home
from ecos_core.client.kernels.nearest import nearest_centroids
from ecos_core.clustering.clustering import Clustering
from ecos_core.config import (
    HandOffConfig,
    IndexConfig,
    OutsourceConfig,
    SampleConfig,
    TrackingConfig,
    TrainingRun,
)
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake
from ecos_core.sampling.config import SamplerConfig
from ecos_core.stages.selecting import Choice, Selecting, publish_latest
from ecos_core.storage import Location
from tests.flows.prefect_support import all_that_the_server_holds, artifacts_of, runs_of
from tests.tiny_support import (
    CLUSTERS,
    IMAGE_SIZE,
    ServedClient,
    TinyImages,
    change_policy,
    client_process,
)

pytestmark = pytest.mark.integration


def sampling(
    lake: Path, client: ServedClient, out: str, tracking: TrackingConfig, /, **more: Any
) -> SampleConfig:
    values = {
        "lake": str(lake), "out": out, "budget": 30, "tracking": tracking, "privacy": {"epsilon": 0.35},
        "client": {"url": client.url, "token_file": str(client.token_file)},
    }  # fmt: skip
    return SampleConfig.model_validate({**values, **more})


@pytest.fixture(scope="module")
def sampled(
    prefect_url: str, tiny_lake: Path, client: ServedClient, tracking: TrackingConfig, tmp_path_factory: Any
) -> dict[str, Any]:
    """A run of `sample-subset`, looked at by several tests."""
    from flows.sample_subset import sample_subset

    out = str(tmp_path_factory.mktemp("sampled"))
    result = sample_subset(sampling(tiny_lake, client, out, tracking))
    return {**result, "out": out, "run": runs_of(prefect_url, "sample-subset")[0]["id"]}


def test_a_sampling_leaves_its_picks_its_receipt_and_its_account(
    sampled: dict[str, Any], tracking: TrackingConfig, client: ServedClient
) -> None:
    assert sampled["selected"] == 30
    assert (Path(sampled["selection"]) / "selection.parquet").exists()
    store = mlflow.MlflowClient(tracking.uri)
    experiment = store.get_experiment_by_name("tiny")
    assert experiment is not None
    run = store.search_runs([experiment.experiment_id], "tags.`ecos.kind` = 'selection'")[0]
    told = run.data.metrics
    assert told["privacy/epsilon_release"] <= 0.35
    assert told["privacy/epsilon"] == pytest.approx(client.spent["epsilon"])
    assert abs(told["privacy/epsilon_autodp"] / told["privacy/epsilon"] - 1) < 0.01
    assert told["privacy/delta"] == 1e-5 and told["selected"] == 30
    assert [entry.dataset.digest for entry in run.inputs.dataset_inputs] == [sampled["digest"][:36]]
    assert run.data.params["client.token_file"].endswith("token")
    names = {found.path for found in store.list_artifacts(run.info.run_id, "receipt")}
    assert names == {"receipt/manifest.json"}
    assert f"/runs/flow-run/{sampled['run']})" in run.data.tags["mlflow.note.content"]


def test_the_run_s_page_shows_scores_quotas_montage_account_and_picks(
    prefect_url: str, sampled: dict[str, Any]
) -> None:
    shown = artifacts_of(prefect_url, sampled["run"])
    assert {"scores", "quotas", "montage", "privacy-account", "picks"} <= set(shown)
    told = shown["what-happened"]
    assert told["task_run_id"] is None, "it stands above what the tasks show"
    assert told["description"].startswith("30 images chosen at epsilon 0.3")
    assert "**30 images**" in told["data"] and " of 50 in all" in told["data"]
    assert shown["scores"]["data"].startswith("data:image/png;base64,")
    assert 0 < len(shown["montage"]["data"]) < 1_000_000
    account = {row["quantity"]: row["value"] for row in json.loads(shown["privacy-account"]["data"])}
    assert float(account["epsilon of this release"]) <= 0.35


def test_nothing_private_reaches_the_server(
    prefect_url: str,
    sampled: dict[str, Any],
    client: ServedClient,
    tiny_images: TinyImages,
    tiny_lake: Path,
) -> None:
    held = all_that_the_server_holds(prefect_url)
    assert sampled["run"] in held
    assert client.token_file.read_text().strip() not in held
    assert not [file.name for file in tiny_images.private.rglob("*.png") if file.stem in held]
    clustering = Clustering.open(Lake.open(str(tiny_lake)), sampled["clustering"])
    features = open_home(client.home).features(clustering.fingerprint).features
    nearest = np.concatenate(list(nearest_centroids(features, clustering.centroids)))
    clean = np.bincount(nearest, minlength=CLUSTERS).tolist()
    assert str(clean) not in held and json.dumps(clean, separators=(",", ":")) not in held


def test_a_second_sampling_costs_nothing_and_chooses_the_same(
    sampled: dict[str, Any], tiny_lake: Path, client: ServedClient, tracking: TrackingConfig
) -> None:
    from flows.sample_subset import sample_subset

    spent = client.spent
    again = sample_subset(sampling(tiny_lake, client, sampled["out"], tracking))
    assert again["digest"] == sampled["digest"] and client.spent == spent


def test_a_training_on_the_latest_selection(
    sampled: dict[str, Any], tiny_lake: Path, tiny_images: TinyImages, tracking: TrackingConfig, out: str
) -> None:
    from flows.train_downstream import train_downstream

    config = TrainingRun.model_validate(
        {
            "lake": str(tiny_lake), "selection": f"{sampled['out']}/latest", "out": out, "tracking": tracking,
            "test": str(tiny_images.test), "training": {"seeds": [1]},
        }
    )  # fmt: skip
    trained = train_downstream(config)
    assert 0.1 < trained["metrics"]["accuracy_mean"] <= 1
    store = mlflow.MlflowClient(tracking.uri)
    experiment = store.get_experiment_by_name("tiny")
    assert experiment is not None
    run = store.search_runs([experiment.experiment_id], "tags.`ecos.kind` = 'training'")[0]
    assert run.data.metrics["accuracy_mean"] == trained["metrics"]["accuracy_mean"]
    assert {found.path for found in store.list_artifacts(run.info.run_id)} >= {
        "model",
        "training",
        "evaluation",
    }
    assert {entry.dataset.name for entry in run.inputs.dataset_inputs} >= {"lake", "selection", "test"}
    champion = store.get_model_version_by_alias("tiny-linear_probe", "champion")
    assert champion.run_id == run.info.run_id


def test_a_model_is_evaluated_on_the_client_s_own_data_and_charged(
    sampled: dict[str, Any], tiny_lake: Path, tiny_images: TinyImages, tracking: TrackingConfig, out: str,
    client_home: Path, tmp_path: Path,
) -> None:  # fmt: skip
    from flows.train_downstream import train_downstream

    home = tmp_path / "home"
    shutil.copytree(client_home, home)
    change_policy(home, operations=["evaluate"])
    with client_process(home) as client:
        values = {
            "lake": str(tiny_lake), "selection": f"{sampled['out']}/latest", "out": out, "tracking": tracking,
            "client": {"url": client.url, "token_file": str(client.token_file)}, "evaluation": {"epsilon": 3},
        }  # fmt: skip
        trained = train_downstream(TrainingRun.model_validate(values))
        told = trained["evaluation"]
        assert 0.1 < told["accuracy"] <= 1 and 0 < told["error"] < 0.2
        assert told["privacy"]["epsilon"] == pytest.approx(client.spent["epsilon"])
        spent = client.spent
        train_downstream(TrainingRun.model_validate(values))
        assert client.spent == spent, "a repeat is free"
        with pytest.raises(InputError, match="use linear_probe"):
            train_downstream(TrainingRun.model_validate({**values, "training": {"use": "fine_tune"}}))
    store = mlflow.MlflowClient(tracking.uri)
    experiment = store.get_experiment_by_name("tiny")
    assert experiment is not None
    run = store.search_runs([experiment.experiment_id], "tags.`ecos.kind` = 'training'")[0]
    assert run.data.metrics["client/accuracy"] == told["accuracy"]
    assert run.data.metrics["privacy/epsilon_autodp"] > 0 and "accuracy_mean" not in run.data.metrics


def test_an_index_run_adds_what_is_new_and_keeps_the_clusters(
    prefect_url: str, tiny_lake: Path, tiny_images: TinyImages, tmp_path: Path
) -> None:
    from flows.index_lake import index_lake

    lake = tmp_path / "lake"
    shutil.copytree(tiny_lake, lake, ignore=shutil.ignore_patterns("receipts"))
    before = Clustering.open(Lake.open(str(lake)), None)
    config = {
        "lake": str(lake), "sources": [{"path": str(tiny_images.test)}, {"path": str(tiny_images.lake)}],
        "extractor": {"image_size": IMAGE_SIZE}, "clusters": CLUSTERS,
    }  # fmt: skip
    result = index_lake(IndexConfig.model_validate(config))
    new = len(list(tiny_images.test.rglob("*.png")))
    assert result["ingest"]["added"] == new and result["ingest"]["duplicates"] == before.rows
    assert result["images"] == before.rows + new
    assert np.array_equal(Clustering.open(Lake.open(str(lake)), None).centroids, before.centroids)
    run = runs_of(prefect_url, "index-lake")[0]
    assert {"ingest", "clusters", "cluster-montage"} <= artifacts_of(prefect_url, run["id"]).keys()


def test_each_selection_is_handed_out_into_a_folder_of_its_own(
    prefect_url: str, tiny_lake: Path, tmp_path: Path
) -> None:
    from flows.hand_off import hand_off

    def published(seed: int) -> str:
        lake, picks = Lake.open(str(tiny_lake)), Location.of(tmp_path / "picks")
        choice = Choice(30, "random", SamplerConfig(), seed)
        folder = Selecting(lake, Clustering.open(lake), choice, picks, named=True).select(None).folder
        publish_latest(picks, folder)
        return folder.name

    values = {
        "lake": str(tiny_lake), "selection": str(tmp_path / "picks" / "latest"), "format": "csv",
        "out": str(tmp_path / "handed" / "{selection}"), "labels": str(tmp_path / "labels"),
        "label_set": ["yes", "no"],
    }  # fmt: skip
    first = published(1)
    given = hand_off(HandOffConfig.model_validate(values))
    assert given["handoff"] == str(tmp_path / "handed" / first) and given["open"] == 30
    assert hand_off(HandOffConfig.model_validate(values)) == given, (
        "the same again goes on in the same folder"
    )
    second = published(2)
    again = hand_off(HandOffConfig.model_validate(values))
    assert sorted(path.name for path in (tmp_path / "handed").iterdir()) == sorted([first, second])
    kept = runs_of(prefect_url, "hand-off")[0]["parameters"]["config"]
    assert (kept["selection"], kept["out"]) == (again["selection"], again["handoff"]), "a resumed run goes on"
    with pytest.raises(InputError, match="another selection"):
        hand_off(HandOffConfig.model_validate({**values, "out": given["handoff"]}))


def test_an_outsourcing_compares_samplers_in_nested_runs_and_a_report(
    prefect_url: str, tiny_lake: Path, tiny_images: TinyImages, client: ServedClient, out: str, tmp_path: Path,
    tracking: TrackingConfig,
) -> None:  # fmt: skip
    from flows.outsource import outsource

    lake = tmp_path / "lake"
    shutil.copytree(tiny_lake, lake, ignore=shutil.ignore_patterns("receipts"))
    config = {
        "index": {"lake": str(lake), "extractor": {"image_size": IMAGE_SIZE}, "clusters": CLUSTERS},
        "client": {"name": "clinic", "url": client.url, "token_file": str(client.token_file)},
        "out": out, "test": str(tiny_images.test), "budgets": [20, 30], "samplers": ["ecos", "random"],
        "seeds": [1, 2], "privacy": {"epsilon": 0.4}, "training": {"seeds": [1]},
        "tracking": {"uri": tracking.uri, "experiment": "clinic"},
    }  # fmt: skip
    before = client.spent["events"]
    result = outsource(OutsourceConfig.model_validate(config))
    assert client.spent["events"] == before + 2, "one release a seed"
    newest = Clustering.open(Lake.open(str(tiny_lake))).id
    assert Clustering.open(Lake.open(str(lake))).id == newest, "a comparison changes nothing of the lake's"
    assert len([one for one in (Path(out) / "clusters").iterdir() if (one / "manifest.json").exists()]) == 2
    assert [(row["sampler"], row["budget"]) for row in result["rows"]] == [
        ("ecos", 20), ("random", 20), ("ecos", 30), ("random", 30),
    ]  # fmt: skip
    assert [row["epsilon"] is not None for row in result["rows"]] == [True, False, True, False]
    page = Path(result["report"]).read_text()
    assert "clinic" in page and 'src="http' not in page
    store = mlflow.MlflowClient(tracking.uri)
    nested = store.search_runs(
        [result["mlflow_experiment"]], f"tags.`mlflow.parentRunId` = '{result['mlflow_run']}'"
    )
    assert sorted(run.info.run_name for run in nested) == ["ecos 20", "ecos 30", "random 20", "random 30"]
    parent = store.get_run(result["mlflow_run"])
    assert parent.data.metrics["privacy/epsilon"] == pytest.approx(client.spent["epsilon"])
    for run in nested:
        assert len(store.get_metric_history(run.info.run_id, "accuracy")) == 2
        assert ("privacy/epsilon_release" in run.data.metrics) == run.info.run_name.startswith("ecos")
        assert len(run.inputs.dataset_inputs) == 2
        assert len(store.get_metric_history(run.info.run_id, "proximity/kl_reduction")) == 2
        assert {"accuracy_low", "seed1/calibration_error", "seed2/macro_accuracy"} <= set(run.data.metrics)
    (best,) = [run for run in nested if "ecos.champion" in run.data.tags]
    assert best.data.metrics["accuracy_mean"] == max(run.data.metrics["accuracy_mean"] for run in nested)
    assert best.data.tags["ecos.champion"] == "true"
    champion = store.get_model_version_by_alias("clinic-linear_probe", "champion")
    assert champion.run_id == best.info.run_id
    shown = artifacts_of(prefect_url, runs_of(prefect_url, "outsource")[0]["id"])
    assert {"results", "privacy"} <= set(shown) and "use" not in shown["results"]["data"]

    spent = client.spent
    config |= {
        "budgets": [20],
        "seeds": [1],
        "samplers": ["ecos"],
        "training": {"epochs": 1, "image_size": IMAGE_SIZE},
    }
    for wrong, message in (
        ({"test": "/nowhere"}, "no such folder"),
        ({"budgets": [10_000]}, "the lake holds 239"),
    ):
        with pytest.raises(InputError, match=message):
            outsource(OutsourceConfig.model_validate({**config, **wrong, "privacy": {"epsilon": 0.3}}))
    assert client.spent == spent, "refused before anything is asked"
    several = OutsourceConfig.model_validate({**config, "uses": ["linear_probe", "fine_tune"]})
    result = outsource(several)
    assert client.spent == spent, "the same answers serve every use"
    assert [(row["use"], row["sampler"]) for row in result["rows"]] == [
        ("linear_probe", "ecos"), ("fine_tune", "ecos"),
    ]  # fmt: skip
    nested = store.search_runs(
        [result["mlflow_experiment"]], f"tags.`mlflow.parentRunId` = '{result['mlflow_run']}'"
    )
    assert {run.info.run_name: run.data.tags["ecos.use"] for run in nested} == {
        f"ecos 20 {use}": use for use in ("linear_probe", "fine_tune")
    }
    first, second = ([entry.dataset.digest for entry in run.inputs.dataset_inputs] for run in nested)
    assert first == second, "one selection, whatever the use"
    assert len([run for run in nested if "ecos.champion" in run.data.tags]) == 2, "the best of each use"
    assert "Accuracy by sampler, fine-tuning" in Path(result["report"]).read_text()
    assert "fine-tuning" in results_table(result["rows"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"budget": 10_000}, "the lake holds 239"),
        ({"client": None}, "client"),
        ({"out": "/proc/x"}, "/proc/x"),
    ],
)
def test_what_cannot_be_done_fails_before_anything_is_spent(
    more: dict[str, Any], message: str, prefect_url: str, tiny_lake: Path, client: ServedClient, out: str,
    tracking: TrackingConfig,
) -> None:  # fmt: skip
    from flows.sample_subset import sample_subset

    before = client.spent
    values = {"privacy": {"epsilon": 0.111}, **more}
    with pytest.raises(InputError, match=message):
        sample_subset(sampling(tiny_lake, client, out, tracking, **values))
    assert client.spent == before
