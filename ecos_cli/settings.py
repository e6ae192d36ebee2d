"""Options, ``--config`` and ``--set``: a command's settings are one object of ``ecos_core.config``, given in any way.

A file gives what it likes, a command's own options stand above it, ``--set`` above both, so that whatever the YAML and
the form can say, the command line can.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from ecos_core.config import first_mistake, read_yaml
from ecos_core.errors import InputError
from ecos_core.settings import near, nested_model, paths_of

ModelT = TypeVar("ModelT", bound=BaseModel)

# An option that sets its field to null: another one says the same in other words.
NULL = object()

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="YAML file of settings; options and --set stand above it."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Any setting, such as seed=3; again for more."),
]


def settings(
    model: type[ModelT],
    command: str,
    options: Mapping[str, Any],
    *,
    config: Path | None = None,
    sets: Sequence[str] | None = None,
    flags: Mapping[str, str] | None = None,
) -> ModelT:
    """The settings that a command was given.

    ``options``: dotted field -> value, None where the option was not given; ``flags``: dotted field -> the option that
    sets it, for messages. Raises InputError, one line, naming the first wrong field.
    """
    values: dict[str, Any] = {} if config is None else read_yaml(config)
    for path, value in options.items():
        if value is not None:
            put(values, path, None if value is NULL else value)
    for text in sets or []:
        path, value = parsed(text, model)
        put(values, path, value)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing" and path in (flags or {}):
            raise InputError(
                f"{(flags or {})[path]} is missing: {described(model, path)} (or give {path} in --config or --set)"
            ) from error
        raise InputError(f"ecos {command}: {first_mistake(error, model)}") from error


def noise_options(epsilon: float | None, sigma: float | None) -> dict[str, Any]:
    """The options --epsilon and --sigma: either stands in place of what a file says of both."""
    if epsilon is None and sigma is not None:
        return {"privacy.epsilon": NULL, "privacy.sigma": sigma}
    if epsilon is not None and sigma is None:
        return {"privacy.epsilon": epsilon, "privacy.sigma": NULL}
    return {"privacy.epsilon": epsilon, "privacy.sigma": sigma}


def parsed(text: str, model: type[BaseModel]) -> tuple[str, Any]:
    """The dotted field and the value of ``FIELD=VALUE``; a field's last name is enough where it is the only one.

    Raises InputError for another form and for a field that is not there, with the one that is spelled most like it.
    """
    import yaml

    name, sign, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not sign or not name:
        raise InputError(f"--set {text}: write FIELD=VALUE, such as seed=3")
    known = paths_of(model)
    if name not in known:
        same = [path for path in known if path.rsplit(".", 1)[-1] == name]
        if len(same) > 1:
            raise InputError(f"--set {name}: which one? {', '.join(same)}")
        if not same:
            raise InputError(f"--set {name}: there is no such setting{near(name, known)}")
        name = same[0]
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: the value is not valid YAML") from error


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set ``a.b.c`` in nested mappings, which are made where there are none."""
    *parents, last = path.split(".")
    for name in parents:
        inner = values.get(name)
        values[name] = copy.copy(inner) if isinstance(inner, dict) else {}
        values = values[name]
    values[last] = value


def described(model: type[BaseModel], path: str) -> str:
    """What a field is, in words, for a message."""
    *parents, last = path.split(".")
    for name in parents:
        model = nested_model(model, name) or model
    field = model.model_fields[last]
    return (field.description or field.title or last).rstrip(".")
