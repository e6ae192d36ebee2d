"""Certificates made here: the client's, and the requesters' for mutual TLS."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ecos_core.client.connection import connect
from ecos_core.client.engine import Engine
from ecos_core.client.home import Home
from ecos_core.client.serve import Tls, is_loopback, serve
from ecos_core.errors import InputError, RemoteError
from tests.client_support import serving, token_of

pytestmark = pytest.mark.integration


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / "authority.pem"
        made = self._builder(self.subject, self.key.public_key())
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        made = made.add_extension(_identifier(self.key.public_key()), critical=False)
        self._write(self.file, made)

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate and its key, for 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = self._builder(subject, key.public_key())
        made = made.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        made = made.add_extension(authority, critical=False)
        certificate, file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(certificate, made)
        encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write_bytes(key.private_bytes(*encoding, serialization.NoEncryption()))
        return certificate, file

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )

    def _write(self, path: Path, made: x509.CertificateBuilder) -> None:
        path.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _identifier(public: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(public)


def test_a_trusted_certificate_is_believed_and_no_other(home: Home, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ours", "our authority")
    certificate, key = authority.issue("client")
    with serving(home, ssl_certfile=certificate, ssl_keyfile=key) as url:
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
    certificate, key = authority.issue("client")
    options = {
        "ssl_certfile": certificate,
        "ssl_keyfile": key,
        "ssl_ca_certs": str(authority.file),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }
    with serving(home, **options) as url:
        for issuer, allowed in ((authority, True), (stranger, False), (None, False)):
            shown: dict[str, Path] = {}
            if issuer is not None:
                shown = dict(zip(("certificate", "certificate_key"), issuer.issue("cloud"), strict=True))
            with connect(url, token_of(home), authority=authority.file, attempts=1, **shown) as connection:
                if allowed:
                    assert connection.info().protocol == 1
                else:
                    with pytest.raises(RemoteError):
                        connection.info()


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
