"""The deployment, by hand: PostgreSQL behind Prefect and MLflow, an S3 store with the lake, workers, a client;
`ecos deploy`, scheduled runs, restart, backup, restore."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecos_cli.local_services import Service, free_port
from tests.flows.prefect_support import wait_for
from tests.integration import topology
from tests.integration.deployed import ENDED, merge, once
from tests.integration.topology import Database
from tests.tiny_support import CLUSTERS, IMAGE_SIZE, ServedClient, TinyImages

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

LAKE = f"s3://{topology.BUCKET}/lake"


@dataclass
class Stack:
    """What runs. ``prefect`` may be stopped and started again."""

    folder: Path
    database: Database
    store: Service
    mlflow: Service
    port: int

    @property
    def auth(self) -> str:
        return (self.database.secrets / "prefect_auth").read_text()

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **topology.store_environment(self.store, self.database.secrets),
            "PREFECT_API_URL": self.api,
            "PREFECT_API_AUTH_STRING_FILE": str(self.database.secrets / "prefect_auth"),
            "MLFLOW_TRACKING_URI": self.mlflow.url,
        }

    def ask(self, method: str, path: str, **options: Any) -> Any:
        user, password = self.auth.split(":")
        answer = httpx.request(method, self.api + path, auth=(user, password), timeout=30, **options)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if topology.postgres_bin() is None and os.environ.get("CI") != "true":
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("deployment")
    secrets = topology.make_secrets(folder / "secrets")
    with ExitStack() as on:
        reachable = on.enter_context(tempfile.TemporaryDirectory(prefix="ecos-postgres-"))
        Path(reachable).chmod(0o755)
        database = on.enter_context(topology.postgres(Path(reachable) / "server", secrets))
        store = on.enter_context(topology.object_store(folder))
        environment = {**os.environ, **topology.store_environment(store, secrets)}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        for _ in range(2):  # a second time changes nothing
            subprocess.run([topology.DEPLOYMENTS / "run.sh", "make-bucket"], check=True, env=environment)
        mlflow = on.enter_context(topology.mlflow_server(database, store, folder, free_port()))
        yield Stack(folder, database, store, mlflow, free_port())


def deploy(stack: Stack, client: ServedClient) -> dict[str, str]:
    """`ecos deploy` with everything in the object store; each deployment's id."""
    environment = {**os.environ, **topology.programs(stack.folder / "home-deploy"), **stack.environment}
    done = subprocess.run(
        [
            topology.DEPLOYMENTS / "run.sh", "deploy", "--lake", LAKE, "--client", client.url, "--token-file",
            client.token_file, "--out", f"s3://{topology.BUCKET}/runs", "--tracking", stack.mlflow.url, "--json",
        ],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {one["name"]: one["id"] for one in stack.ask("POST", "/deployments/filter", json={})}


def worker(stack: Stack, pool: str) -> AbstractContextManager[Service]:
    port = free_port()
    folder = stack.folder / pool
    folder.mkdir(exist_ok=True)
    return topology.service(
        "worker", pool, url=f"http://127.0.0.1:{port}", health="/health", folder=folder,
        environment={**stack.environment, "PREFECT_WORKER_WEBSERVER_PORT": str(port)},
    )  # fmt: skip


def by_schedule(stack: Stack, deployment: str, changes: dict[str, Any]) -> str:
    """The id of a run that the server starts by itself, once it is complete."""
    parameters = stack.ask("GET", f"/deployments/{deployment}")["parameters"]
    merge(parameters["config"], changes)
    soon = datetime.now(UTC) + timedelta(seconds=15)  # the server looks every five for what is due
    schedules = [once(soon, "once", parameters)]
    stack.ask("PATCH", f"/deployments/{deployment}", json={"schedules": schedules})
    wanted = {
        "deployments": {"id": {"any_": [deployment]}},
        "flow_runs": {"expected_start_time": {"before_": (soon + timedelta(seconds=1)).isoformat()}},
    }

    def ended() -> dict[str, Any] | None:
        found = stack.ask("POST", "/flow_runs/filter", json=wanted)
        return found[0] if found and found[0]["state"]["type"] in ENDED else None

    run = wait_for(ended, 300)
    told = "\n".join(log.read_text()[-2000:] for log in stack.folder.glob("*/worker.log"))
    assert run["state"]["type"] == "COMPLETED" and run["auto_scheduled"], f"{run['state']}\n{told}"
    return str(run["id"])


def test_a_night_and_a_week_by_schedule_survive_a_killed_server_and_a_restore(
    stack: Stack,
    tiny_images: TinyImages,
    client: ServedClient,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """The lake, the selection and MLflow's artefacts in the object store, the rest in PostgreSQL."""
    before = client.spent["events"]
    with topology.prefect_server(stack.database, stack.folder, stack.port) as server:
        refused = httpx.post(f"{stack.api}/flows/filter", json={}, timeout=30)
        assert refused.status_code == 401, "it must ask for a password"
        page = httpx.get(f"http://127.0.0.1:{stack.port}/", timeout=30)
        assert page.is_success and "<html" in page.text
        assert list(stack.folder.rglob("ui/v*/index.html")), (
            "the pages are written where the service may write"
        )
        assert httpx.get(f"{stack.api}/ready", auth=tuple(stack.auth.split(":")), timeout=30).is_success
        began = time.monotonic()
        deployments = deploy(stack, client)
        with worker(stack, "ecos-gpu"), worker(stack, "ecos-cpu"):
            source = {"path": str(tiny_images.lake), "licence": "CC0-1.0"}
            small = {"sources": [source], "clusters": CLUSTERS, "extractor": {"image_size": IMAGE_SIZE}}
            night = by_schedule(stack, deployments["nightly"], small)
            week = by_schedule(stack, deployments["weekly"], {"budget": 20, "privacy": {"epsilon": 0.19}})
        record_testsuite_property(
            "seconds from ecos deploy to the end of both runs", round(time.monotonic() - began)
        )
        assert client.spent["events"] == before + 1
        assert {"ingest", "index"} <= artifacts(stack, night)
        assert {"scores", "quotas", "montage", "picks", "privacy-account", "mlflow-run"} <= artifacts(
            stack, week
        )
        assert kept_in_the_object_store(stack) == 20
        os.killpg(server.process.pid, 9)
    with topology.prefect_server(stack.database, stack.folder, stack.port):
        assert stack.ask("GET", f"/flow_runs/{week}")["state"]["type"] == "COMPLETED"
    backup = stack.database.run(topology.DEPLOYMENTS / "backup.sh", stack.folder / "backups").strip()
    stack.database.run("psql", "-d", "prefect", "-c", "DELETE FROM flow_run")
    stack.database.run("psql", "-d", "mlflow", "-c", "UPDATE metrics SET value = -1")
    stack.database.run(topology.DEPLOYMENTS / "restore.sh", backup)
    assert logged(stack).data.metrics["selected"] == 20
    with topology.prefect_server(stack.database, stack.folder, stack.port):
        assert stack.ask("GET", f"/flow_runs/{week}")["state"]["type"] == "COMPLETED"


def artifacts(stack: Stack, run: str) -> set[str]:
    wanted = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    return {one["key"] for one in stack.ask("POST", "/artifacts/filter", json=wanted)}


def test_passwords_rotate(stack: Stack) -> None:
    secret = stack.database.secrets / "prefect_database_password"
    old = secret.read_text()
    rotate = [topology.DEPLOYMENTS / "make_secrets.sh", "--rotate", secret.name, stack.database.secrets]
    subprocess.run(rotate, check=True, capture_output=True)
    assert secret.read_text() != old
    assert oct(secret.stat().st_mode & 0o777) == "0o600"
    stack.database.run(topology.DEPLOYMENTS / "postgres" / "databases.sh")
    assert asyncio.run(_can_log_in(stack, secret.read_text()))
    assert not asyncio.run(_can_log_in(stack, old))


def test_databases_are_utf8_whatever_the_cluster(stack: Stack) -> None:
    asked = "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname IN ('prefect', 'mlflow')"
    assert stack.database.run("psql", "-d", "postgres", "-tAc", asked).split() == ["UTF8", "UTF8"]


async def _can_log_in(stack: Stack, password: str) -> bool:
    import asyncpg

    try:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=stack.database.port, user="prefect", database="prefect", password=password
        )
    except asyncpg.InvalidPasswordError:
        return False
    await connection.close()
    return True


def logged(stack: Stack) -> Any:
    """The MLflow run of the week's selection."""
    import mlflow

    tracked = mlflow.MlflowClient(stack.mlflow.url)
    experiment = tracked.get_experiment_by_name("ecos")
    assert experiment is not None
    return tracked.search_runs([experiment.experiment_id])[0]


def kept_in_the_object_store(stack: Stack) -> int:
    """Images of the selection, read back through MLflow; its files, the lake's and the runs' are seen in the store."""
    import boto3
    import mlflow

    store = boto3.client(
        "s3", endpoint_url=stack.store.url, aws_access_key_id="ecos", aws_secret_access_key="x",
        region_name="us-east-1",
    )  # fmt: skip
    keys = [item["Key"] for item in store.list_objects_v2(Bucket=topology.BUCKET)["Contents"]]
    for folder, name in {"mlflow": "manifest.json", "lake": "manifest.json", "runs": "LATEST"}.items():
        assert any(key.startswith(f"{folder}/") and key.endswith(name) for key in keys), f"{folder}/…/{name}"
    kept = mlflow.MlflowClient(stack.mlflow.url)
    manifest = kept.download_artifacts(logged(stack).info.run_id, "selection/manifest.json")
    return int(json.loads(Path(manifest).read_text())["summary"]["samples"])


@pytest.mark.parametrize("name", ["", "unknown", "prefect-server", "worker"])
def test_the_start_script_says_what_is_missing(name: str) -> None:
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [topology.DEPLOYMENTS / "run.sh", name], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
