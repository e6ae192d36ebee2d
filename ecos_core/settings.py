"""What every object of settings has in common: frozen, unknown fields refused, retired ones named."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """Base of all settings. ``RETIRED``: name -> (its default of old, why it went).

    A retired field at its old default is read over, so that old files, deployments and manifests still open; with
    another value it is an error that says why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    RETIRED: ClassVar[dict[str, tuple[Any, str]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, content: Any) -> Any:
        if not isinstance(content, dict) or not cls.RETIRED.keys() & content.keys():
            return content
        for name, (default, why) in cls.RETIRED.items():
            if content.get(name, default) != default:
                raise ValueError(f"{name}: no longer offered, {why}; leave it out")
        return {name: value for name, value in content.items() if name not in cls.RETIRED}
