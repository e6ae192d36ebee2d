"""Connections that are opened and left, half-sent or slow: bounded floods over loopback keep nobody out."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from ecos_core.client import door
from ecos_core.client.connecting import connect
from ecos_core.client.home import Home
from tests.client_support import make_home, serving, token_of

pytestmark = pytest.mark.integration
HALF = b"POST /v1/score HTTP/1.1\r\nhost: x\r\nx-half"


def host_of(url: str) -> tuple[str, int]:
    host, port = url.partition("://")[2].split(":")
    return host, int(port)


@contextmanager
def half_sent(
    url: str, count: int, content: bytes = HALF, source: str = "127.0.0.1"
) -> Iterator[list[socket.socket]]:
    """So many connections from one address, each with ``content`` sent and no more."""
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            made = socket.create_connection(host_of(url), timeout=10, source_address=(source, 0))
            opened.append(stack.enter_context(made))
            made.sendall(content)
        yield opened


def is_closed(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def answers(url: str) -> bool:
    return httpx.get(f"{url}/v1/health", trust_env=False, timeout=10).status_code == 200


@pytest.mark.parametrize("content", [HALF, b"", b"\r\n"], ids=["half a head", "nothing", "an empty line"])
def test_seventy_half_sent_requests_keep_nobody_out(served: tuple[Home, str], content: bytes) -> None:
    home, url = served
    with half_sent(url, 70, content):
        for _ in range(3):
            assert answers(url)  # the same address
        with connect(url, token_of(home)) as connection:
            assert connection.info().requester == "first"
    left = [line for line in home.log.lines() if line["event"] == "connection closed"]
    assert left and {line["reason"] for line in left} == {"too many connections"}


def test_one_address_takes_no_place_of_another(
    served: tuple[Home, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = served
    monkeypatch.setattr(door, "PLACES_AN_ADDRESS", 4)
    with half_sent(url, 3) as patient, half_sent(url, 20, source="127.0.0.2") as crowd:
        assert answers(url)
        assert not any(is_closed(made, 0.05) for made in patient)
        assert sum(is_closed(made, 0.05) for made in crowd) == 16


def test_when_all_places_are_taken_the_longest_wait_makes_way(
    served: tuple[Home, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = served
    monkeypatch.setattr(door, "PLACES", 6)
    with ExitStack() as stack:
        crowds = [stack.enter_context(half_sent(url, 3, source=f"127.0.0.{site}")) for site in (2, 3, 4)]
        assert answers(url)
        assert all(is_closed(made, 1) for made in crowds[0])


def test_a_head_that_drips_is_given_up(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "HEAD_SECONDS", 1.0)
    with serving(home) as url, half_sent(url, 2) as opened:
        began = time.monotonic()
        while time.monotonic() - began < 10 and not is_closed(opened[0], 0.1):
            try:
                opened[0].sendall(b"x")
            except OSError:
                break
        assert time.monotonic() - began < 8
        assert is_closed(opened[1], 5)


def test_a_second_head_that_drips_and_a_body_after_a_refusal_are_given_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "HEAD_SECONDS", 1.0)
    first = b"GET /v1/health HTTP/1.1\r\nhost: x\r\n\r\n"
    refused = b"POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    for begun in (first, refused):
        with serving(home) as url, half_sent(url, 1, begun) as (opened,):
            assert opened.recv(1000).startswith(b"HTTP/1.1 ")
            began = time.monotonic()
            while time.monotonic() - began < 10:
                try:
                    opened.sendall(b"x")
                except OSError:
                    break
                if is_closed(opened, 0.1):
                    break
            assert time.monotonic() - began < 8


def test_handshakes_that_never_end_are_given_up(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ecos_core.client.serve import Tls
    from tests.certificates import Authority

    monkeypatch.setattr(door, "HEAD_SECONDS", 1.0)
    authority = Authority(tmp_path / "ours", "our authority")
    with (
        serving(home, tls=Tls(*authority.issue("client"))) as url,
        half_sent(url, 70, b"\x16\x03\x01") as opened,
    ):
        with connect(url, token_of(home), authority=authority.file) as connection:
            assert connection.info().requester == "first"
        assert all(is_closed(made, 6) for made in opened[-3:])


def test_slow_bodies_of_one_requester_hold_up_no_other(home: Home) -> None:
    second = home.tokens.add("second")
    begun = (
        f"POST /v1/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token_of(home)}\r\n"
        "content-length: 1000\r\n\r\nx"
    )
    with serving(home) as url, half_sent(url, 20, begun.encode()):
        time.sleep(0.2)
        response = httpx.post(
            f"{url}/v1/score",
            content=b"junk",
            headers={"authorization": f"Bearer {second}"},
            trust_env=False,
            timeout=10,
        )
    assert response.status_code == 400


def test_what_a_proxy_says_is_believed_of_the_proxy_only(home: Home) -> None:
    said = {"x-forwarded-for": "203.0.113.7"}
    for proxy, expected in ((None, "127.0.0.1"), ("127.0.0.1", "203.0.113.7")):
        with serving(home, proxy=proxy) as url:
            httpx.get(f"{url}/v1/info", headers=said, trust_env=False)
        assert list(home.log.lines())[-1]["address"] == expected


def test_behind_a_proxy_its_address_has_no_share(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PLACES_AN_ADDRESS", 4)
    with serving(home, proxy="127.0.0.1") as url, half_sent(url, 20) as opened:
        assert answers(url)
        assert not any(is_closed(made, 0.02) for made in opened)


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("nowhere", "nowhere"),
    ],
)
def test_a_site_is_one_address(address: str, site: str) -> None:
    assert door._site(address) == site


def test_names_of_a_certificate() -> None:
    told = {
        "subject": ((("countryName", "DE"),), (("commonName", "cloud-a"),)),
        "subjectAltName": (("DNS", "cloud-a"), ("DNS", "cloud.example.org"), ("IP Address", "127.0.0.1")),
    }
    assert door.certificate_names(told) == ("cloud-a", "cloud.example.org")
    assert door.certificate_names(None) == door.certificate_names({}) == ()


def test_serves_and_closes_gracefully_when_stopped(tmp_path: Path) -> None:
    home = make_home(tmp_path / "other")
    with serving(home) as url:
        assert answers(url)
    with pytest.raises(httpx.ConnectError):
        answers(url)
