"""What a run keeps when it is suspended: it starts over when it is resumed, and must find what it was quoted for."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client

from ecos_core.settings import Settings

SettingsT = TypeVar("SettingsT", bound=Settings)


def settled(config: SettingsT, found: SettingsT) -> SettingsT:
    """``found``, whose names are in full, kept as the parameters of this run in place of ``config``."""
    if found != config:
        with get_client(sync_client=True) as server:
            server.update_flow_run(
                UUID(runtime.flow_run.id), parameters={"config": found.model_dump(mode="json")}
            )
    return found
