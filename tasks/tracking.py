"""MLflow: an experiment per client, a parent run per outsourcing, nested runs per sampler, budget and use.

NaN and infinity never reach it; every run carries its privacy account and the digests of what it was made from.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.urls import url_for

from ecos_core.config import TrackingConfig
from ecos_core.errors import InputError
from ecos_core.stages.account import Account
from ecos_core.storage import Location

PARAMETER_LENGTH = 6000
DATASET_DIGEST_LENGTH = 36
CHECK_S = 5.0


def tracking_client(config: TrackingConfig) -> MlflowClient:
    """A client of the configured store; the process's own store is left alone. Raises InputError when none is
    configured."""
    return MlflowClient(tracking_uri=store_address(config))


def store_address(config: TrackingConfig) -> str:
    """The tracking URI that is configured, else the environment's. Raises InputError when there is none."""
    uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise InputError(
            "MLflow: no tracking URI; set tracking.uri or MLFLOW_TRACKING_URI (for one machine: sqlite:///mlflow.db)"
        )
    return uri


@task(name="check tracking", cache_policy=NO_CACHE)
def check_tracking(config: TrackingConfig) -> None:
    """Raises InputError, in seconds, when no store is configured or it does not answer."""
    client, uri = tracking_client(config), store_address(config)
    try:
        if uri.startswith("http"):  # by its own client it would be tried for minutes
            httpx.get(f"{uri.rstrip('/')}/health", timeout=CHECK_S).raise_for_status()
        else:
            client.get_experiment_by_name(config.experiment)
    except (httpx.HTTPError, mlflow.exceptions.MlflowException) as error:
        raise InputError(
            f"MLflow at {uri} does not answer ({type(error).__name__}); correct tracking.uri or start its server"
        ) from error


def experiment_id(client: MlflowClient, name: str, artifact_root: Path | None = None) -> str:
    """The experiment's id; made when it is new."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    location = artifact_root.absolute().as_uri() if artifact_root else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except mlflow.exceptions.MlflowException:
        existing = client.get_experiment_by_name(name)
        if existing is None:
            raise
        return str(existing.experiment_id)


@contextlib.contextmanager
def tracked_run(
    config: TrackingConfig, name: str, *, parent: str | None = None, tags: Mapping[str, str] | None = None
) -> Iterator[Run]:
    """A run that ends FINISHED, or FAILED when the block raises."""
    client = tracking_client(config)
    root = Path(os.environ["ECOS_MLFLOW_ARTIFACTS"]) if "ECOS_MLFLOW_ARTIFACTS" in os.environ else None
    experiment = experiment_id(client, config.experiment, root)
    labels = {"mlflow.runName": name, **({"mlflow.parentRunId": parent} if parent else {}), **(tags or {})}
    labels.update(way_back())
    created = client.create_run(experiment, tags=labels, run_name=name)
    run = Run(client, created.info.run_id, experiment, store_address(config))
    try:
        yield run
    except BaseException:
        client.set_terminated(run.id, "FAILED")
        raise
    client.set_terminated(run.id, "FINISHED")


def way_back() -> dict[str, str]:
    """Tags that name the Prefect run, the second as the description that MLflow's page shows; none outside of one."""
    run = runtime.flow_run.id
    address = url_for("flow-run", obj_id=run) if run else None
    if not address:
        return {}
    note = f"Made by the Prefect run [{runtime.flow_run.name}]({address})."
    return {"ecos.prefect_run": address, "mlflow.note.content": note}


class Run:
    """One open MLflow run."""

    def __init__(self, client: MlflowClient, run_id: str, experiment: str, store: str) -> None:
        self.client = client
        self.id = run_id
        self.experiment = experiment
        self.store = store

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, nested ones with dotted names."""
        flat = [Param(key, text[:PARAMETER_LENGTH]) for key, text in flatten(values).items()]
        for start in range(0, len(flat), 100):
            self.client.log_batch(self.id, params=flat[start : start + 100])

    def metrics(self, values: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics. Raises InputError on NaN or infinity: MLflow would take them silently."""
        batch = []
        for key, value in values.items():
            if not math.isfinite(value):
                raise InputError(
                    f"metric {key} is {value}: a figure that is not a number is not logged; check the run"
                )
            batch.append(Metric(metric_name(key), float(value), 0, step))
        stamped = [Metric(m.key, m.value, _now_ms(), m.step) for m in batch]
        self.client.log_batch(self.id, metrics=stamped)

    def tags(self, values: Mapping[str, str]) -> None:
        self.client.log_batch(self.id, tags=[RunTag(key, str(value)) for key, value in values.items()])

    def inputs(self, digests: Mapping[str, tuple[str, str]]) -> None:
        """Log data sets as {role: (address, digest)}."""
        entries: list[DatasetInput] = [
            DatasetInput(
                Dataset(
                    name=role,
                    digest=digest[:DATASET_DIGEST_LENGTH],
                    source_type="local",
                    source=json.dumps({"uri": address, "sha256": digest}),
                ),
                tags=[InputTag("mlflow.data.context", role)],
            )
            for role, (address, digest) in digests.items()
        ]
        self.client.log_inputs(self.id, datasets=entries)

    def folder(self, folder: Location, names: Sequence[str], under: str | None = None) -> None:
        """Copy the named files of a folder, local or remote, into the run."""
        for name in names:
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(scratch) / name
                copy.write_bytes((folder / name).read_bytes())
                self.client.log_artifact(self.id, str(copy), under)


def outside_metrics(outside: Mapping[str, Any] | None) -> dict[str, float]:
    """The share of the client outside the lake with its interval, where it was asked for and can be told."""
    if not outside or not outside["known"]:
        return {}
    return {
        "lake/outside_share": outside["share"],
        "lake/outside_share_low": outside["low"],
        "lake/outside_share_high": outside["high"],
    }


def privacy_metrics(account: Account | None) -> dict[str, float]:
    """The account as MLflow metrics; remaining only where the client states a limit, nothing where none was asked."""
    if account is None:
        return {}
    metrics = {
        "privacy/epsilon": account.epsilon,
        "privacy/epsilon_autodp": account.epsilon_autodp,
        "privacy/epsilon_release": account.epsilon_release,
        "privacy/delta": account.delta,
        "privacy/sigma": account.sigma,
    }
    return metrics if account.remaining is None else {**metrics, "privacy/remaining": account.remaining}


def metric_name(key: str) -> str:
    """What MLflow allows in a name."""
    return re.sub(r"[^\w\-./ ]", "_", key)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings to dotted names, everything to text."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def _now_ms() -> int:
    return int(time.time() * 1000)


def run_address(run: Run) -> str:
    """Where a person looks at the run: a web address for a tracking server, else its place in the store."""
    path = f"#/experiments/{run.experiment}/runs/{run.id}"
    page = os.environ.get("ECOS_MLFLOW_UI") or run.store
    return (
        f"{page.rstrip('/')}/{path}"
        if page.startswith("http")
        else f"experiment {run.experiment}, run {run.id}"
    )
