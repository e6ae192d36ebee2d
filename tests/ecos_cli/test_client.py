"""`ecos client …` as a data owner types it: the service as a real process."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from ecos_cli.main import main
from ecos_core.client.connecting import connect
from ecos_core.client.home import open_home
from tests.client_support import some_centroids, some_features

pytestmark = pytest.mark.integration


def ecos(*arguments: object, fails: int = 0) -> Any:
    """Run the command in this process, through the same entry point; parsed when ``--json`` is asked for."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    command = ["ecos", "client", *map(str, arguments)]
    with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "argv", command):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    assert code == fails, err.getvalue()
    if fails:
        assert err.getvalue().startswith("ecos: ") and err.getvalue().count("\n") == 1
        return err.getvalue()
    return json.loads(out.getvalue()) if "--json" in arguments else out.getvalue()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    np.save(tmp_path / "features.npy", some_features(150))
    where = tmp_path / "home"
    made = ecos(
        *("init", "--home", where, "--features", tmp_path / "features.npy", "--fingerprint", "f", "--json"),
        *("--epsilon", 2, "--delta", "1e-5", "--answer-after", 0),
    )
    assert made["private_images"] == 150
    return where


def test_from_init_to_the_ledger(home: Path, tmp_path: Path) -> None:
    ready = tmp_path / "address"
    command = [sys.executable, "-m", "ecos_cli.main", "client", "serve", "--home", str(home), "--port", "0"]
    with subprocess.Popen(
        [*command, "--ready-file", str(ready)], stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        line = service.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address is not None and ready.read_text() == address[0]
        with connect(address[0], (home / "token").read_text()) as connection:
            release = connection.score(some_centroids(), sigma=6.12, fingerprint="f")
        service.send_signal(signal.SIGTERM)
        assert service.wait(20) in (0, -signal.SIGTERM)
    ledger = ecos("ledger", "--home", home, "--json")
    assert ledger["events"] == 1
    assert ledger["epsilon_spent"] == pytest.approx(release.epsilon)
    assert (ledger["epsilon_limit"], ledger["delta"]) == (2.0, 1e-5)
    assert ledger["answers_left"] >= 5
    verified = ecos("verify", "--home", home, "--json")
    assert {**ledger, **verified} == {**verified, **ledger}
    assert "verified: 2 entries, 1 releases" in ecos("verify", "--home", home)


def test_what_the_owner_can_ask_beforehand(home: Path, tmp_path: Path) -> None:
    tried = ecos("dry-run", "--home", home, "--sigma", 6.12, "--clusters", 10, "--json")
    assert tried["outcome"] == "answered"
    assert tried["epsilon_after"] == pytest.approx(0.582, rel=0.005)
    assert "refused, over budget" in ecos("dry-run", "--home", home, "--sigma", 1)
    assert "smallest" in ecos("dry-run", "--home", home, "--sigma", 0.1, fails=2)
    assert ecos("ledger", "--home", home, "--json")["events"] == 0
    assert ecos("policy", "show", "--home", home, "--json")["epsilon"] == 2.0


def test_tokens_from_the_command_line(home: Path, tmp_path: Path) -> None:
    where = tmp_path / "b.token"
    ecos("token", "add", "cloud-b", "--home", home, "--token-file", where)
    assert where.stat().st_mode & 0o777 == 0o600
    assert ecos("token", "list", "--home", home, "--json") == {
        "requesters": ["first", "cloud-b"],
        "expires": {},
    }
    ecos("token", "add", "short", "--home", home, "--token-file", tmp_path / "c.token", "--days", 30)
    assert list(ecos("token", "list", "--home", home, "--json")["expires"]) == ["short"]
    assert re.search(r"short +until 2", ecos("token", "list", "--home", home))
    ecos("token", "add", "x", "--home", home, "--token-file", tmp_path / "d.token", "--days", -1, fails=2)
    ecos("token", "revoke", "cloud-b", "--home", home)
    assert "no such token" in ecos("token", "revoke", "cloud-b", "--home", home, fails=2)


def test_by_mail_with_the_owners_approval(home: Path, tmp_path: Path) -> None:
    policy = home / "policy.yaml"
    policy.write_text(policy.read_text().replace("approval: automatic", "approval: manual"))
    mailbox = tmp_path / "mailbox"
    connection = connect(str(mailbox), (home / "token").read_text(), timeout_s=0)
    for expected in (0, 1):
        with pytest.raises(Exception, match=r"answer in time|approval"):
            connection.score(some_centroids(), sigma=6, fingerprint="f")
        assert ecos("work", "--home", home, "--mailbox", mailbox, "--once", "--json") == {"settled": expected}
        if not expected:
            (key,) = ecos("approve", "--home", home, "--json")["waiting"]
            assert ": waits; costs epsilon" in ecos("approve", "--home", home)
            ecos("approve", key[:10], "--home", home)
    assert connection.score(some_centroids(), sigma=6, fingerprint="f").epsilon > 0


def test_a_receipt_is_held_against_the_ledger_and_the_account_reads_as_one(
    home: Path, tmp_path: Path
) -> None:
    mailbox = tmp_path / "mailbox"
    releases = []
    for sigma in (6, 7):
        connection = connect(str(mailbox), (home / "token").read_text(), timeout_s=0)
        with pytest.raises(Exception, match="in time"):
            connection.score(some_centroids(), sigma=sigma, fingerprint="f")
        ecos("work", "--home", home, "--mailbox", mailbox, "--once")
        releases.append(connection.score(some_centroids(), sigma=sigma, fingerprint="f"))
    file = tmp_path / "receipt.json"
    receipt = releases[1].receipt.model_dump(mode="json")
    file.write_text(json.dumps({"summary": {"receipt": receipt}}))
    assert ecos("verify", "--home", home, "--receipt", file, "--json")["receipt"] == 3
    file.write_text(json.dumps({**receipt, "epsilon_release": 0.0}))
    assert "signature" in ecos("verify", "--home", home, "--receipt", file, fails=1)
    file.write_text("{}")
    assert "client_id" in ecos("verify", "--home", home, "--receipt", file, fails=2)
    rows = ecos("ledger", "--home", home, "--json")["releases"]
    assert [row["epsilon_total"] for row in rows] == [pytest.approx(found.epsilon) for found in releases]
    assert [row["epsilon_release"] for row in rows] == [
        pytest.approx(found.epsilon_release) for found in releases
    ]
    head, first, second, foot = ecos("ledger", "--home", home).splitlines()
    assert head.split() == ["date", "who", "what", "epsilon", "total", "left"]
    assert float(second.split()[-1]) == pytest.approx(2 - releases[1].epsilon, abs=1e-4)
    assert "first" in first and foot.startswith("2 releases")


def test_the_owner_refuses_and_reads_the_log(home: Path, tmp_path: Path) -> None:
    policy = home / "policy.yaml"
    policy.write_text(policy.read_text().replace("approval: automatic", "approval: manual"))
    mailbox = tmp_path / "mailbox"
    connection = connect(str(mailbox), (home / "token").read_text(), timeout_s=0)
    with pytest.raises(Exception, match="in time"):
        connection.score(some_centroids(), sigma=6, fingerprint="f")
    ecos("work", "--home", home, "--mailbox", mailbox, "--once")
    (key,) = ecos("approve", "--home", home, "--json")["waiting"]
    assert ecos("refuse", key[:10], "--home", home, "--reason", "no", "--json") == {
        "refused": key,
        "reason": "no",
    }
    assert "one line" in ecos("refuse", key[:10], "--home", home, "--reason", "a\nb", fails=2)
    ecos("token", "add", "b", "--home", home, "--token-file", tmp_path / "b.token")
    ecos("token", "revoke", "b", "--home", home)
    found = ecos("log", "--home", home, "--json")["lines"]
    assert [line["event"] for line in found] == [
        "start",
        "request",
        "refused",
        "token added",
        "token revoked",
    ]
    assert ecos("log", "--home", home, "--since", "2100-01-01") == "nothing was logged\n"
    assert "such as" in ecos("log", "--home", home, "--since", "soon", fails=2)
    ecos("log", "--home", home, "--export", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == 5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("ledger", "--home", "absent"), "no client here"),
        (("init", "--home", "x", "--epsilon", "2"), "--images is missing"),
        (("init", "--home", "x", "--epsilon", "2", "--images", "absent"), "no such folder"),
        (("init", "--home", "x", "--epsilon", "-1", "--images", "absent"), "epsilon"),
        (("init", "--home", "x", "--epsilon", "2", "--features", "absent.npy", "--fingerprint", "f"), ".npy"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], reason: str) -> None:
    assert reason in ecos(*arguments, fails=2)


def test_interrupted_by_kill_init_leaves_a_whole_home_or_none(tmp_path: Path) -> None:
    """Killed at arbitrary moments; afterwards the same command makes the client."""
    np.save(tmp_path / "features.npy", some_features(150))
    options = ["--features", str(tmp_path / "features.npy"), "--fingerprint", "f", "--epsilon", "2"]
    for pause in (0.8, 1.3):
        where = tmp_path / f"home-{pause}"
        command = [sys.executable, "-m", "ecos_cli.main", "client", "init", "--home", str(where), *options]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(pause)
            os.kill(process.pid, signal.SIGKILL)
        if not (where / "home.json").exists():
            ecos("init", "--home", where, *options)
        assert ecos("verify", "--home", where, "--json")["verified"]


def test_ready_features_of_units(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", some_features(120))
    (tmp_path / "units.csv").write_text("row,unit\n" + "".join(f"{row},p{row % 12}\n" for row in range(120)))
    line = (
        "init",
        "--home",
        tmp_path / "home",
        "--features",
        tmp_path / "features.npy",
        "--fingerprint",
        "f",
    )
    asked = (*line, "--epsilon", 2, "--adjacency", "unit")
    assert "--units" in ecos(*asked, fails=2)
    ecos(*asked, "--units", tmp_path / "units.csv")
    assert len(set(open_home(tmp_path / "home").features("f").units.tolist())) == 12
    assert "there is a client here" in ecos(*asked, "--units", tmp_path / "units.csv", fails=2)


def test_a_second_init_says_what_is_in_force(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        Image.new("RGB", (8, 8), (number, 2 * number, 99)).save(images / f"{number}.png")
    line = (
        "init",
        "--home",
        tmp_path / "home",
        "--images",
        images,
        "--image-size",
        32,
        "--minimum-records",
        1,
    )
    assert ecos(*line, "--epsilon", 2, "--json")["kept_rules"] == {}
    again = ecos(*line, "--epsilon", 50, "--delta", "1e-3", "--json")
    assert again["epsilon_limit"] == 2.0 and again["delta"] == 1e-5
    assert again["kept_rules"] == {"epsilon": 2.0, "delta": 1e-5}
    assert "in force, not as asked: epsilon is 2.0; a client" in ecos(*line, "--epsilon", 50)
