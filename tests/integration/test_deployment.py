"""The deployment, by hand: PostgreSQL behind Prefect and MLflow, an S3 store, a worker; restart, backup,
restore."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecos_cli.local_services import Service, free_port
from tests.integration import topology
from tests.integration.topology import Database

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

FLOW = """
import mlflow
from prefect import flow

@flow(name="probe")
def probe(number: int = 1):
    with mlflow.start_run(run_name="probe") as run:
        mlflow.log_metric("number", number)
        mlflow.log_text("kept in the object store", "note.txt")
    return run.info.run_id
"""


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


def run_flow(stack: Stack, folder: Path) -> str:
    """Deploy a flow to a pool with a schedule of seconds, let a worker run it, and return the flow run's
    id."""
    (folder / "probe.py").write_text(FLOW)
    pool = {"name": "ecos-cpu", "type": "process", "base_job_template": _process_template()}
    if not any(found["name"] == "ecos-cpu" for found in stack.ask("POST", "/work_pools/filter", json={})):
        stack.ask("POST", "/work_pools/", json=pool)
    flow = stack.ask("POST", "/flows/", json={"name": "probe"})
    schedule = {"schedule": {"interval": 5.0, "anchor_date": "2026-01-01T00:00:00Z"}, "active": True}
    deployment = {
        "name": "every few seconds", "flow_id": flow["id"], "work_pool_name": "ecos-cpu",
        "entrypoint": "probe.py:probe", "path": str(folder),
        "parameters": {"number": 7}, "schedules": [schedule],
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
        "enforce_parameter_schema": False,
    }  # fmt: skip
    made = stack.ask("POST", "/deployments/", json=deployment)
    port = free_port()
    worker = topology.service(
        "worker", "ecos-cpu", url=f"http://127.0.0.1:{port}", health="/health", folder=stack.folder,
        environment={**stack.environment, "PREFECT_WORKER_WEBSERVER_PORT": str(port)},
    )  # fmt: skip
    with worker:
        wanted = {
            "deployments": {"id": {"any_": [made["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        }
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            done = stack.ask("POST", "/flow_runs/filter", json=wanted)
            if done:
                stack.ask("PATCH", f"/deployments/{made['id']}", json={"paused": True})
                assert done[0]["auto_scheduled"]
                return str(done[0]["id"])
            time.sleep(1)
    found = stack.ask("POST", "/flow_runs/filter", json={})
    states = [(run["name"], run["state"]["type"], run["state"]["message"]) for run in found[:5]]
    logs = [(stack.folder / f"{name}.log").read_text()[-1500:] for name in ("worker", "prefect-server")]
    raise AssertionError("\n".join([str(states), *logs]))


def _process_template() -> dict[str, Any]:
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def test_a_scheduled_run_survives_a_killed_server_and_a_restore(stack: Stack, tmp_path: Path) -> None:
    log = stack.folder / "backups"
    with topology.prefect_server(stack.database, stack.folder, stack.port) as server:
        assert httpx.post(f"{stack.api}/flows/filter", json={}).status_code == 401, (
            "it must ask for a password"
        )
        run_id = run_flow(stack, tmp_path)
        assert mlflow_note(stack) == "kept in the object store"
        os.killpg(server.process.pid, 9)
    with topology.prefect_server(stack.database, stack.folder, stack.port):
        assert stack.ask("GET", f"/flow_runs/{run_id}")["state"]["type"] == "COMPLETED"
    backup = stack.database.run(topology.DEPLOYMENTS / "backup.sh", log).strip()
    stack.database.run("psql", "-d", "prefect", "-c", "DELETE FROM flow_run")
    stack.database.run("psql", "-d", "mlflow", "-c", "UPDATE metrics SET value = -1")
    stack.database.run(topology.DEPLOYMENTS / "restore.sh", backup)
    assert mlflow_metric(stack) == 7
    with topology.prefect_server(stack.database, stack.folder, stack.port):
        assert stack.ask("GET", f"/flow_runs/{run_id}")["state"]["type"] == "COMPLETED"


def test_passwords_rotate(stack: Stack) -> None:
    secret = stack.database.secrets / "prefect_database_password"
    old = secret.read_text()
    secret.unlink()
    topology.make_secrets(stack.database.secrets)
    assert secret.read_text() != old
    assert oct(secret.stat().st_mode & 0o777) == "0o600"
    stack.database.run(topology.DEPLOYMENTS / "postgres" / "databases.sh")
    assert asyncio.run(_can_log_in(stack, secret.read_text()))
    assert not asyncio.run(_can_log_in(stack, old))


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


def mlflow_note(stack: Stack) -> str:
    """The text the flow logged, read back through MLflow from the object store, and seen there itself."""
    import boto3
    import mlflow

    client = mlflow.MlflowClient(stack.mlflow.url)
    run = client.search_runs(["0"])[0]
    store = boto3.client(
        "s3", endpoint_url=stack.store.url, aws_access_key_id="ecos", aws_secret_access_key="x",
        region_name="us-east-1",
    )  # fmt: skip
    keys = [item["Key"] for item in store.list_objects_v2(Bucket=topology.BUCKET)["Contents"]]
    assert any(key.startswith("mlflow/") and key.endswith("note.txt") for key in keys)
    mlflow.set_tracking_uri(stack.mlflow.url)
    return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/note.txt")


def mlflow_metric(stack: Stack) -> float:
    import mlflow

    return float(mlflow.MlflowClient(stack.mlflow.url).search_runs(["0"])[0].data.metrics["number"])


@pytest.mark.parametrize("name", ["", "unknown", "prefect-server", "worker"])
def test_the_start_script_says_what_is_missing(name: str) -> None:
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [topology.DEPLOYMENTS / "run.sh", name], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
