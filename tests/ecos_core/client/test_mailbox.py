"""The mailbox's own promises; what it shares with HTTP is in test_contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecos_core.client import wire
from ecos_core.client.connection import connect
from ecos_core.client.engine import Engine
from ecos_core.client.home import Home
from ecos_core.client.mailbox import MailboxWorker
from ecos_core.errors import IntegrityError, RemoteError
from tests.client_support import FINGERPRINT, some_centroids, token_of


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
