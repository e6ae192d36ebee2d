"""TLS as the client and its requesters use it, with certificates made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecos_core.client.connecting import connect
from ecos_core.client.engine import Engine
from ecos_core.client.home import Home
from ecos_core.client.serve import Tls, is_loopback, serve
from ecos_core.errors import InputError, PolicyError, RemoteError
from tests.certificates import Authority
from tests.client_support import serving, token_of

pytestmark = pytest.mark.integration


def test_a_trusted_certificate_is_believed_and_no_other(home: Home, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours", "our authority")
    with serving(home, tls=Tls(*authority.issue("client"))) as url:
        with connect(url, token_of(home), authority=authority.file) as connection:
            assert connection.info().client_id == home.identity.client_id
        with (
            connect(url, token_of(home), attempts=1) as connection,
            pytest.raises(RemoteError, match="TLS certificate") as caught,
        ):
            connection.info()
    assert not caught.value.retryable


def test_mutual_tls_lets_only_known_requesters_in(home: Home, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours", "our authority")
    stranger = Authority(tmp_path / "theirs", "another authority")
    with serving(home, tls=Tls(*authority.issue("client"), clients=authority.file)) as url:
        for issuer, allowed in ((authority, True), (stranger, False), (None, False)):
            shown: dict[str, Path] = {}
            if issuer is not None:
                shown = dict(zip(("certificate", "certificate_key"), issuer.issue("first"), strict=True))
            with connect(url, token_of(home), authority=authority.file, attempts=1, **shown) as connection:
                if allowed:
                    assert connection.info().requester == "first"
                else:
                    with pytest.raises(RemoteError):
                        connection.info()


def test_a_certificate_lets_in_whom_it_names_only(home: Home, tmp_path: Path) -> None:
    """The token of one and the certificate of another open nothing: neither is worth anything alone."""
    authority = Authority(tmp_path / "ours", "our authority")
    second = home.tokens.add("second")
    with serving(home, tls=Tls(*authority.issue("client"), clients=authority.file)) as url:
        certificate, key = authority.issue("second")
        options = {
            "authority": authority.file,
            "certificate": certificate,
            "certificate_key": key,
            "attempts": 1,
        }
        with connect(url, second, **options) as connection:
            assert connection.info().requester == "second"
        with connect(url, token_of(home), **options) as connection, pytest.raises(PolicyError, match="token"):
            connection.info()
    (failed,) = [line for line in home.log.lines() if line["event"] == "log-in failed"]
    assert (failed["reason"], failed["token_of"]) == ("the certificate is another's", "first")


def test_beyond_this_machine_clear_text_must_be_asked_for(home: Home) -> None:
    with pytest.raises(InputError, match="clear text"):
        serve(Engine(home), host="0.0.0.0")
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("10.0.0.1") and not is_loopback("example.org")


def test_a_missing_certificate_and_a_taken_port_are_said(home: Home, tmp_path: Path) -> None:
    import socket

    with pytest.raises(InputError, match="TLS"):
        serve(Engine(home), tls=Tls(tmp_path / "no.pem", tmp_path / "no.key"))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="another --port"):
        serve(Engine(home), port=taken.getsockname()[1])
