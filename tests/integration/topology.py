"""The deployment's topology by hand, for machines without a container engine: a real PostgreSQL, an S3
server, Prefect and MLflow, started by the same ``deployments/run.sh`` as in a container, on loopback, ended
by their process ids.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ecos_cli.local_services import Service, free_port, running

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = ROOT / "deployments"
BUCKET = "ecos"


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server: where it listens, and the folder with the secrets of its roles."""

    port: int
    secrets: Path

    @property
    def environment(self) -> dict[str, str]:
        """For psql, pg_dump and the scripts of ``deployments``, as the administrator."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "postgres",
            "PGPASSWORD": (self.secrets / "postgres_password").read_text(),
            "POSTGRES_USER": "postgres",
            "SECRETS": str(self.secrets),
        }

    def run(self, *command: str | Path) -> str:
        """Run a program with that environment; its output. Raises AssertionError with its errors."""
        done = subprocess.run(
            [str(part) for part in command],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


def postgres_bin() -> Path | None:
    """The folder of PostgreSQL's server programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    return Path(here).resolve().parent if here else None


def make_secrets(folder: Path) -> Path:
    """The secrets that ``make_secrets.sh`` makes."""
    subprocess.run([DEPLOYMENTS / "make_secrets.sh", folder], check=True, capture_output=True)
    return folder


@contextlib.contextmanager
def postgres(folder: Path, secrets: Path) -> Iterator[Database]:
    """A fresh server with the databases and roles that ``deployments/postgres/databases.sh`` makes.

    PostgreSQL refuses to run as root; root runs it as the user ``postgres``, who must be able to reach
    ``folder``.
    """
    programs = postgres_bin()
    assert programs is not None, "no PostgreSQL server; tests/integration/install_services.sh installs it"
    folder.mkdir(parents=True, exist_ok=True)
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres")
    data, port = folder / "data", free_port()
    password = folder / "password"
    shutil.copy(secrets / "postgres_password", password)
    if as_user:
        shutil.chown(password, "postgres")
    make = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--no-locale",
        "--encoding=SQL_ASCII",
    ]
    made = subprocess.run([*as_user, *make], capture_output=True, text=True, cwd=folder, check=False)
    assert made.returncode == 0, made.stderr
    start = [*as_user, str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
    start += ["-c", "listen_addresses=127.0.0.1"]
    database = Database(port, secrets)
    with (folder / "postgres.log").open("ab") as log:
        process = subprocess.Popen(start, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        _wait_for_postgres(programs, port)
        database.run(DEPLOYMENTS / "postgres" / "databases.sh")
        yield database
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_postgres(programs: Path, port: int) -> None:
    ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q", "-t", "1"]
    for _ in range(60):
        if subprocess.run(ready, check=False).returncode == 0:
            return
    raise AssertionError("PostgreSQL did not start")


def object_store(folder: Path) -> contextlib.AbstractContextManager[Service]:
    """An S3 server (moto) in memory."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    return running(
        "the object store",
        command,
        url=f"http://127.0.0.1:{port}",
        health="/moto-api/",
        log=folder / "s3.log",
    )


def programs(home: Path) -> dict[str, str]:
    """An environment with the programs of this one and a home of its own."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home),
        "PREFECT_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
    }


def service(
    name: str, *arguments: str, url: str, health: str, folder: Path, environment: Mapping[str, str]
) -> contextlib.AbstractContextManager[Service]:
    """A service by ``deployments/run.sh``, with the programs of this environment and a home of its own."""
    own = programs(folder / f"home-{name}")
    return running(
        name,
        [str(DEPLOYMENTS / "run.sh"), name, *arguments],
        url=url,
        health=health,
        log=folder / f"{name}.log",
        environment={**own, **environment},
        wait_s=240,
    )


def store_environment(store: Service, secrets: Path) -> dict[str, str]:
    return {
        "S3_ENDPOINT_URL": store.url,
        "S3_BUCKET": BUCKET,
        "AWS_ACCESS_KEY_ID": "ecos",
        "AWS_SECRET_ACCESS_KEY_FILE": str(secrets / "object_store_key"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def prefect_server(database: Database, folder: Path, port: int) -> contextlib.AbstractContextManager[Service]:
    """Prefect on PostgreSQL, behind a password."""
    return service(
        "prefect-server",
        url=f"http://127.0.0.1:{port}",
        health="/api/health",
        folder=folder,
        environment={
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(database.port),
            "DATABASE_PASSWORD_FILE": str(database.secrets / "prefect_database_password"),
            "PREFECT_SERVER_API_AUTH_STRING_FILE": str(database.secrets / "prefect_auth"),
            "PREFECT_PORT": str(port),
        },
    )


def mlflow_server(
    database: Database, store: Service, folder: Path, port: int
) -> contextlib.AbstractContextManager[Service]:
    """MLflow on PostgreSQL, its artefacts in the object store."""
    return service(
        "mlflow",
        url=f"http://127.0.0.1:{port}",
        health="/health",
        folder=folder,
        environment={
            **store_environment(store, database.secrets),
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": str(database.port),
            "DATABASE_PASSWORD_FILE": str(database.secrets / "mlflow_database_password"),
            "MLFLOW_ARTIFACTS": f"s3://{BUCKET}/mlflow",
            "MLFLOW_PORT": str(port),
            "MLFLOW_WORKERS": "1",
        },
    )
