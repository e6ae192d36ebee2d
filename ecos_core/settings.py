"""What every object of settings has in common: frozen, unknown fields refused, retired ones named."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, ClassVar, get_args, get_origin

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


def nested_model(model: type[BaseModel], name: str, *, in_lists: bool = False) -> type[BaseModel] | None:
    """The model of a field that is one, or may be (``in_lists``: or whose items are); None for any other field."""
    waiting = [model.model_fields[name].annotation]
    while waiting:
        choice = waiting.pop()
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
        if in_lists or get_origin(choice) not in (list, tuple):
            waiting += get_args(choice)
    return None


def paths_of(model: type[BaseModel]) -> list[str]:
    """All fields that may be set, dotted; those of objects in place of the objects."""
    found: list[str] = []
    for name in model.model_fields:
        inner = nested_model(model, name)
        found += [name] if inner is None else [f"{name}.{path}" for path in paths_of(inner)]
    return found


def near(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with what is spelled most like ``name``; nothing where nothing is."""
    by_last = {path.rsplit(".", 1)[-1]: path for path in known}
    found = get_close_matches(name.rsplit(".", 1)[-1], by_last, n=1, cutoff=0.6)
    return f"; did you mean '{by_last[found[0]]}'?" if found else ""
