"""The labelling round trip through a real Label Studio: import, look, annotate, export, all by its API."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ecos_cli.local_services import free_port, running
from ecos_core.errors import InputError, RemoteError
from ecos_core.labelling import Preannotation, export_handoff, import_handoff
from ecos_core.labelling.preannotations import Guesses
from ecos_core.labelling.studio_server import pull, push, pushed
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.sources import open_source
from ecos_core.storage import Location, Manifest, write_manifest, write_shard

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "0123456789abcdef0123456789abcdef01234567"
LABELS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A hand-off of twenty digits, and the true label of each."""
    folder = tmp_path_factory.mktemp("studio")
    digits = load_digits()
    for row in range(20):
        where = folder / "images" / str(digits.target[row])
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray((15 * digits.images[row]).astype(np.uint8)).resize((64, 64)).save(
            where / f"{row}.png"
        )
    lake = Lake.create(folder / "lake")
    ingest(open_source(str(folder / "images"), None), lake)
    rows = lake.read_images(lake.snapshot().shards[0], ["sample_id", "label"]).to_pylist()
    columns = {
        "sample_id": [row["sample_id"] for row in rows],
        "order": range(len(rows)),
        "cluster": pa.array([0] * len(rows), pa.int32()),
        "score": pa.array([1.0] * len(rows)),
        "reason": ["random"] * len(rows),
    }
    selection = Location.of(folder / "selection")
    shard = write_shard(selection, "selection.parquet", pa.table(columns))
    write_manifest(selection, Manifest(kind="selection", shards=[shard]))
    guesses = Guesses({row["sample_id"]: Preannotation("3", 0.6, "probe") for row in rows[:5]})
    export_handoff(
        selection, lake, folder / "batch", format="label-studio", label_set=LABELS, preannotations=guesses
    )
    return folder / "batch", {row["sample_id"]: row["label"] for row in rows}


@pytest.fixture(scope="module")
def studio(
    tmp_path_factory: pytest.TempPathFactory, batch: tuple[Path, dict[str, str]]
) -> Iterator[httpx.Client]:
    """A logged-in client of a fresh server that may read the batch's images."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    subprocess.run([ROOT / "deployments/label_studio/install.sh"], check=True, timeout=500)
    account = {
        "LABEL_STUDIO_USERNAME": "anna@example.org",
        "LABEL_STUDIO_PASSWORD": "a-long-password",
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
    }
    start = [
        str(ROOT / "deployments/label_studio/start.sh"),
        str(folder / "data"),
        str(batch[0].parent),
        str(port),
    ]
    url = f"http://127.0.0.1:{port}"
    with (
        running(
            "Label Studio",
            start,
            url=url,
            health="/health",
            log=folder / "log.txt",
            environment=account,
            wait_s=300,
        ),
        httpx.Client(base_url=url, headers={"Authorization": f"Token {TOKEN}"}, timeout=60) as client,
    ):
        yield client


def ask(client: httpx.Client, method: str, path: str, **options: object) -> httpx.Response:
    answer = client.request(method, path, **options)  # type: ignore[arg-type]
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
    return answer


def test_the_same_ids_come_back(
    studio: httpx.Client, batch: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, truth = batch
    config = (folder / "label_config.xml").read_text()
    project = ask(studio, "POST", "/api/projects", json={"title": "digits", "label_config": config}).json()[
        "id"
    ]
    storage = {"project": project, "path": str(folder), "use_blob_urls": True, "title": "batch"}
    ask(studio, "POST", "/api/storages/localfiles", json=storage)
    tasks = json.loads((folder / "tasks.json").read_text())
    taken = ask(studio, "POST", f"/api/projects/{project}/import?return_task_ids=true", json=tasks).json()
    assert (taken["task_count"], taken["prediction_count"]) == (20, 5)
    known = {}
    for number in taken["task_ids"]:
        data = ask(studio, "GET", f"/api/tasks/{number}").json()["data"]
        known[data["sample_id"]] = number
        if len(known) == 1:
            shown = ask(studio, "GET", data["image"])
            assert shown.content == (folder / "images" / f"{data['sample_id']}.png").read_bytes()
    assert known.keys() == truth.keys()
    ids = list(truth)
    skipped, untouched, labelled = ids[0], ids[1], ids[2:]
    for id in labelled:
        annotate(studio, known[id], truth[id])
    annotate(studio, known[skipped], None)
    returned = tmp_path / "export.json"
    query = f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
    returned.write_bytes(ask(studio, "GET", query).content)
    report = import_handoff(
        folder, returned, tmp_path / "labels", annotators={"anna@example.org": "anna", "1": "anna"}
    )
    stored = pq.read_table(tmp_path / "labels" / "labels.parquet").to_pylist()
    assert {row["sample_id"]: row["label"] for row in stored} == {id: truth[id] for id in labelled}
    assert {row["annotator"] for row in stored} == {"anna"}
    assert report.unknown_samples == 0
    assert report.status.statuses == {"labelled": 18, "cancelled": 1, "empty": 1}
    annotate(studio, known[untouched], truth[untouched])
    annotate(studio, known[skipped], truth[skipped])
    returned.write_bytes(ask(studio, "GET", query).content)
    assert import_handoff(folder, returned, tmp_path / "labels").status.complete


def test_push_and_pull(studio: httpx.Client, batch: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Pushed twice nothing doubles; a click for all first answers is nobody's label; a person's own are."""
    folder, truth = tmp_path / "batch", batch[1]
    shutil.copytree(batch[0], folder)
    url = str(studio.base_url).rstrip("/")
    with pytest.raises(InputError, match=r"may not read this folder.*--upload"):
        push(folder, url, TOKEN)
    assert pushed(folder) is None
    project, added = push(folder, url, TOKEN, title="digits by hand", upload=True)
    assert added == 20
    assert push(folder, url, TOKEN, upload=True) == (project, 0)
    asked = ask(studio, "GET", f"/api/projects/{project.id}").json()
    assert (asked["title"], asked["task_number"]) == ("digits by hand", 20)
    assert 'value="$why"' in asked["label_config"]
    known = {}
    for task in ask(studio, "GET", f"/api/tasks?project={project.id}&page_size=100").json()["tasks"]:
        known[task["data"]["sample_id"]] = task["id"]
        assert ask(studio, "GET", task["data"]["image"]).content in {
            path.read_bytes() for path in (folder / "images").glob(f"{task['data']['sample_id']}.*")
        }
    assert import_handoff(folder, pull(folder, TOKEN), tmp_path / "labels").counts == {"empty": 20}
    everything = f"/api/dm/actions?id=predictions_to_annotations&project={project.id}"
    ask(studio, "POST", everything, json={"selectedItems": {"all": True, "excluded": []}})
    guessed = [
        task["data"]["sample_id"]
        for task in json.loads((folder / "tasks.json").read_text())
        if "predictions" in task
    ]
    report = import_handoff(folder, pull(folder, TOKEN), tmp_path / "labels")
    assert report.counts == {"unchanged first answer": len(guessed), "empty": 20 - len(guessed)}
    for id, number in known.items():
        annotate(studio, number, truth[id])
    personal = ask(studio, "POST", "/api/token/").json()["token"]
    report = import_handoff(folder, pull(folder, personal), tmp_path / "labels")
    assert report.status.complete
    stored = pq.read_table(tmp_path / "labels" / "labels.parquet").to_pylist()
    assert {row["sample_id"]: row["label"] for row in stored} == truth
    assert {row["annotator"] for row in stored} == {"anna@example.org"}


def test_servers_that_refuse_are_one_line(studio: httpx.Client, batch: tuple[Path, dict[str, str]]) -> None:
    url = str(studio.base_url).rstrip("/")
    with pytest.raises(RemoteError, match="refuses the token"):
        push(batch[0], url, "wrong")
    with pytest.raises(RemoteError, match="does not answer"):
        push(batch[0], "http://127.0.0.1:9", TOKEN)
    with pytest.raises(InputError, match="not an address"):
        push(batch[0], "studio", TOKEN)
    with pytest.raises(InputError, match="was not pushed"):
        pull(batch[0], TOKEN)


def annotate(studio: httpx.Client, task: int, label: str | None) -> None:
    """What the labelling page sends: a choice, or a skip."""
    result = [{"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}]
    body = {"result": [] if label is None else result, "was_cancelled": label is None, "lead_time": 1.0}
    ask(studio, "POST", f"/api/tasks/{task}/annotations/", json=body)
