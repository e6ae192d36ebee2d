"""`ecos deploy` on a real server: what it registers, runs by schedule and by the API, mistakes in the form, a person's
approval, a killed server, a dead worker, labels that come back.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ecos_cli.local_services import free_port
from ecos_core import __version__
from ecos_core.stages.handing_off import waiting_for
from tests.flows.prefect_support import artifacts_of, wait_for
from tests.integration.deployed import SERVER_SETTINGS, Site, kill, once, setting
from tests.tiny_support import change_policy, client_process

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

ON_DEMAND, WEEKLY, TO_LABELLERS = "sample-subset/on-demand", "sample-subset/weekly", "hand-off/to-labellers"
ON_LABELS = "train-downstream/on-labels"
QUEUE, ONE_RUNS = "ENQUEUE", "CANCEL_NEW"
# flow/deployment: tag beside `ecos`, pool, what happens to a second run, schedule
EXPECTED = {
    "index-lake/nightly": ("lake", "ecos-gpu", ONE_RUNS, "30 2 * * *"),
    WEEKLY: ("sampling", "ecos-cpu", ONE_RUNS, "0 6 * * 1"),
    ON_DEMAND: ("sampling", "ecos-cpu", QUEUE, None),
    ON_LABELS: ("training", "ecos-gpu", QUEUE, None),
    TO_LABELLERS: ("labelling", "ecos-cpu", QUEUE, None),
    "outsource/whole": ("outsource", "ecos-gpu", QUEUE, None),
}
SMALL = {"budget": 20}
# From the moment that a release is paid for until the answer leaves: time to kill what waits for it.
ANSWER_AFTER_S = 2.0


@pytest.fixture(scope="module")
def site(tiny_lake: Path, client_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A fresh server with the deployments, a worker and a client that nobody has asked yet."""
    home = tmp_path_factory.mktemp("site")
    shutil.copytree(client_home, home / "client")
    shutil.copytree(tiny_lake, home / "lake", ignore=shutil.ignore_patterns("receipts"))
    with ExitStack() as on:
        on.enter_context(setting(SERVER_SETTINGS))
        change_policy(home / "client", answer_after_seconds=ANSWER_AFTER_S)
        client = on.enter_context(client_process(home / "client"))
        site = Site(home, home / "lake", client, free_port(), on)
        site.start_server()
        done = site.ecos(
            "deploy", "--lake", site.lake, "--client", client.url, "--token-file", client.token_file, "--out", site.out,
            "--tracking", f"sqlite:///{home / 'mlflow.db'}", "--timezone", "Europe/Berlin",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        site.deployments = registered(site)
        site.start_worker()
        yield site


@pytest.fixture(scope="module")
def selection(site: Site) -> Path:
    """The latest of the selections; where no test before has made one, by a run that asks nobody."""
    latest = site.out / "selections" / "LATEST"
    if not latest.exists():
        site.ended(site.start(ON_DEMAND, **SMALL, sampler="random"))
    return latest


def registered(site: Site) -> dict[str, dict[str, Any]]:
    flows = {flow["id"]: flow["name"] for flow in site.ask("POST", "flows/filter", json={})}
    found = site.ask("POST", "deployments/filter", json={})
    return {f"{flows[one['flow_id']]}/{one['name']}": one for one in found}


def all_objects(site: Site) -> dict[str, Any]:
    """Everything that `ecos deploy` keeps on the server, without the times of change."""
    passing = {"created", "updated", "last_polled", "status", "version_id", "version_info", "active_slots"}

    def lasting(found: Any) -> Any:
        if isinstance(found, dict):
            return {name: lasting(value) for name, value in found.items() if name not in passing}
        return [lasting(value) for value in found] if isinstance(found, list) else found

    kinds = ("deployments", "variables", "automations")
    found = {kind: lasting(site.ask("POST", f"{kind}/filter", json={})) for kind in kinds}
    found["pools"] = [
        {name: pool[name] for name in ("id", "name", "type", "concurrency_limit")}
        for pool in site.ask("POST", "work_pools/filter", json={})
    ]
    return {kind: sorted(ones, key=lambda one: str(one["name"])) for kind, ones in found.items()}


def test_what_is_registered(site: Site) -> None:
    assert registered(site).keys() == EXPECTED.keys()
    for name, (tag, pool, collision, cron) in EXPECTED.items():
        found = site.deployments[name]
        assert found["tags"] == ["ecos", tag] and found["work_pool_name"] == pool, name
        assert found["version"] == __version__ and found["description"].endswith("."), name
        assert found["global_concurrency_limit"]["limit"] == 1, name
        assert found["concurrency_options"]["collision_strategy"] == collision, name
        assert found["enforce_parameter_schema"], name
        times = [one["schedule"] for one in found["schedules"]]
        assert [time["cron"] for time in times] == ([cron] if cron else []), name
        assert all(time["timezone"] == "Europe/Berlin" for time in times), name
    pools = site.ask("POST", "work_pools/filter", json={})
    assert {pool["name"]: pool["concurrency_limit"] for pool in pools} == {"ecos-cpu": 4, "ecos-gpu": 1}


def test_deploying_again_changes_nothing_and_needs_no_options(site: Site) -> None:
    before = all_objects(site)
    assert [one["name"] for one in before["automations"]] == sorted(
        f"ecos: mark {kind} runs of {name}" for name in EXPECTED for kind in ("dead", "lost")
    )
    done = site.ecos("deploy", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deployments"] == sorted(EXPECTED)
    assert all_objects(site) == before


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("text for a number", {"budget": "many"}, "config.budget"),
    ("half an image", {"budget": 20.5}, "config.budget"),
    ("a budget of nothing", {"budget": 0}, "config.budget"),
    ("an empty budget", {"budget": None}, "config.budget"),
    ("an unknown sampler", {"sampler": "best"}, "config.sampler"),
    ("an address without a scheme", {"client": {"url": "clinic:8731"}}, "config.client.url"),
    ("a cut-off key", {"client": {"public_key": "abc"}}, "config.client.public_key"),
    ("an absurd epsilon", {"privacy": {"epsilon": 99}}, "config.privacy.epsilon"),
    ("a delta of one", {"privacy": {"delta": 1}}, "config.privacy.delta"),
    ("a field that does not exist", {"bugdet": 20}, "bugdet"),
    ("a negative seed", {"seed": -1}, "config.seed"),
    ("an unknown denoising rule", {"sampling": {"denoise": "magic"}}, "config.sampling.denoise"),
]


@pytest.mark.parametrize(
    ("changes", "field"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES]
)
def test_a_mistake_in_the_form_is_refused_by_its_field(
    site: Site, changes: dict[str, Any], field: str
) -> None:
    asked = {"parameters": site.parameters(ON_DEMAND, **changes), "state": {"type": "SCHEDULED"}}
    answer = site.answer(
        "POST", f"deployments/{site.deployments[ON_DEMAND]['id']}/create_flow_run", json=asked
    )
    assert answer.status_code in (409, 422)
    told = answer.json()["detail"]
    assert field in told and "\n" not in told


def test_a_run_by_the_api_and_what_no_form_can_know_fails_in_one_line(site: Site) -> None:
    before = site.client.spent["events"]
    impossible = site.start(ON_DEMAND, budget=10_000, privacy={"approve_above": None})
    good = site.start(ON_DEMAND, **SMALL, privacy={"epsilon": 0.2})  # waits for its turn
    told = site.ended(impossible, "FAILED")["state"]["message"]
    assert "the lake holds 239" in told and "\n" not in told
    run = site.ended(good)
    assert not run["auto_scheduled"] and "ecos" in run["tags"]
    assert {"privacy-account", "montage", "picks"} <= set(artifacts_of(site.api, good))
    assert (site.out / "selections" / "LATEST").exists()
    assert site.client.spent["events"] == before + 1


def test_of_two_scheduled_runs_that_overlap_one_runs(site: Site) -> None:
    before = site.client.spent["events"]
    place = f"deployments/{site.deployments[WEEKLY]['id']}/schedules"
    soon = datetime.now(UTC) + timedelta(seconds=6)
    parameters = site.parameters(WEEKLY, **SMALL, privacy={"epsilon": 0.21})
    times = [once(soon + timedelta(seconds=late), f"once-{late}", parameters) for late in (0, 1)]
    added = site.ask("POST", place, json=times)
    wanted = {
        "deployments": {"id": {"any_": [site.deployments[WEEKLY]["id"]]}},
        "flow_runs": {"expected_start_time": {"before_": (soon + timedelta(minutes=1)).isoformat()}},
    }
    runs = wait_for(
        lambda: found if len(found := site.ask("POST", "flow_runs/filter", json=wanted)) == 2 else None
    )
    ends = {}
    for run in runs:
        ended = site.wait(run["id"])
        assert ended["auto_scheduled"]
        ends[ended["state"]["type"]] = ended["state"]["message"]
    assert ends == {"COMPLETED": None, "CANCELLED": "Deployment concurrency limit reached."}
    assert site.client.spent["events"] == before + 1
    for one in added:
        site.ask("DELETE", f"{place}/{one['id']}")


def answer_the_question(site: Site, run: str, approve: bool) -> None:
    site.ask("POST", f"flow_runs/{run}/resume", json={"run_input": {"approve": approve}})


def test_a_person_is_asked_above_the_threshold_and_may_refuse(site: Site) -> None:
    before = site.client.spent
    run = site.start(ON_DEMAND, **SMALL, privacy={"epsilon": 0.4})
    assert site.wait(run)["state"]["name"] == "Suspended"
    question = artifacts_of(site.api, run)["approval"]["data"]
    assert "epsilon 0.4" in question and f"paid epsilon {before['epsilon']:.4g} of 50" in question
    unclear = site.answer("POST", f"flow_runs/{run}/resume", json={"run_input": {"approve": "perhaps"}})
    assert unclear.json()["status"] == "REJECT"
    answer_the_question(site, run, approve=False)
    ended = site.wait(run, states={"CANCELLED", "FAILED", "CRASHED", "COMPLETED"})["state"]
    assert (ended["type"], ended["message"]) == (
        "CANCELLED",
        "A person refused the cost; no privacy was spent.",
    )
    assert site.client.spent == before


def test_a_killed_server_costs_no_work_and_no_privacy(site: Site, selection: Path) -> None:
    """One run waits for a person, one for labels, one is in the middle of its question to the client.

    The runs that go on publish newer selections; the hand-off keeps the one that it gave, and has it trained on.
    """
    given = str(selection.parent / selection.read_text())
    training = {"lake": str(site.lake), "selection": "as handed out", "out": str(site.out / "models")}
    handed_out = site.start(TO_LABELLERS, format="csv", then_train=training)
    to_approve = site.start(ON_DEMAND, **SMALL, privacy={"epsilon": 0.41})
    for run in (handed_out, to_approve):
        assert site.wait(run)["state"]["name"] == "Suspended", run
    (batch,) = (site.out / "hand-off").iterdir()
    waiting = waiting_for(batch)
    assert waiting is not None and waiting.run == handed_out, "the folder says which run waits for its labels"
    before = site.client.spent["events"]
    busy = site.start(ON_DEMAND, **SMALL, privacy={"epsilon": 0.22})
    wait_for(lambda: site.client.spent["events"] == before + 1, 120)
    site.kill_server()
    bring_labels(site, 5, told=False)
    site.start_server()
    site.ended(busy)
    answer_the_question(site, to_approve, approve=True)
    bring_labels(site, 20, told=True)
    assert site.wait(to_approve, states={"COMPLETED", "FAILED", "CRASHED"})["state"]["type"] == "COMPLETED"
    assert site.wait(handed_out, states={"COMPLETED", "FAILED", "CRASHED"})["state"]["type"] == "COMPLETED"
    assert waiting_for(batch) is None
    assert site.client.spent["events"] == before + 2
    assert selection.read_text() not in given, "a newer selection is the latest by now"
    deployment = {"id": {"any_": [site.deployments[ON_LABELS]["id"]]}}
    [started] = site.ask("POST", "flow_runs/filter", json={"deployments": deployment})
    wanted = started["parameters"]["config"]
    assert (wanted["selection"], wanted["labels"]) == (given, str(site.out / "labels"))


def bring_labels(site: Site, count: int, *, told: bool) -> None:
    """Label the first images and import them; ``told``: the run that waits must hear of it."""
    (batch,) = (site.out / "hand-off").iterdir()
    returned = site.home / f"returned-{count}.csv"
    with (batch / "tasks.csv").open() as file:
        samples = [row["sample_id"] for row in csv.DictReader(file)][:count]
    returned.write_text("sample_id,label\n" + "".join(f"{sample},3\n" for sample in samples))
    done = site.ecos("handoff", "import", batch, returned, "--labels", site.out / "labels", "--json")
    assert done.returncode == 0, done.stderr
    told_of = json.loads(done.stdout)
    assert told_of["labelled"] == count and told_of["resumed_runs"] == int(told)
    assert told or "did not answer" in done.stderr


def test_a_dead_worker_s_run_is_marked_and_run_again_for_nothing(site: Site) -> None:
    automation = automation_of(site, "dead", ON_DEMAND)
    set_patience(site, automation, 20)
    before = site.client.spent["events"]
    question: dict[str, Any] = {**SMALL, "privacy": {"epsilon": 0.23}}
    dead = site.start(ON_DEMAND, **question)
    wait_for(lambda: site.client.spent["events"] == before + 1, 120)
    assert site.worker is not None
    for process in (site.worker.process.pid, site.process_of(dead)):
        kill(process)
    state = site.ended(dead, "CRASHED")["state"]
    assert state["message"] == "The worker stopped sending heartbeats."
    set_patience(site, automation, automation["trigger"]["within"])
    site.start_worker()
    again = site.start(ON_DEMAND, **question)
    site.ended(again)
    assert site.client.spent["events"] == before + 1


def test_a_run_that_was_lost_while_it_was_submitted_is_marked(site: Site) -> None:
    automation = automation_of(site, "lost", ON_DEMAND)
    set_patience(site, automation, 10)
    pending = {"state": {"type": "PENDING", "name": "Pending"}}
    deployment = site.deployments[ON_DEMAND]["id"]
    lost = site.ask("POST", f"deployments/{deployment}/create_flow_run", json=pending)
    state = site.ended(lost["id"], "CRASHED")["state"]
    assert state["message"] == "The worker took the run and never started it; start it again."
    set_patience(site, automation, automation["trigger"]["within"])


def automation_of(site: Site, kind: str, deployment: str) -> dict[str, Any]:
    found = site.ask("POST", "automations/filter", json={})
    return next(one for one in found if one["name"] == f"ecos: mark {kind} runs of {deployment}")


def set_patience(site: Site, automation: dict[str, Any], seconds: float) -> None:
    """How long a run may be silent."""
    names = ("name", "description", "enabled", "tags", "trigger", "actions")
    wanted = json.loads(json.dumps({name: automation[name] for name in names}))
    wanted["trigger"]["within"] = seconds
    site.ask("PUT", f"automations/{automation['id']}", json=wanted)
