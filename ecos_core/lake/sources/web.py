"""Pictures by their web addresses: fetched with patience that ends, refused by name when nobody answers."""

from __future__ import annotations

from ecos_core.lake.decode import MAX_FILE_BYTES, BadSample

TIMEOUT_S = 20.0


def fetch(url: str) -> bytes:
    """What lies at ``http(s)://…``. Raises BadSample (``unreadable``, ``too_large``) with the answer's number."""
    import httpx

    try:
        with httpx.stream("GET", url, timeout=TIMEOUT_S, follow_redirects=True) as answer:
            if answer.status_code != 200:
                raise BadSample("unreadable", f"the address answers {answer.status_code}")
            parts: list[bytes] = []
            size = 0
            for part in answer.iter_bytes():
                size += len(part)
                if size > MAX_FILE_BYTES:
                    raise BadSample("too_large", f"more than {MAX_FILE_BYTES:,} bytes")
                parts.append(part)
            return b"".join(parts)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        if isinstance(error, BadSample):
            raise
        raise BadSample("unreadable", f"no answer ({type(error).__name__})") from error
