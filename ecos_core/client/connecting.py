"""A client by its address."""

from __future__ import annotations

from typing import Any

from ecos_core.client.connection import Connection


def connect(
    url: str, token: str, *, public_key: str | None = None, timeout_s: float = 120.0, **options: Any
) -> Connection:
    """A client by its address: ``http(s)://…``, or a mailbox (a folder, ``s3://bucket/…``, any fsspec
    location).
    """
    if url.startswith(("http://", "https://")):
        from ecos_core.client.requester import ClientConnection

        return ClientConnection(url, token, public_key=public_key, timeout_s=timeout_s, **options)
    from ecos_core.client.mailbox import MailboxConnection

    return MailboxConnection(url, token, public_key=public_key, timeout_s=timeout_s)
