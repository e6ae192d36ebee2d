"""What the log holds: all that was asked and refused, nothing of the data, nothing that a stranger can forge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ecos_core.client.approval import Approvals
from ecos_core.client.connection import connect
from ecos_core.client.engine import Engine
from ecos_core.client.home import Home, open_home
from ecos_core.client.mailbox import MailboxWorker
from ecos_core.client.operations.score import score_request
from ecos_core.client.security_log import SecurityLog
from ecos_core.errors import EcosError, InputError, PolicyError, RemoteError
from tests.client_support import (
    DIMENSION,
    FINGERPRINT,
    make_home,
    serving,
    some_centroids,
    some_features,
    token_of,
)

pytestmark = pytest.mark.integration


def asked(url: str, token: str, content: bytes, path: str = "/v1/score") -> int:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.post(f"{url}{path}", content=content, headers=headers, trust_env=False).status_code


def request(sigma: float = 6.0, seed: int = 1, **options: Any) -> bytes:
    given = {"fingerprint": FINGERPRINT, **options}
    return score_request(some_centroids(5, seed), sigma=sigma, **given).encode()


def lines(home: Home, event: str = "") -> list[dict[str, Any]]:
    return [line for line in home.log.lines() if event in ("", line["event"])]


def test_every_request_is_a_line_with_its_outcome(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", epsilon=1.0, largest_request_mb=0.01)
    with serving(home) as url:
        token = token_of(home)
        for content in (
            request(),
            request(),
            request(fingerprint="another"),
            b"junk",
            request(2.0),
            b"x" * 20_000,
        ):
            asked(url, token, content)
        httpx.get(f"{url}/v1/info", headers={"authorization": f"Bearer {token}"}, trust_env=False)
        asked(url, "wrong", b"junk")
    found = lines(home)
    assert found[0]["event"] == "start" and found[0]["epsilon"] == 1.0 and found[0]["address"] == url
    outcomes = [line.get("outcome", line["event"]) for line in found[1:]]
    assert outcomes == [
        "answered", "repeated", "forbidden", "invalid", "budget", "too_large", "told", "log-in failed",
    ]  # fmt: skip
    answered = found[1]
    assert answered["requester"] == "first" and answered["address"] == "127.0.0.1"
    assert answered["sequence"] == 2 and answered["epsilon"] == pytest.approx(0.594, rel=0.01)
    assert "another" in found[3]["reason"]
    assert (home.path / "log").stat().st_mode & 0o077 == 0
    assert home.log.path.stat().st_mode & 0o077 == 0


def test_requests_of_any_outcome_are_counted_and_repeats_are_free(tmp_path: Path) -> None:
    for content in (b"junk", request(fingerprint="another"), request(0.1)):
        home = make_home(tmp_path / str(len(content)), requests_per_minute=3)
        with serving(home) as url:
            token = token_of(home)
            assert [asked(url, token, request()) for _ in range(6)] == [200] * 6
            assert [asked(url, token, content) for _ in range(3)] in ([400, 400, 429], [403, 403, 429])
            assert asked(url, token, request()) == 200
            second = home.tokens.add("second")
            assert asked(url, second, request()) == 200
            info = httpx.get(f"{url}/v1/info", headers={"authorization": f"Bearer {token}"}, trust_env=False)
            assert info.status_code == 429


def test_failed_logins_of_an_address_are_limited_and_lock_out_nobody(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", failed_logins_per_minute=3)
    with serving(home) as url:
        assert [asked(url, "wrong", b"") for _ in range(5)] == [401, 401, 401, 429, 429]
        assert asked(url, token_of(home), request()) == 200


def test_a_flood_cannot_push_the_rest_out_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecos_core.client.gate.LINES_A_MINUTE", 5)
    now = [1000.0]
    monkeypatch.setattr("ecos_core.client.rates.monotonic", lambda: now[0])
    home = make_home(tmp_path / "home")
    with serving(home) as url:
        for _ in range(30):
            asked(url, "wrong", b"")
        assert len(lines(home, "log-in failed")) == 5
        now[0] += 61
        asked(url, "wrong", b"")
    assert lines(home, "log-in failed")[-1]["left_out"] == 25


def test_a_token_that_ends_is_refused_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_home(tmp_path / "home")
    token = home.tokens.add("short", days=1)
    with serving(home) as url, connect(url, token, attempts=1) as connection:
        assert connection.info().requester == "short"
        later = datetime.now(UTC).timestamp() + 86_401
        monkeypatch.setattr("ecos_core.client.tokens.time.time", lambda: later)
        with pytest.raises(PolicyError, match="expired"):
            connection.info()
        assert home.tokens.who(token) is None
    assert lines(home, "log-in failed")[0]["reason"] == "expired"
    with pytest.raises(InputError, match="days"):
        home.tokens.add("never", days=0)


def test_an_older_token_file_is_read(home: Home) -> None:
    file = home.path / "tokens.json"
    stored = json.loads(file.read_bytes())
    for requester in stored["requesters"]:
        del requester["added"], requester["expires"]
    file.write_text(json.dumps(stored))
    assert open_home(home.path).tokens.who(token_of(home)) == "first"


def at_once(*programs: str) -> None:
    """Run Python programs in processes of their own, side by side."""
    started = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    assert [process.wait(120) for process in started] == [0] * len(started)


def test_tokens_added_and_revoked_at_once_all_count(home: Home) -> None:
    program = (
        "import pathlib, sys\nfrom ecos_core.client.tokens import TokenStore\n"
        "store = TokenStore(pathlib.Path({file!r}))\n"
        "for number in range(10): store.add('{name}-%d' % number)\n"
        "store.revoke('{name}-0')"
    )
    file = str(home.path / "tokens.json")
    at_once(*(program.format(file=file, name=name) for name in ("a", "b")))
    assert len(home.tokens.requesters) == 1 + 2 * 9


def neighbours() -> list[np.ndarray]:
    features = some_features(101)
    features[50] = 1e6
    return [features, np.delete(features, 50, axis=0)]


# Random by design: times, labels, ports, and what follows from a noised answer.
RANDOM = {"time": "T", "client": "C", "address": "A"}


def whole_log(path: Path, features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every byte of the log after all that a stranger and an owner may do."""
    home = make_home(path, features, epsilon=4.0, approval=["waits"])
    tokens = {name: home.tokens.add(name) for name in ("waits", "mail")}
    tried = [
        *(request(6.0, seed) for seed in (0, 1, 0)),
        score_request(np.full((1, DIMENSION), 1e3), sigma=5.0, fingerprint=FINGERPRINT).encode(),
        score_request(some_centroids(900), sigma=5.0, fingerprint=FINGERPRINT).encode(),
        request(fingerprint="another"),
        b"junk",
        *(request(1.0, seed) for seed in range(9)),
    ]
    with serving(home) as url:
        for content in tried:
            asked(url, token_of(home), content)
            asked(url, "wrong", content)
        asked(url, tokens["waits"], request(9.0))
        Approvals(home.path).refuse("", "no")
        asked(url, tokens["waits"], request(9.0))
    place = str(path / "mailbox")
    worker = MailboxWorker(Engine(home), place)
    for sigma in (20.0, 0.1):
        with connect(place, tokens["mail"], timeout_s=0) as connection, pytest.raises(EcosError):
            connection.score(some_centroids(3), sigma=sigma, fingerprint=FINGERPRINT)
        worker.work_once()  # one by one: names follow from the token, which is random
    policy = home.path / "policy.yaml"
    policy.write_text(policy.read_text().replace("epsilon: 4", "epsilon: 5"))
    open_home(home.path).open_ledger()
    text = home.log.path.read_text()
    for name, stand_in in RANDOM.items():
        text = re.sub(rf'"{name}": "[^"]*"', f'"{name}": "{stand_in}"', text)
    return re.sub(r"\(it is [0-9a-f]{16}\)", "(it is K)", text)


def test_the_log_of_neighbouring_data_is_the_same_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        whole_log(tmp_path / str(number), features, monkeypatch)
        for number, features in enumerate(neighbours())
    )
    assert first == second
    for outcome in ("answered", "repeated", "budget", "forbidden", "invalid", "waiting", "refused", "limits"):
        assert f'"{outcome}"' in first


def test_what_strangers_write_is_escaped_and_cut(home: Home) -> None:
    home.log.write("request", operation='x"}\n{"event": "approved"}\r\u2028\x1b[2J' * 100, address="é\x00")
    text = home.log.path.read_bytes()
    assert text.count(b"\n") == 1 and text.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in text[:-1])
    assert len(text) < 1500
    assert [line["event"] for line in home.log.lines()] == ["request"]


def test_lines_of_many_processes_are_whole_and_rotated(tmp_path: Path) -> None:
    program = (
        "import pathlib\nfrom ecos_core.client.security_log import SecurityLog\n"
        "log = SecurityLog(pathlib.Path({folder!r}), file_bytes=4000, files_kept=50)\n"
        "for number in range(60): log.write('request', requester='{writer}', number=number, text='x' * 100)"
    )
    at_once(*(program.format(folder=str(tmp_path), writer=writer) for writer in range(3)))
    log = SecurityLog(tmp_path, file_bytes=4000, files_kept=50)
    found = list(log.lines())
    for writer in range(3):
        assert [line["number"] for line in found if line["requester"] == str(writer)] == list(range(60))
    assert len(list(tmp_path.glob("security.jsonl.*"))) > 5
    times = [line["time"] for line in found]
    assert times == sorted(times)
    assert list(log.lines(since=datetime.now(UTC) + timedelta(hours=1))) == []


def test_what_cannot_be_logged_is_not_answered(home: Home) -> None:
    """A linked log file is written by nobody: the answer stays in the ledger until the owner has put it right."""
    home.log.write("start")
    home.log.path.unlink()
    home.log.path.symlink_to("elsewhere")
    with pytest.raises(OSError):
        home.log.write("request")
    assert not (home.path / "log" / "elsewhere").exists()


def test_a_damaged_line_is_named(home: Home) -> None:
    home.log.write("start")
    with home.log.path.open("a") as file:
        file.write("half a li")
    with pytest.raises(InputError, match="line 2"):
        list(home.log.lines())


def test_a_busy_requester_may_come_again(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", requests_per_minute=1)
    with serving(home) as url, connect(url, token_of(home), attempts=1) as connection:
        connection.score(some_centroids(), sigma=20, fingerprint=FINGERPRINT)
        with pytest.raises(RemoteError, match="in a minute") as caught:
            connection.info()
    assert caught.value.retryable
