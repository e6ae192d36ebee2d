"""The mailbox's own promises; what it shares with HTTP is in test_contract."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ecos_core.client import mailbox, wire
from ecos_core.client.approval import Approvals
from ecos_core.client.connecting import connect
from ecos_core.client.engine import Engine
from ecos_core.client.faults import RefusedByOwnerError
from ecos_core.client.home import Home, open_home
from ecos_core.client.mailbox import MailboxWorker
from ecos_core.errors import InputError, IntegrityError, RemoteError
from tests.client_support import FINGERPRINT, make_home, some_centroids, token_of


def write_request(home: Home, place: str, sigma: float = 6.0) -> None:
    """Put a request into the mailbox without waiting for its answer."""
    with (
        connect(place, token_of(home), timeout_s=0) as connection,
        pytest.raises(RemoteError, match="in time"),
    ):
        connection.score(some_centroids(), sigma=sigma, fingerprint=FINGERPRINT)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "mailbox")


@pytest.fixture
def worker(home: Home, place: str) -> MailboxWorker:
    return MailboxWorker(Engine(home), place)


def test_a_request_is_settled_once(home: Home, place: str, worker: MailboxWorker) -> None:
    write_request(home, place)
    assert worker.work_once() == 1
    assert worker.work_once() == 0
    with connect(place, token_of(home), timeout_s=0) as connection:
        first = connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
    assert home.open_ledger().verify().releases == 1
    # The answer was lost on its way: asked again, it is the same.
    for file in (Path(place) / "answers").iterdir():
        file.unlink()
    write_request(home, place)
    worker.work_once()
    with connect(place, token_of(home), timeout_s=0) as connection:
        assert connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT).receipt == first.receipt


def test_a_changed_answer_file_is_found_out(home: Home, place: str, worker: MailboxWorker) -> None:
    write_request(home, place)
    worker.work_once()
    (answer,) = (Path(place) / "answers").iterdir()
    header, arrays = wire.decode(answer.read_bytes())
    body = arrays["body"].copy()
    body[-1] ^= 1
    answer.write_bytes(wire.encode(header, {"body": body}))
    with connect(place, token_of(home), timeout_s=0) as connection, pytest.raises(IntegrityError):
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
    answer.write_bytes(b"junk")
    with connect(place, token_of(home), timeout_s=0) as connection, pytest.raises(IntegrityError):
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)


def test_an_answer_to_another_request_is_found_out(home: Home, place: str, worker: MailboxWorker) -> None:
    for sigma in (6.0, 7.0):
        write_request(home, place, sigma)
    worker.work_once()
    first, second = (Path(place) / "answers").iterdir()
    swapped = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(swapped)
    with connect(place, token_of(home), timeout_s=0) as connection, pytest.raises(IntegrityError):
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)


def test_an_unsigned_or_foreign_request_costs_nothing(home: Home, place: str, worker: MailboxWorker) -> None:
    write_request(home, place)
    (request,) = (Path(place) / "requests").iterdir()
    header, arrays = wire.decode(request.read_bytes())
    forged = [
        wire.encode({**header, "signature": "0" * 128}, arrays),
        wire.encode({**header, "public_key": "0" * 64}, arrays),
        wire.encode({**header, "operation": "label"}, arrays),
        wire.encode({**header, "operation": 3}, arrays),
        wire.encode({**header, "nonce": "0" * 32}, arrays),
        wire.encode({**header, "nonce": "a\nb"}, arrays),
        wire.encode(header, {"message": np.append(arrays["message"], np.uint8(0))}),
        b"",
    ]
    for content in forged:
        request.write_bytes(content)
        assert worker.work_once() == 1
    assert home.open_ledger().verify().releases == 0


def test_an_object_store_is_a_mailbox_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory file system stands for the object store: the same fsspec calls, no rename, no folders."""
    place = "memory://bucket/hospital"
    worker = MailboxWorker(Engine(home), place)
    write_request(home, place)
    assert worker.work_once() == 1
    with connect(place, token_of(home), timeout_s=0) as connection:
        assert connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT).epsilon > 0


ODD = "0" * 64 + ".ecos"  # before any honest name


def odd_entries(requests: Path) -> dict[str, Callable[[], None]]:
    """What somebody who can write to the mailbox may leave there under the name of a request."""
    odd = requests / ODD

    def folder() -> None:
        odd.mkdir()
        (odd / "inside").write_bytes(b"x")

    def sparse() -> None:
        with odd.open("wb") as file:
            file.truncate(2**40)

    return {
        "a pipe": lambda: os.mkfifo(odd),
        "a link to a pipe": lambda: (os.mkfifo(requests / "pipe"), odd.symlink_to("pipe"))[1],
        "a link to an endless file": lambda: odd.symlink_to("/dev/zero"),
        "a link to a private file": lambda: odd.symlink_to("/etc/hostname"),
        "a link to nothing": lambda: odd.symlink_to("absent"),
        "a link to itself": lambda: odd.symlink_to(ODD),
        "a folder": folder,
        "a terabyte": sparse,
        "a socket": lambda: os.mknod(odd, stat.S_IFSOCK | 0o600),
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", odd_entries(Path()))
def test_an_odd_entry_neither_stops_nor_starves_those_behind_it(
    home: Home, place: str, worker: MailboxWorker, kind: str
) -> None:
    write_request(home, place)
    odd_entries(Path(place) / "requests")[kind]()
    worker.work_once()
    worker.work_once()
    with connect(place, token_of(home), timeout_s=0) as connection:
        assert connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT).epsilon > 0


def test_an_answer_that_cannot_be_written_stops_no_other(
    home: Home, place: str, worker: MailboxWorker, caplog: pytest.LogCaptureFixture
) -> None:
    for sigma in (6.0, 7.0):
        write_request(home, place, sigma)
    first = min((Path(place) / "requests").iterdir()).name
    (Path(place) / "answers" / first / "in the way").mkdir(parents=True)
    assert worker.work_once() == 1
    assert "left for later" in caplog.text
    (Path(place) / "answers" / first / "in the way").rmdir()
    (Path(place) / "answers" / first).rmdir()
    worker = MailboxWorker(Engine(home), place)
    assert worker.work_once() == 1
    assert home.open_ledger().verify().releases == 2


@pytest.mark.parametrize("name", ["answers", "requests"])
def test_a_linked_folder_is_refused(home: Home, place: str, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_request(home, place)
    folder = Path(place) / name
    if folder.exists():
        folder.rename(tmp_path / "before")
    folder.symlink_to(elsewhere)
    worker = MailboxWorker(Engine(home), place)
    if name == "requests":
        with pytest.raises(InputError, match="a link"):
            worker.work_once()
        with (
            connect(place, token_of(home), timeout_s=0) as connection,
            pytest.raises(InputError, match="link"),
        ):
            connection.score(some_centroids(), sigma=8, fingerprint=FINGERPRINT)
    else:
        assert worker.work_once() == 0
    assert not list(elsewhere.iterdir())


def test_names_of_strangers_reach_no_log_and_no_signature(
    home: Home, place: str, worker: MailboxWorker, caplog: pytest.LogCaptureFixture
) -> None:
    requests = Path(place) / "requests"
    requests.mkdir(parents=True)
    names = [
        "x\nERROR ecos: the ledger is verified.ecos",
        f"{'a' * 64}\nok\n.ecos",
        f"{'A' * 64}.ecos",
        f"{'a' * 63}.ecos",
        f"{'a' * 64}.ecos\n",
        "\x1b[2J.ecos",
        ".ecos",
    ]
    for name in names:
        (requests / name).write_bytes(b"junk")
    (requests / ODD).write_bytes(b"junk")
    assert worker.work_once() == 1  # the one of a right name is answered: it is no request
    assert sorted(file.name for file in requests.iterdir()) == sorted(names)
    assert [file.name for file in (Path(place) / "answers").iterdir()] == [ODD]
    assert "verified" not in caplog.text and "\x1b" not in caplog.text
    lines = home.log.path.read_bytes()
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in lines)
    assert b"verified" not in lines


def test_a_refusal_is_good_for_its_own_question_only(home: Home, place: str, tmp_path: Path) -> None:
    """The owner changes the policy: an old refusal, left there or put back by somebody, is not believed."""
    policy = home.path / "policy.yaml"
    before = policy.read_text()
    policy.write_text(before.replace("operations: [score]", "operations: []"))
    write_request(home, place)
    MailboxWorker(Engine(open_home(home.path)), place).work_once()
    (answer,) = (Path(place) / "answers").iterdir()
    refusal = answer.read_bytes()
    assert b"refused" in refusal
    policy.write_text(before)
    write_request(home, place)  # nobody is there yet: the old refusal is no answer to this
    answer.write_bytes(refusal)
    MailboxWorker(Engine(open_home(home.path)), place).work_once()
    with connect(place, token_of(home), timeout_s=0) as connection:
        assert connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT).epsilon > 0


def test_what_waits_is_not_counted_or_logged_at_every_look(tmp_path: Path, place: str) -> None:
    home = make_home(tmp_path / "home", approval="manual", requests_per_minute=2)
    write_request(home, place)
    worker = MailboxWorker(Engine(home), place)
    for _ in range(20):
        assert worker.work_once() == 0
    assert [line["outcome"] for line in home.log.lines() if line["event"] == "request"] == ["waiting"]
    Approvals(home.path).approve("")
    assert worker.work_once() == 1
    with connect(place, token_of(home), timeout_s=0) as connection:
        assert connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT).epsilon > 0


def test_the_owners_refusal_reaches_the_requester_with_its_reason(tmp_path: Path, place: str) -> None:
    home = make_home(tmp_path / "home", approval="manual")
    write_request(home, place)
    worker = MailboxWorker(Engine(home), place)
    assert worker.work_once() == 0
    Approvals(home.path).refuse("", "not during the audit")
    stop = threading.Event()
    thread = threading.Thread(target=worker.work, args=(stop.is_set, 0.02), daemon=True)
    thread.start()
    with (
        connect(place, token_of(home), timeout_s=20) as connection,
        pytest.raises(RefusedByOwnerError, match="not during the audit"),
    ):
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
    stop.set()
    thread.join(10)
    assert home.open_ledger().verify().releases == 0


def test_a_flood_of_junk_leaves_room_for_the_last(
    home: Home, place: str, worker: MailboxWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "LETTERS_A_PASS", 3)
    write_request(home, place)
    (mine,) = (file.name for file in (Path(place) / "requests").iterdir())
    for number in range(4):
        (Path(place) / "requests" / f"{number:064x}.ecos").mkdir()
    for _ in range(3):
        worker.work_once()
    assert mine in {file.name for file in (Path(place) / "answers").iterdir()}


def test_no_answers_to_info_are_left_behind(home: Home, place: str, worker: MailboxWorker) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=worker.work, args=(stop.is_set, 0.02), daemon=True)
    thread.start()
    with connect(place, token_of(home), timeout_s=20) as connection:
        assert connection.info().requester == "first"
    stop.set()
    thread.join(10)
    assert not list((Path(place) / "answers").iterdir())
