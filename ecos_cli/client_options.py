"""How a command is told which client to ask: the same options everywhere, one place that makes them settings."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

PARAMETER = "client"
ClientOptions = dict[str, Any]  # dotted field of the settings -> value, None where the option was not given
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "client": (
        Annotated[
            str | None,
            typer.Option(help="The client's address, such as https://hospital:8731, or a mailbox."),
        ],
        None,
    ),
    "token_file": (Annotated[Path | None, typer.Option(help="File with this requester's token.")], None),
    "public_key": (
        Annotated[
            str | None,
            typer.Option(
                help="The client's signing key (64 hex digits), as its owner told it; else the first seen."
            ),
        ],
        None,
    ),
    "authority": (
        Annotated[
            Path | None,
            typer.Option(
                "--authority",
                "--ca-file",
                help="PEM file of the authority behind the client's TLS certificate.",
            ),
        ],
        None,
    ),
    "client_cert": (
        Annotated[
            Path | None, typer.Option(help="PEM file: our certificate, where the client asks for one.")
        ],
        None,
    ),
    "client_key": (Annotated[Path | None, typer.Option(help="PEM file: the key of --client-cert.")], None),
    "allow_clear_text": (
        Annotated[
            bool,
            typer.Option("--allow-clear-text", help="Send the token over plain http beyond this machine."),
        ],
        False,
    ),
    "timeout": (
        Annotated[float, typer.Option(help="Seconds to wait for the client's answer, each time.")],
        60.0,
    ),
}


def asks_client(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options above. It takes them as its parameter ``client``, as ``settings`` wants them."""
    signature = inspect.signature(command, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, kind, annotation=annotation, default=default)
        for name, (annotation, default) in _OPTIONS.items()
    ]
    own = [found.replace(kind=kind) for name, found in signature.parameters.items() if name != PARAMETER]
    where = list(signature.parameters).index(PARAMETER)
    parameters = [*own[:where], *added, *own[where:]]

    @functools.wraps(command)
    def told(**given: Any) -> None:
        options = {name: given.pop(name) for name in _OPTIONS}
        command(**given, **{PARAMETER: _fields(options)})

    told.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    told.__annotations__ = {found.name: found.annotation for found in parameters} | {"return": None}
    return told


def _fields(options: dict[str, Any]) -> ClientOptions:
    files = {
        "token_file": "token_file",
        "authority": "certificate_authority",
        "client_cert": "certificate",
        "client_key": "certificate_key",
    }
    found = {f"client.{field}": options[name] and str(options[name]) for name, field in files.items()}
    return {
        **found,
        "client.url": options["client"],
        "client.public_key": options["public_key"],
        "client.timeout_s": options["timeout"],
        "client.allow_clear_text": options["allow_clear_text"] or None,
    }
