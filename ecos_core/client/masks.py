"""Pairwise masks that cancel in the sum over all participants (Bonawitz et al., CCS 2017, without its
recovery).

Each client has a static X25519 key made from its signing key, and signs it. A pair's shared secret and the
request's digest give both the same ChaCha20 stream, read as integers mod 2^32; the one with the smaller key
adds it, the other subtracts. A repeat has the same digest, so the same masks and the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ecos_core.client.keys import is_signed, public_hex, sign
from ecos_core.client.protocol import Participant
from ecos_core.errors import InputError, PolicyError

Words = npt.NDArray[np.uint32]
_SIGNED = b"ecos-exchange-1\n"


def participant(key: Ed25519PrivateKey) -> Participant:
    """How the holder of ``key`` presents itself to the others."""
    exchange = _exchange_key(key).public_key().public_bytes_raw().hex()
    signature = sign(key, _SIGNED + exchange.encode())
    return Participant(public_key=public_hex(key), exchange_key=exchange, signature=signature)


def check_participants(participants: Sequence[Participant], own: Participant, peers: Sequence[str]) -> None:
    """Raises PolicyError for an unknown participant, InputError unless all are different, this client is one
    of them, and each speaks for itself.
    """
    keys = [found.public_key for found in participants]
    if len(set(keys)) != len(keys) or own not in participants:
        raise InputError("participants: all must be different, and this client must be one of them")
    for found in participants:
        if found != own and found.public_key not in peers:
            raise PolicyError(
                f"participant {found.public_key[:16]}: not among the peers of the client's policy"
            )
        if not is_signed(found.public_key, _SIGNED + found.exchange_key.encode(), found.signature):
            raise InputError(f"participant {found.public_key[:16]}: its exchange key is not signed by it")


def trusted_sigma(share: float, participants: int, dishonest: int) -> float:
    """The noise that is surely in a sum of ``participants`` shares: sigma, when at most ``dishonest`` of all the peers
    on the owner's list add none, or tell it.

    **Proof.** The asker chooses the set S. All in it are on the list, or this client; whatever S is, at most
    ``dishonest`` of it are not to be trusted, and this client is, so at least max(1, |S| - dishonest) add independent
    noise of sigma ``share`` that the asker does not know. What the others do is independent of it: post-processing of a
    sum with that noise alone, which is as good as one discrete Gaussian of sigma share x sqrt(their number): for
    shares of 2 and more and up to 1000 clients to within 1e-12 (Kairouz, Liu, Steinke, ICML 2021).
    """
    return share * math.sqrt(max(1, participants - dishonest))


def mask(key: Ed25519PrivateKey, participants: Sequence[Participant], digest: str, count: int) -> Words:
    """uint32 [count]: the sum of this client's pairwise masks for one request; over all participants they
    cancel.
    """
    own = public_hex(key)
    total = np.zeros(count, np.uint32)
    for other in participants:
        if other.public_key == own:
            continue
        stream = _stream(key, other, digest, count)
        total = total + stream if own < other.public_key else total - stream
    return total


def _stream(key: Ed25519PrivateKey, other: Participant, digest: str, count: int) -> Words:
    try:
        public = X25519PublicKey.from_public_bytes(bytes.fromhex(other.exchange_key))
        shared = _exchange_key(key).exchange(public)
    except ValueError as error:
        raise InputError(f"participant {other.public_key[:16]}: not a valid exchange key") from error
    info = b"ecos mask 1\n" + digest.encode()
    secret = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(shared)
    encryptor = Cipher(ChaCha20(secret, bytes(16)), mode=None).encryptor()
    return np.frombuffer(encryptor.update(bytes(4 * count)), "<u4").astype(np.uint32)


def _exchange_key(key: Ed25519PrivateKey) -> X25519PrivateKey:
    seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"ecos exchange key 1").derive(
        key.private_bytes_raw()
    )
    return X25519PrivateKey.from_private_bytes(seed)
