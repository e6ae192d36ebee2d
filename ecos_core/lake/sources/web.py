"""Samples by their web addresses: fetched with patience that ends, refused by name when nobody answers."""

from __future__ import annotations

import time

from ecos_core.lake.decode import MAX_FILE_BYTES, BadSample

SILENCE_S = 20.0
PATIENCE_S = 300.0


def is_web(url: str) -> bool:
    """Whether it is an address of the web."""
    return url.lower().startswith(("http://", "https://"))


def fetch(url: str) -> bytes:
    """What lies at ``http(s)://…``; redirections are followed.

    Raises BadSample: ``unreadable`` with the answer's number, or when the server is silent for ``SILENCE_S`` seconds or
    not done after ``PATIENCE_S``; ``too_large``.
    """
    import httpx

    until = time.monotonic() + PATIENCE_S
    try:
        with httpx.stream("GET", url, timeout=SILENCE_S, follow_redirects=True) as answer:
            if answer.status_code != 200:
                raise BadSample("unreadable", f"the address answers {answer.status_code}")
            parts: list[bytes] = []
            size = 0
            for part in answer.iter_bytes():
                size += len(part)
                if size > MAX_FILE_BYTES:
                    raise BadSample("too_large", f"more than {MAX_FILE_BYTES:,} bytes")
                if time.monotonic() > until:
                    raise BadSample("unreadable", f"not done after {PATIENCE_S:g} s")
                parts.append(part)
            return b"".join(parts)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        if isinstance(error, BadSample):
            raise
        raise BadSample("unreadable", f"no answer ({type(error).__name__})") from error
