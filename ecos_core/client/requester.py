"""The cloud's side: ask a client over HTTP, check the signature of what comes back.

Only failures that may pass are retried (connection refused, timeout, 408, 429, 502, 503 before the client,
504): asking again is safe because the client answers a repeat with the stored answer, for nothing.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from pydantic import ValidationError

from ecos_core.client import wire
from ecos_core.client.connection import Connection
from ecos_core.client.faults import ErrorBody, restore
from ecos_core.client.loopback import is_loopback
from ecos_core.client.receipts import ReceiptBook
from ecos_core.errors import InputError, RemoteError

ATTEMPTS = 4
FIRST_PAUSE_S = 0.5
ANSWER_BYTES_LIMIT = 256 * 2**20
_MAY_PASS = (408, 425, 429, 502, 504)


class ClientConnection(Connection):
    """A client at ``url`` (http:// or https://), asked in the name of ``token``'s holder. Use as a context
    manager.

    ``public_key``: the client's key (hex), when it is known; otherwise the first answer's key is held on to.
    ``authority``: a PEM file that signed the client's certificate; ``certificate``, ``certificate_key``: PEM
    files of our own, for mutual TLS. ``timeout_s`` is for one attempt. Proxies from the environment are
    ignored.
    Raises InputError for an address that cannot be, and for plain http beyond this machine (the token would travel
    in clear text) unless ``allow_clear_text``.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        public_key: str | None = None,
        receipts: ReceiptBook | None = None,
        authority: Path | None = None,
        certificate: Path | None = None,
        certificate_key: Path | None = None,
        allow_clear_text: bool = False,
        timeout_s: float = 120.0,
        attempts: int = ATTEMPTS,
    ) -> None:
        super().__init__(url.rstrip("/"), public_key, receipts)
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"client '{url}': an address like http://127.0.0.1:8731 is needed")
        if not allow_clear_text and _travels_in_clear_text(self.url):
            raise InputError(
                f"client '{url}': over plain http the token can be read on its way; use https, or allow it "
                "(--allow-clear-text, allow_clear_text: true) where the network itself is protected"
            )
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

    def close(self) -> None:
        """Give back what the connection holds."""
        self._http.close()

    def ask_info(self) -> bytes:
        """As ``Connection.ask_info``."""
        return retry(lambda: self._once("GET", "/v1/info", None, {}), self._attempts)

    def ask(self, operation: str, message: bytes) -> bytes:
        """As ``Connection.ask``."""
        headers = {"content-type": wire.MEDIA_TYPE}
        return retry(lambda: self._once("POST", f"/v1/{operation}", message, headers), self._attempts)

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


def _travels_in_clear_text(url: str) -> bool:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"client '{url}': not a valid address or token") from error
    return address.scheme == "http" and not is_loopback(address.host)


def _tls(
    url: str, authority: Path | None, certificate: Path | None, key: Path | None
) -> ssl.SSLContext | bool:
    if not url.startswith("https://"):
        if certificate is not None or authority is not None:
            raise InputError(f"client {url}: certificates are for https:// addresses only")
        return True
    try:
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
        if (certificate is None) != (key is None):
            raise InputError(f"client {url}: a certificate of ours and its key come together; give both")
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"client {url}: a certificate file is missing or is no PEM file") from error
    return context
