"""Ed25519 keys: the client signs receipts with its own; a requester's is derived from its token.

Deriving the requester's key means that one secret, the token, serves both transports, while the client keeps
only the token's hash and the public key: neither lets its reader ask in the requester's name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ecos_core.client.protocol import Receipt
from ecos_core.errors import InputError, IntegrityError


def create_key(path: Path) -> Ed25519PrivateKey:
    """Make a new signing key and store it, readable by its owner only. Raises InputError when there is
    one.
    """
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(path, text)
    return key


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file of mode 600, durably. Raises InputError when it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise InputError(f"{path}: there is one already; remove it first if it is to be replaced") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def load_key(path: Path) -> Ed25519PrivateKey:
    """Raises InputError when the key is missing or is no Ed25519 key."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise InputError(f"{path}: the client's key is missing; restore it or make a new home") from error
    except ValueError as error:
        raise InputError(f"{path}: not a private key in PEM; restore it or make a new home") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: an Ed25519 key is needed")
    return key


def public_hex(key: Ed25519PrivateKey) -> str:
    """The public half, 64 hex digits."""
    return key.public_key().public_bytes_raw().hex()


def client_id(public_key: str) -> str:
    """A short name for a client, from its public key."""
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:16]


def requester_key(token: str) -> Ed25519PrivateKey:
    """The signing key of whoever holds ``token`` (HKDF-SHA256, RFC 5869)."""
    seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"ecos requester key 1").derive(token.encode())
    return Ed25519PrivateKey.from_private_bytes(seed)


def sign(key: Ed25519PrivateKey, data: bytes) -> str:
    """Hex signature; Ed25519 is deterministic, so equal data give equal bytes."""
    return key.sign(data).hex()


def is_signed(public_key: str, data: bytes, signature: str) -> bool:
    """Whether ``signature`` over ``data`` is that key's."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def sign_receipt(key: Ed25519PrivateKey, receipt: Receipt) -> Receipt:
    """The receipt with this key's signature."""
    return receipt.model_copy(update={"signature": sign(key, receipt.unsigned())})


class OtherKeyError(IntegrityError):
    """Another key signed than the one that is known to be the client's."""

    def __init__(self, where: str, expected: str, found: str) -> None:
        super().__init__(f"{where}: signing key", expected, found)
        self.args = (
            f"{where}: its signing key is {found}, not {expected}: this is another client, or somebody in its place; "
            "ask its owner for its key, by another way than this one",
        )


def verify_receipt(
    receipt: Receipt,
    *,
    public_key: str | None = None,
    request_digest: str | None = None,
    answer_digest: str | None = None,
) -> None:
    """Check the signature and whatever is given. Raises IntegrityError at the first thing that differs.

    ``public_key``: the key that the requester knows to be the client's; without it the receipt only proves
    that whoever holds the key inside it said so.
    """
    where = f"receipt {receipt.sequence} of client {receipt.client_id}"
    if public_key is not None and public_key != receipt.public_key:
        raise OtherKeyError(where, public_key, receipt.public_key)
    for what, expected, found in (
        ("request", request_digest, receipt.request_digest),
        ("answer", answer_digest, receipt.answer_digest),
        ("client id", client_id(receipt.public_key), receipt.client_id),
    ):
        if expected is not None and expected != found:
            raise IntegrityError(f"{where}: {what}", expected, found)
    if not is_signed(receipt.public_key, receipt.unsigned(), receipt.signature):
        raise IntegrityError(f"{where}: signature", "a valid one", "another")
