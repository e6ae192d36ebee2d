"""A client by its address."""

from __future__ import annotations

from typing import Any

from ecos_core.client.connection import Connection
from ecos_core.client.receipts import ReceiptBook
from ecos_core.errors import InputError


def connect(
    url: str,
    token: str,
    *,
    public_key: str | None = None,
    receipts: ReceiptBook | None = None,
    timeout_s: float = 120.0,
    **options: Any,
) -> Connection:
    """A client by its address: ``http(s)://…``, or a mailbox (a folder, ``s3://bucket/…``, any fsspec
    location).

    ``receipts``: where this client's earlier receipts are kept, and new ones are held against them.
    """
    if url.startswith(("http://", "https://")):
        from ecos_core.client.requester import ClientConnection

        return ClientConnection(
            url, token, public_key=public_key, receipts=receipts, timeout_s=timeout_s, **options
        )
    if options.pop("authority", None) or options.pop("certificate", None):
        raise InputError(f"client {url}: certificates are for https:// addresses only")
    from ecos_core.client.mailbox import MailboxConnection

    return MailboxConnection(url, token, public_key=public_key, receipts=receipts, timeout_s=timeout_s)
