"""The requester's side of a receipt: the question's price, and the ledger's history."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ecos_core.client import wire
from ecos_core.client.connecting import connect
from ecos_core.client.home import Home, open_home
from ecos_core.client.keys import sign_receipt
from ecos_core.client.protocol import Receipt
from ecos_core.client.receipts import ReceiptBook, RolledBackError
from ecos_core.client.requester import ClientConnection
from ecos_core.errors import InputError, IntegrityError
from ecos_core.storage import Location
from tests.client_support import FINGERPRINT, make_home, serving, some_centroids, token_of

pytestmark = pytest.mark.integration
CLASSES = ("cat", "dog")


@pytest.fixture
def book(tmp_path: Path) -> ReceiptBook:
    return ReceiptBook(Location.of(tmp_path / "receipts"))


def ask(home: Home, book: ReceiptBook, *sigmas: float) -> None:
    with serving(home) as url, connect(url, token_of(home), receipts=book, attempts=1) as connection:
        for sigma in sigmas:
            connection.score(some_centroids(), sigma=sigma, fingerprint=FINGERPRINT)


def put_back(home: Home, kept: Path) -> Home:
    """The whole home as it was, with its counter: the client itself cannot tell."""
    shutil.rmtree(home.path)
    shutil.copytree(kept, home.path)
    return open_home(home.path)


def changed(monkeypatch: pytest.MonkeyPatch, home: Home, **fields: Any) -> None:
    """A client that states something else in its receipts, and signs it."""
    honest = ClientConnection.ask

    def ask(self: ClientConnection, operation: str, message: bytes) -> bytes:
        header, arrays = wire.decode(honest(self, operation, message))
        receipt = Receipt.model_validate_json(json.dumps(header.pop("receipt"))).model_copy(update=fields)
        signed = sign_receipt(home.key(), receipt).model_dump(mode="json")
        return wire.encode({**header, "receipt": signed}, arrays)

    monkeypatch.setattr(ClientConnection, "ask", ask)


@pytest.mark.parametrize(
    "what",
    [
        {"sigma": 5.0}, {"sigma": 12.0}, {"sensitivity": 2.0}, {"adjacency": "replace"}, {"gamma": 0.5}, {"count": 2},
    ],
)  # fmt: skip
def test_a_receipt_that_charges_for_another_question_is_found_out(
    home: Home, monkeypatch: pytest.MonkeyPatch, what: dict[str, Any]
) -> None:
    from ecos_core.client.protocol import Event

    event = {"sigma": 6.0, "sensitivity": 1.0, "adjacency": "add-remove", "gamma": 1.0, "count": 1, **what}
    changed(monkeypatch, home, events=(Event.model_validate(event),))
    with (
        serving(home) as url,
        connect(url, token_of(home)) as connection,
        pytest.raises(IntegrityError, match="charged"),
    ):
        connection.score(some_centroids(), sigma=6.0, fingerprint=FINGERPRINT)


def test_another_delta_than_was_told_is_found_out(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(monkeypatch, home, delta=1e-3)
    with serving(home) as url, connect(url, token_of(home)) as connection:
        connection.info()
        with pytest.raises(IntegrityError, match="delta"):
            connection.score(some_centroids(), sigma=6.0, fingerprint=FINGERPRINT)


def test_a_differing_delta_is_refused_with_both_numbers(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", delta=1e-6)
    with serving(home) as url, connect(url, token_of(home)) as connection:
        assert connection.agreed(1e-6).delta == 1e-6
        with pytest.raises(InputError, match="delta 1e-06, not 1e-05"):
            connection.agreed(1e-5)


def test_an_honest_client_is_believed_whatever_the_order(
    home: Home, book: ReceiptBook, tmp_path: Path
) -> None:
    ask(home, book, 6.0, 7.0)
    ask(home, book, 7.0, 6.0, 8.0)
    other = home.tokens.add("second")
    with serving(home) as url, connect(url, other, receipts=book) as connection:
        connection.score(some_centroids(), sigma=9.0, fingerprint=FINGERPRINT)
        connection.score(some_centroids(), sigma=6.0, fingerprint=FINGERPRINT)
    ask(home, book, 9.0, 10.0)
    assert len(list((tmp_path / "receipts" / home.identity.client_id).iterdir())) == 5


def test_a_client_put_back_is_found_out_before_it_is_asked(
    home: Home, book: ReceiptBook, tmp_path: Path
) -> None:
    ask(home, book, 6.0)
    shutil.copytree(home.path, tmp_path / "kept")
    ask(home, book, 7.0)
    home = put_back(home, tmp_path / "kept")
    with (
        serving(home) as url,
        connect(url, token_of(home), receipts=book) as connection,
        pytest.raises(RolledBackError, match="put back"),
    ):
        connection.info()
    assert home.open_ledger().verify().releases == 1


@pytest.mark.parametrize("again", [7.0, 8.0], ids=["the same question", "another question"])
def test_a_fork_is_found_out_by_its_receipt(
    home: Home, book: ReceiptBook, tmp_path: Path, again: float
) -> None:
    ask(home, book, 6.0)
    shutil.copytree(home.path, tmp_path / "kept")
    ask(home, book, 7.0)
    home = put_back(home, tmp_path / "kept")
    with pytest.raises(RolledBackError, match="entry"):
        ask(home, book, again)


def test_a_forgotten_answer_is_found_out_at_another_place(
    home: Home, book: ReceiptBook, tmp_path: Path
) -> None:
    shutil.copytree(home.path, tmp_path / "kept")
    ask(home, book, 6.0)
    home = put_back(home, tmp_path / "kept")
    ask(home, ReceiptBook(Location.of(tmp_path / "elsewhere")), 7.0, 8.0)
    with pytest.raises(RolledBackError, match="answered anew"):
        ask(home, book, 6.0)


def test_every_operation_charges_for_what_was_asked(tmp_path: Path, book: ReceiptBook) -> None:
    from tests.ecos_core.client.test_contract import labelled_home

    home = labelled_home(tmp_path / "home", epsilon=100)
    with serving(home) as url, connect(url, token_of(home), receipts=book) as connection:
        connection.info()
        connection.label_histogram(some_centroids(), CLASSES, sigma=2.0, fingerprint=FINGERPRINT)
        connection.label(
            some_centroids(), CLASSES, fingerprint=FINGERPRINT, neighbours=5, threshold=1.0, screening_sigma=2.0,
            argmax_sigma=3.0,
        )  # fmt: skip


def test_units_and_replacement_charge_for_what_was_asked(tmp_path: Path) -> None:
    for adjacency in ("unit", "replace"):
        units = {"units": [str(row // 2) for row in range(200)]} if adjacency == "unit" else {}
        home = make_home(tmp_path / adjacency, adjacency=adjacency, **units)
        with serving(home) as url, connect(url, token_of(home)) as connection:
            release = connection.score(
                some_centroids(), sigma=6.0, adjacency=adjacency, fingerprint=FINGERPRINT
            )
        assert release.epsilon > 0


def test_what_lies_in_the_folder_and_is_no_receipt_is_passed_over(
    home: Home, book: ReceiptBook, tmp_path: Path
) -> None:
    folder = tmp_path / "receipts" / home.identity.client_id
    folder.mkdir(parents=True)
    for name in ("notes.txt", "x.a.b.c.d.json", "000000000002.json"):
        (folder / name).write_text("x")
    ask(home, book, 6.0)
