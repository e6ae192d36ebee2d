"""What tests of the whole share, made once a session: a tiny real lake of digits, and a real client process on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.tiny_support import CLUSTERS, IMAGE_SIZE, ServedClient, TinyImages, client_process, ecos_json

# Timings are for benchmarks; where CI runs, the same examples are tried every time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "local")

# Before Prefect or MLflow is imported by anything: no telemetry, nothing leaves the machine.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> TinyImages:
    """MNIST digits, most of them the client's own, and optdigits, by the demo's makers and split."""
    from ecos_core.lake import digits
    from ecos_core.lake.splits import split_files

    folder = tmp_path_factory.mktemp("tiny")
    makers = digits._makers(0)
    for domain, count in (("mnist", 300), ("optdigits", 120)):
        for index, (digit, pixels) in enumerate(islice(makers[domain][1](), count)):
            digits._write(folder / "all" / domain / str(digit) / f"{index:04d}.png", pixels)
    mnist = folder / "all" / "mnist"
    parts = split_files(mnist)
    placed = {
        folder / "private": parts.client,
        folder / "test": parts.test,
        folder / "lake" / "mnist": parts.lake,
    }
    for target, files in placed.items():
        for file in files:
            place = target / file.relative_to(mnist).with_stem(f"{target.name}-{file.stem}")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
    shutil.copytree(folder / "all" / "optdigits", folder / "lake" / "optdigits")
    return TinyImages(folder / "private", folder / "test", folder / "lake")


@pytest.fixture(scope="session")
def tiny_lake(tiny_images: TinyImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake, indexed. Tests may add scores to it; those that add images or clusterings copy it first."""
    lake = tmp_path_factory.mktemp("lake") / "lake"
    ecos_json("ingest", str(tiny_images.lake), "--lake", str(lake), "--licence", "CC0-1.0")
    size, clusters = str(IMAGE_SIZE), str(CLUSTERS)
    ecos_json("index", "--lake", str(lake), "--image-size", size, "--clusters", clusters)
    return lake


@pytest.fixture(autouse=True)
def _no_receipts_of_copies(request: pytest.FixtureRequest) -> None:
    """The homes of the tests are copies of one another: the receipts of one would give the next one away."""
    if "tiny_lake" in request.fixturenames:
        shutil.rmtree(request.getfixturevalue("tiny_lake") / "receipts", ignore_errors=True)


@pytest.fixture(scope="session")
def client_home(tiny_images: TinyImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A client of which nobody has asked anything; copy it to serve it."""
    home = tmp_path_factory.mktemp("client") / "home"
    ecos_json(
        "client", "init", "--home", str(home), "--images", str(tiny_images.private), "--epsilon", "50",
        "--image-size", str(IMAGE_SIZE), "--records", "100", "--answer-after", "0.05",
    )  # fmt: skip
    return home


@pytest.fixture(scope="session")
def client(client_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedClient]:
    """The client in a process of its own, for the whole session."""
    home = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(client_home, home)
    with client_process(home) as served:
        yield served


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server, for the whole session; flows run in this process report to it."""
    from ecos_cli.local_services import free_port, prefect_server

    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home, free_port()) as server:
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        with temporary_settings({PREFECT_API_URL: f"{server.url}/api", PREFECT_HOME: home / "own"}):
            yield f"{server.url}/api"
            # While the server is up: later they would fail and write to a stream that pytest closed.
            from tasks.progress import send_what_is_left

            send_what_is_left()
