"""The cloud's side: ask a client over HTTP, check the signature of what comes back.

Only failures that may pass are retried (connection refused, timeout, 408, 429, 502, 503 before the client,
504): asking again is safe because the client answers a repeat with the stored answer, for nothing.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ecos_core.client import wire
from ecos_core.client.faults import ErrorBody, restore
from ecos_core.client.keys import verify_receipt
from ecos_core.client.protocol import ClientInfo, Receipt, ScoreRelease, ScoreRequest, parse, score_request
from ecos_core.errors import InputError, IntegrityError, RemoteError
from ecos_core.privacy.events import HISTOGRAM_SENSITIVITY, Adjacency
from ecos_core.storage import sha256_hex

ATTEMPTS = 4
FIRST_PAUSE_S = 0.5
ANSWER_BYTES_LIMIT = 256 * 2**20
_MAY_PASS = (408, 425, 429, 502, 504)


class ClientConnection:
    """A client at ``url`` (http:// or https://), asked in the name of ``token``'s holder. Use as a context
    manager.

    ``public_key``: the client's key (hex), when it is known; otherwise the first answer's key is held on to.
    ``authority``: a PEM file that signed the client's certificate; ``certificate``, ``certificate_key``: PEM
    files of our own, for mutual TLS. ``timeout_s`` is for one attempt. Proxies from the environment are
    ignored.
    Raises InputError for an address that cannot be.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        public_key: str | None = None,
        authority: Path | None = None,
        certificate: Path | None = None,
        certificate_key: Path | None = None,
        timeout_s: float = 120.0,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"client '{url}': an address like http://127.0.0.1:8731 is needed")
        self._public_key = public_key
        self._attempts = attempts
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"authorization": f"Bearer {token.strip()}"},
                timeout=httpx.Timeout(timeout_s, connect=min(10.0, timeout_s)),
                trust_env=False,
                verify=_tls(self.url, authority, certificate, certificate_key),
            )
        except (httpx.InvalidURL, UnicodeEncodeError) as error:
            raise InputError(f"client '{url}': not a valid address or token") from error

    def __enter__(self) -> ClientConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def info(self) -> ClientInfo:
        """What the client says of itself. Raises PolicyError (token), RemoteError."""
        body = self._ask("GET", "/v1/info")
        info = parse(ClientInfo, _json(body, self.url), f"client {self.url}")
        self._pin(info.public_key)
        return info

    def score(
        self,
        centroids: npt.ArrayLike,
        *,
        sigma: float,
        fingerprint: str,
        adjacency: str = "add-remove",
        gamma: float = 1.0,
    ) -> ScoreRelease:
        """Noised coverage scores of ``centroids`` [R, d]; the receipt is verified.

        Raises InputError, PolicyError, BudgetExceeded (nothing was spent); RemoteError (down, slow: ask
        again, a repeat is free); IntegrityError when the answer is not what the client signed.
        """
        request = score_request(
            centroids, sigma=sigma, fingerprint=fingerprint, adjacency=adjacency, gamma=gamma
        )
        return self._release(self._ask("POST", "/v1/score", request.encode()), request)

    def _release(self, response: bytes, request: ScoreRequest) -> ScoreRelease:
        where, asked, clusters = f"client {self.url}", request.parameters, len(request.centroids)
        try:
            header, arrays = wire.decode(response)
            receipt = parse(Receipt, _tuples(header.pop("receipt", None)), where)
            counts = arrays["counts"].astype(np.int64)
        except (InputError, KeyError) as error:
            raise RemoteError(
                f"{where}: its answer is no release; is it an ECOS client?", retryable=False
            ) from error
        stored = sha256_hex(wire.encode({"operation": "score"}, {"counts": counts}))
        verify_receipt(
            receipt, public_key=self._public_key, request_digest=request.digest, answer_digest=stored
        )
        self._pin(receipt.public_key)
        if counts.shape != (clusters,):
            raise IntegrityError(where, f"{clusters} scores", f"{counts.size}")
        return ScoreRelease(
            counts=counts,
            sigma=asked.sigma,
            sensitivity=HISTOGRAM_SENSITIVITY[Adjacency(asked.adjacency)],
            adjacency=asked.adjacency,
            gamma=asked.gamma,
            delta=receipt.delta,
            epsilon=receipt.epsilon,
            epsilon_autodp=receipt.epsilon_autodp,
            epsilon_release=receipt.epsilon_release,
            receipt=receipt,
        )

    def _pin(self, public_key: str) -> None:
        if self._public_key is not None and self._public_key != public_key:
            raise IntegrityError(f"client {self.url}: signing key", self._public_key, public_key)
        self._public_key = public_key

    def _ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        headers = {"content-type": wire.MEDIA_TYPE} if content is not None else {}
        return retry(lambda: self._once(method, path, content, headers), self._attempts)

    def _once(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> bytes:
        try:
            with self._http.stream(method, path, content=content, headers=headers) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES_LIMIT:
                        raise RemoteError(f"client {self.url}: its answer is absurdly large", retryable=False)
        except httpx.ConnectError as error:
            reason = "refuses the connection; is `ecos client serve` running there?"
            if "CERTIFICATE" in str(error).upper() or "SSL" in str(error).upper():
                reason = "cannot be trusted: its TLS certificate or ours was refused"
                raise RemoteError(f"client {self.url} {reason}", retryable=False) from error
            raise RemoteError(f"client {self.url} {reason}", retryable=True) from error
        except httpx.TimeoutException as error:
            raise RemoteError(
                f"client {self.url} did not answer in time; ask again later, a repeat costs nothing",
                retryable=True,
            ) from error
        except httpx.HTTPError as error:
            raise RemoteError(
                f"client {self.url}: the connection broke ({type(error).__name__}); ask again", retryable=True
            ) from error
        if response.is_success:
            return bytes(body)
        raise self._failure(response.status_code, bytes(body))

    def _failure(self, status: int, body: bytes) -> Exception:
        try:
            told = ErrorBody.model_validate_json(body)
        except ValidationError:
            return RemoteError(
                f"client {self.url} answered with status {status}; is it an ECOS client?",
                retryable=status in _MAY_PASS,
            )
        return restore(told, self.url)


def retry(call: Callable[[], bytes], attempts: int) -> bytes:
    """Call until it succeeds, fails for good, or has been tried ``attempts`` times; the pause doubles each
    time.
    """
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except RemoteError as error:
            if not error.retryable or attempt == attempts:
                raise
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("attempts is at least 1")


def _tls(
    url: str, authority: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext | bool:
    if not url.startswith("https://"):
        return True
    try:
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"client {url}: a certificate file is missing or is no PEM file") from error
    return context


def _json(body: bytes, url: str) -> Any:
    try:
        return _tuples(wire.strict_json(body, f"client {url}"))
    except InputError as error:
        raise RemoteError(
            f"client {url}: its answer is no JSON; is it an ECOS client?", retryable=False
        ) from error


def _tuples(value: Any) -> Any:
    """JSON has lists only; the frozen messages hold tuples."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
