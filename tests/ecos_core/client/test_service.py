"""The contract over a real socket: what is refused costs nothing, what is repeated is the same bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ecos_core.client import service, wire
from ecos_core.client.home import Home, open_home
from ecos_core.client.operations.score import score_request
from ecos_core.client.requester import ClientConnection
from ecos_core.errors import BudgetExceeded, InputError, IntegrityError, PolicyError, RemoteError
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


@pytest.fixture
def connection(served: tuple[Home, str]) -> Iterator[ClientConnection]:
    home, url = served
    with ClientConnection(url, token_of(home), attempts=1) as made:
        yield made


def spent(home: Home) -> int:
    return len(home.open_ledger().statement(None, home.identity.data_version).events)


def test_an_answer_carries_its_cost_and_a_valid_receipt(connection: ClientConnection) -> None:
    release = connection.score(some_centroids(), sigma=6.12, fingerprint=FINGERPRINT)
    assert release.counts.dtype == np.int64
    assert release.counts.shape == (5,)
    assert release.epsilon == pytest.approx(0.582, rel=0.005)
    assert release.receipt.requester == "first"
    second = connection.score(some_centroids(), sigma=7.0, fingerprint=FINGERPRINT)
    assert second.epsilon > release.epsilon > second.epsilon_release
    assert second.receipt.sequence == release.receipt.sequence + 1


def test_paper_mode_is_accounted_as_subsampling(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", gamma=0.8)
    with serving(home) as url, ClientConnection(url, token_of(home), attempts=1) as connection:
        release = connection.score(some_centroids(), sigma=10, gamma=0.8, fingerprint=FINGERPRINT)
        assert release.epsilon == pytest.approx(0.2844, rel=0.01)
        with pytest.raises(PolicyError, match=r"is 0\.8, that is fixed"):
            connection.score(some_centroids(), sigma=10, fingerprint=FINGERPRINT)


def test_gamma_and_sigma_are_the_owners_choice(tmp_path: Path) -> None:
    """A gamma chosen after looking at answers could exceed the limit; without a word of the owner it is 1."""
    home = make_home(tmp_path / "home", largest_sigma=50, smallest_sigma=5)
    with serving(home) as url, ClientConnection(url, token_of(home), attempts=1) as connection:
        for gamma, sigma, reason in (
            (0.8, 10, "all records"),
            (1, 51, "largest, 50"),
            (1, 4.9, "smallest, 5"),
        ):
            with pytest.raises(PolicyError, match=reason):
                connection.score(some_centroids(), sigma=sigma, gamma=gamma, fingerprint=FINGERPRINT)
    assert spent(home) == 0


def test_a_repeat_is_the_same_bytes_for_nothing_also_after_a_restart(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    request = score_request(some_centroids(), sigma=3, fingerprint=FINGERPRINT).encode()
    other = score_request(some_centroids(), sigma=4, fingerprint=FINGERPRINT).encode()
    headers = {"authorization": f"Bearer {token_of(home)}"}
    answers = set()
    for _ in range(2):
        with serving(home) as url, httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
            for message in (request, other, request):
                response = http.post("/v1/score", content=message)
                assert response.status_code == 200
                if message is request:
                    answers.add(response.content)
    assert len(answers) == 1
    assert spent(home) == 2


def test_minus_zero_is_zero(served: tuple[Home, str], connection: ClientConnection) -> None:
    centroids = some_centroids()
    centroids[0, 0] = 0.0
    first = connection.score(centroids, sigma=3, fingerprint=FINGERPRINT)
    centroids[0, 0] = -0.0
    assert connection.score(centroids, sigma=3, fingerprint=FINGERPRINT).receipt == first.receipt
    assert spent(served[0]) == 1


# A frame of doubles, as no encoder here makes it.
DOUBLES = wire.encode(
    {
        "operation": "score",
        "sigma": 5.0,
        "adjacency": "add-remove",
        "gamma": 1.0,
        "fingerprint": FINGERPRINT,
    },
    {"centroids": np.full((2, DIMENSION), 1e308).view(np.int64)},
).replace(b'"<i8"', b'"<f8"')
BAD = {
    "nothing": b"",
    "doubles of 1e308": DOUBLES,
    "truncated": DOUBLES[:-1],
    "junk": b"\x00" * 100,
    "no arrays": wire.encode({"operation": "score", "sigma": 5.0, "fingerprint": FINGERPRINT}, {}),
    **{
        name: wire.encode(
            {
                "operation": "score",
                "sigma": 5.0,
                "adjacency": "add-remove",
                "gamma": 1.0,
                "fingerprint": FINGERPRINT,
            },
            {"centroids": array},
        )
        for name, array in {
            "NaN": np.full((2, DIMENSION), np.nan, np.float32),
            "infinite": np.full((2, DIMENSION), np.inf, np.float32),
            "huge numbers": np.full((2, DIMENSION), 1e38, np.float32),
            "equal": np.ones((2, DIMENSION), np.float32),
            "equal but for the sign of zero": np.array([[0.0] * DIMENSION, [-0.0] * DIMENSION], np.float32),
            "another dimension": np.ones((1, DIMENSION + 1), np.float32),
            "no clusters": np.ones((0, DIMENSION), np.float32),
            "no dimension": np.ones((4, 0), np.float32),
            "one axis": np.ones(DIMENSION, np.float32),
            "integers": np.ones((2, DIMENSION), np.int64),
        }.items()
    },
    **{
        f"{field} {value}": wire.encode(
            {
                "operation": "score",
                "sigma": 5.0,
                "adjacency": "add-remove",
                "gamma": 1.0,
                "fingerprint": FINGERPRINT,
                field: value,
            },
            {"centroids": some_centroids()},
        )
        for field, value in [
            ("sigma", 0.0),
            ("sigma", -1.0),
            ("sigma", 1e308),
            ("sigma", True),
            ("gamma", -0.0),
            ("sigma", "5"),
            ("gamma", 0.0),
            ("gamma", 1.5),
            ("adjacency", "none"),
            ("operation", "read"),
            ("operation", ["score"]),
            ("nonce", 1),
            ("fingerprint", "x" * 10_000),
            ("fingerprint", "a\nb"),
        ]
    },
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_request_is_refused_and_costs_nothing(served: tuple[Home, str], name: str) -> None:
    home, url = served
    response = httpx.post(
        f"{url}/v1/score",
        content=BAD[name],
        headers={"authorization": f"Bearer {token_of(home)}"},
        trust_env=False,
    )
    assert response.status_code == 400
    assert set(response.json()) == {"error", "message"}
    assert "\n" not in response.json()["message"]
    assert spent(home) == 0


@pytest.mark.parametrize(
    ("rules", "asked", "reason"),
    [
        ({}, {"fingerprint": "another"}, "extractor 'another' is not agreed"),
        ({}, {"adjacency": "replace"}, "accounts for 'add-remove' only"),
        ({"smallest_sigma": 5.0}, {"sigma": 4.9}, "below the policy's smallest"),
        ({"clusters_at_most": 4}, {}, "more than the client's policy allows"),
        ({"stated_records": 100, "clusters_per_record": 0.04}, {}, "more than the client's policy allows"),
        ({"operations": []}, {}, "not allowed by the client's policy"),
        ({"requesters": ["somebody-else"]}, {}, "not in the client's policy"),
    ],
)
def test_what_the_policy_forbids_is_refused_and_costs_nothing(
    tmp_path: Path, rules: dict, asked: dict, reason: str
) -> None:
    home = make_home(tmp_path / "home", **rules)
    with (
        serving(home) as url,
        ClientConnection(url, token_of(home), attempts=1) as connection,
        pytest.raises(PolicyError, match=reason),
    ):
        connection.score(some_centroids(), **{"sigma": 6.0, "fingerprint": FINGERPRINT, **asked})
    assert spent(home) == 0


def test_over_budget_is_refused_with_the_numbers(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", epsilon=1.0)
    with serving(home) as url, ClientConnection(url, token_of(home), attempts=1) as connection:
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
        with pytest.raises(BudgetExceeded) as caught:
            connection.score(some_centroids(), sigma=3, fingerprint=FINGERPRINT)
        info = connection.info()
    assert caught.value.limit == 1.0
    assert caught.value.asked > 1.0 > caught.value.spent > 0.5
    assert info.epsilon_spent == pytest.approx(caught.value.spent)
    assert spent(home) == 1


def test_too_many_new_requests_are_put_off(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", requests_per_minute=2)
    with serving(home) as url, ClientConnection(url, token_of(home), attempts=1) as connection:
        for sigma in (20, 21, 20, 21):
            connection.score(some_centroids(), sigma=sigma, fingerprint=FINGERPRINT)
        with pytest.raises(RemoteError, match="new requests in a minute") as caught:
            connection.score(some_centroids(), sigma=22, fingerprint=FINGERPRINT)
    assert caught.value.retryable
    assert spent(home) == 2


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong", "Basic Zm9vOmJhcg==", "Bearer \u00e9".encode()]
)
def test_without_the_token_nothing_is_answered(served: tuple[Home, str], header: str | None) -> None:
    _, url = served
    headers = {} if header is None else {"authorization": header}
    for method, path in (("GET", "/v1/info"), ("POST", "/v1/score")):
        response = httpx.request(method, f"{url}{path}", headers=headers, trust_env=False)
        assert response.status_code == 401
        assert response.json()["error"] == "unauthorised"
    assert httpx.get(f"{url}/v1/health", trust_env=False).status_code == 200


def test_a_revoked_token_is_refused_at_once(served: tuple[Home, str], connection: ClientConnection) -> None:
    connection.info()
    served[0].tokens.revoke("first")
    with pytest.raises(PolicyError, match="does not know this token"):
        connection.info()


def test_two_requesters_have_accounts_of_their_own(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", epsilon=10, epsilon_per_requester=1)
    second = home.tokens.add("second")
    with serving(home) as url:
        answers = []
        for token in (token_of(home), second):
            with ClientConnection(url, token, attempts=1) as connection:
                answers.append(connection.score(some_centroids(), sigma=4, fingerprint=FINGERPRINT))
                with pytest.raises(BudgetExceeded):
                    connection.score(some_centroids(), sigma=4.1, fingerprint=FINGERPRINT)
    assert [answer.receipt.requester for answer in answers] == ["first", "second"]
    # One release, charged to both requesters and once to the total: one noise for one request.
    assert np.array_equal(answers[0].counts, answers[1].counts)
    assert answers[1].epsilon == answers[0].epsilon
    assert home.open_ledger().verify().releases == 1


def test_an_oversized_body_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", largest_request_mb=0.01)
    headers = {"authorization": f"Bearer {token_of(home)}"}
    with serving(home) as url:
        declared = httpx.post(f"{url}/v1/score", content=b"x" * 20_000, headers=headers, trust_env=False)
        chunks = (b"x" * 5000 for _ in range(4))
        dripped = httpx.post(f"{url}/v1/score", content=chunks, headers=headers, trust_env=False)
    for response in (declared, dripped):
        assert response.status_code == 413
        assert response.json()["error"] == "too_large"


def test_a_slow_body_is_given_up(served: tuple[Home, str], monkeypatch: pytest.MonkeyPatch) -> None:
    home, url = served
    monkeypatch.setattr(service, "BODY_SECONDS", 0.2)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            f"POST /v1/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token_of(home)}\r\n"
            "content-length: 1000\r\n\r\nhalf".encode()
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 408")
    assert spent(home) == 0


def test_the_last_epsilon_is_answered_to_the_allowed_number_only(tmp_path: Path) -> None:
    """Sixteen at once ask for what is left for three."""
    home = make_home(tmp_path / "home", epsilon=1.0)
    book = home.open_ledger()
    allowed = book.answers_left(7.0, data_version=home.identity.data_version)
    assert 0 < allowed < 16
    outcomes: list[str] = []
    barrier = threading.Barrier(16)
    with serving(home) as url:

        def ask(number: int) -> None:
            with ClientConnection(url, token_of(home)) as connection:
                barrier.wait()
                try:
                    connection.score(some_centroids(seed=number), sigma=7, fingerprint=FINGERPRINT)
                    outcomes.append("answered")
                except BudgetExceeded:
                    outcomes.append("refused")

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["answered"] * allowed + ["refused"] * (16 - allowed)
    assert spent(home) == allowed


def test_sixteen_times_the_same_question_is_one_release(served: tuple[Home, str]) -> None:
    home, url = served
    found: list[bytes] = []

    def ask() -> None:
        with ClientConnection(url, token_of(home)) as connection:
            found.append(
                connection.score(some_centroids(), sigma=7, fingerprint=FINGERPRINT).counts.tobytes()
            )

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert spent(home) == 1


def test_a_client_that_is_down_or_no_client_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with ClientConnection(f"http://127.0.0.1:{port}", "t", timeout_s=0.2, attempts=1) as slow:
            with pytest.raises(RemoteError, match="did not answer in time") as caught:
                slow.info()
            assert caught.value.retryable
    with ClientConnection(f"http://127.0.0.1:{port}", "t", attempts=2) as down:
        with pytest.raises(RemoteError, match="refuses the connection") as caught:
            down.info()
        assert caught.value.retryable
    with pytest.raises(InputError, match="an address like"):
        ClientConnection("ftp://x", "t")


def test_the_environments_proxies_are_ignored(
    served: tuple[Home, str], connection: ClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with ClientConnection(served[1], token_of(served[0]), attempts=1) as fresh:
        assert fresh.info().protocol == 2


def test_an_answer_of_another_client_is_found_out(
    served: tuple[Home, str], connection: ClientConnection
) -> None:
    home, url = served
    with (
        ClientConnection(url, token_of(home), public_key="0" * 64, attempts=1) as pinned,
        pytest.raises(IntegrityError, match="signing key"),
    ):
        pinned.score(some_centroids(), sigma=7, fingerprint=FINGERPRINT)


def test_a_tampered_answer_is_found_out(
    connection: ClientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ClientConnection.ask

    def tampered(self: ClientConnection, *arguments: object) -> bytes:
        header, arrays = wire.decode(ask(self, *arguments))  # type: ignore[arg-type]
        return wire.encode(header, {"counts": arrays["counts"] + 1})

    monkeypatch.setattr(ClientConnection, "ask", tampered)
    with pytest.raises(IntegrityError, match="answer"):
        connection.score(some_centroids(), sigma=7, fingerprint=FINGERPRINT)


def test_records_of_one_unit_are_protected_together(tmp_path: Path) -> None:
    features = some_features(200)
    home = make_home(
        tmp_path / "home",
        features,
        adjacency="unit",
        units=[str(row // 100) for row in range(200)],
        epsilon=50,
    )
    with serving(home) as url, ClientConnection(url, token_of(home), attempts=1) as connection:
        release = connection.score(some_centroids(), sigma=1, adjacency="unit", fingerprint=FINGERPRINT)
    assert abs(release.counts).max() < 12  # two units' votes and the noise, not two hundred images
    assert release.epsilon_release == pytest.approx(4.37, rel=0.05)
    assert open_home(home.path).open_ledger().verify().releases == 1
