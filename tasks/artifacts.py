"""What a run's page shows a person: tables, text, pictures and links."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from tasks.progress import artifact_key


def show_table(name: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """A table; nothing for no rows."""
    if rows:
        create_table_artifact([dict(row) for row in rows], key=artifact_key(name), description=description)


def show_text(name: str, markdown: str, description: str | None = None) -> None:
    create_markdown_artifact(markdown, key=artifact_key(name), description=description)


def show_picture(name: str, png: bytes, description: str) -> None:
    """A picture, inside the artifact itself: no file server is needed."""
    address = "data:image/png;base64," + base64.b64encode(png).decode()
    create_image_artifact(address, key=artifact_key(name), description=description)


def show_link(name: str, address: str, text: str, description: str | None = None) -> None:
    create_link_artifact(address, link_text=text, key=artifact_key(name), description=description)
