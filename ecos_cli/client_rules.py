"""`ecos client approve | dry-run | token | extractor | policy`: the owner's say over who may ask what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError

HomeOption = Annotated[Path, typer.Option("--home", help="The client's folder.")]
SIGMA_SHOWN = 6.12  # the noise of the paper's epsilon, 0.58, under add/remove

app = typer.Typer(pretty_exceptions_enable=False)
token_app = typer.Typer(no_args_is_help=True, help="Who may ask: one secret token a requester.")
extractor_app = typer.Typer(no_args_is_help=True, help="The extractors agreed with the clouds.")
policy_app = typer.Typer(no_args_is_help=True, help="What the owner allows.")
app.add_typer(token_app, name="token")
app.add_typer(extractor_app, name="extractor")
app.add_typer(policy_app, name="policy")


@app.command()
def approve(
    home: HomeOption,
    request: Annotated[str | None, typer.Argument(help="The beginning of a request's name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the requests that wait for you, or approve one (policy: `approval: manual`).

    Example:  ecos client approve --home hospital 3fa91c
    """
    from ecos_core.client.approval import Approvals
    from ecos_core.client.home import open_home

    opened = open_home(home)
    approvals = Approvals(opened.path)
    if request is not None:
        key = approvals.approve(request, by=_user())
        opened.log.write("approved", request=key, by=_user())
        emit(
            {"approved": key},
            as_json=as_json,
            text=f"{key[:16]} is approved; it is answered when asked again",
        )
        return
    waiting = approvals.waiting()
    lines = [f"{key[:16]}  {_one_line(described, 'waits')}" for key, described in waiting.items()]
    emit({"waiting": waiting}, as_json=as_json, text="\n".join(lines) or "nothing waits")


@app.command()
def refuse(
    home: HomeOption,
    request: Annotated[str, typer.Argument(help="The beginning of a waiting request's name.")],
    reason: Annotated[str, typer.Option(help="What the requester is told, one line.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Refuse a request that waits for you. The requester is told, with the reason; `approve` takes it back.

    Example:  ecos client refuse --home hospital 3fa91c --reason "not during the audit"
    """
    from ecos_core.client.approval import Approvals
    from ecos_core.client.home import open_home

    opened = open_home(home)
    key = Approvals(opened.path).refuse(request, reason, by=_user())
    opened.log.write("refused", request=key, reason=reason, by=_user())
    emit(
        {"refused": key, "reason": reason}, as_json=as_json, text=f"{key[:16]} is refused; nothing was spent"
    )


def _user() -> str:
    """Who sits at this machine, as far as it knows."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@app.command("dry-run")
def dry_run(
    home: HomeOption,
    request: Annotated[Path | None, typer.Option(help="A saved request (one frame).")] = None,
    sigma: Annotated[
        float, typer.Option(help="Without --request: the noise of a score request.")
    ] = SIGMA_SHOWN,
    clusters: Annotated[int, typer.Option(help="Without --request: its number of centroids.")] = 100,
    gamma: Annotated[float, typer.Option(help="Without --request: its subsampling rate.")] = 1.0,
    requester: Annotated[str, typer.Option(help="Who would ask.")] = "first",
    as_json: JsonOption = False,
) -> None:
    """What an incoming request would do and cost. Nothing is answered, spent or written.

    Example:  ecos client dry-run --home hospital --sigma 6.12 --clusters 100
    """
    from ecos_core.client.engine import Engine

    engine = Engine(ready_home(home, as_json))
    message = engine.example(clusters, sigma, gamma) if request is None else _read_request(request)
    described = engine.preview(message, requester)
    emit(described, as_json=as_json, text=_one_line(described))


def _read_request(path: Path) -> bytes:
    """A frame as it is sent, or a mailbox's request file."""
    from ecos_core.client import wire

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read") from error
    _, arrays = wire.decode(content)
    return arrays["message"].tobytes() if "message" in arrays else content


def _one_line(described: dict[str, Any], outcome: str | None = None) -> str:
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in described["shapes"].items())
    return (
        f"{described['operation']} by {described['requester']} ({shapes}): "
        f"{outcome or described['outcome']}; "
        f"costs epsilon {described['epsilon_release']:.4f}, total {described['epsilon_before']:.4f} -> "
        f"{described['epsilon_after']:.4f} of {described['epsilon_limit']:g} at delta {described['delta']:g}"
    )


@token_app.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="The requester's name.")],
    home: HomeOption,
    token_file: Annotated[Path, typer.Option(help="Where to write the token (mode 600).")],
    days: Annotated[float | None, typer.Option(help="Good for so many days; default: until revoked.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let one more requester ask.

    Example:  ecos client token add cloud-b --home hospital --token-file cloud-b.token
    """
    from ecos_core.client.home import open_home
    from ecos_core.client.keys import write_secret

    opened = open_home(home)
    if token_file.exists():
        raise InputError(f"{token_file}: there is a file already; choose another name")
    token = opened.tokens.add(name, days)
    opened.log.write("token added", requester=name, days=days, by=_user())
    write_secret(token_file, token.encode() + b"\n")
    emit(
        {"requester": name, "token_file": str(token_file)},
        as_json=as_json,
        text=f"{name}: token in {token_file}",
    )


@token_app.command("revoke")
def token_revoke(
    name: Annotated[str, typer.Argument(help="The requester's name.")],
    home: HomeOption,
    as_json: JsonOption = False,
) -> None:
    """Refuse a requester from the next request on; takes effect in a running service at once.

    Example:  ecos client token revoke cloud-b --home hospital
    """
    from ecos_core.client.home import open_home

    opened = open_home(home)
    opened.tokens.revoke(name)
    opened.log.write("token revoked", requester=name, by=_user())
    emit({"requester": name, "revoked": True}, as_json=as_json, text=f"{name}: refused from now on")


@token_app.command("list")
def token_list(home: HomeOption, as_json: JsonOption = False) -> None:
    """Who has a token.

    Example:  ecos client token list --home hospital
    """
    from ecos_core.client.home import open_home

    requesters = open_home(home).tokens.requesters
    lines = [f"{found.name:<24} {_until(found)}" for found in requesters]
    emit(
        {
            "requesters": [found.name for found in requesters],
            "expires": {found.name: found.expires for found in requesters if found.expires is not None},
        },
        as_json=as_json,
        text="\n".join(lines) or "nobody",
    )


def _until(requester: Any) -> str:
    from datetime import UTC, datetime

    if requester.expires is None:
        return "until revoked"
    day = datetime.fromtimestamp(requester.expires, UTC).isoformat(timespec="minutes")
    return f"{'expired' if requester.has_expired() else 'until'} {day}"


@extractor_app.command("add")
def extractor_add(
    home: HomeOption,
    folder: Annotated[
        Path, typer.Option("--from", help="Folder with extractor.json (LAKE/features/FINGERPRINT).")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Agree without being asked.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Agree on one more extractor and extract the private features with it. Restart the service afterwards.

    What is agreed to is shown first: the graph's digest, its operators and size, what it reads, where it runs.

    Example:  ecos client extractor add --home hospital --from lake/features/3fa9…
    """
    from ecos_core.client.home import add_extractor, open_home
    from ecos_core.client.policy import agree_on_extractor

    opened = open_home(home)
    extractor = find_extractor("", None, None, folder)
    show_agreement(extractor, quiet=as_json)
    if not (yes or as_json) and sys.stdin.isatty():
        typer.confirm("Agree to it?", abort=True)
    with progress_bar(quiet=as_json) as progress:
        add_extractor(opened, extractor, progress)
    agree_on_extractor(home / "policy.yaml", extractor.fingerprint)
    emit(
        {
            "fingerprint": extractor.fingerprint,
            "graph": extractor.graph.digest if extractor.graph else None,
            "operators": extractor.graph.operators if extractor.graph else {},
        },
        as_json=as_json,
        text=f"{extractor.fingerprint}: agreed, features extracted; restart `ecos client serve`",
    )


@policy_app.command("show")
def policy_show(home: HomeOption, as_json: JsonOption = False) -> None:
    """The rules in force, checked.

    Example:  ecos client policy show --home hospital
    """
    from ecos_core.client.home import open_home

    policy = open_home(home).policy
    rules = {**policy.model_dump(mode="json"), "most_clusters": policy.most_clusters}
    emit(rules, as_json=as_json, text="\n".join(f"{name:<24} {value}" for name, value in rules.items()))


def ready_home(home: Path, quiet: bool) -> Any:
    """An opened home with its features finished."""
    from ecos_core.client.home import check_ready, complete_features, open_home

    opened = open_home(home)
    with progress_bar(quiet=quiet) as progress:
        complete_features(opened, progress)
    check_ready(opened)
    return opened


def show_agreement(extractor: Any, *, quiet: bool) -> None:
    """What the owner agrees to, on standard error."""
    if quiet:
        return
    from ecos_core.features.agreement import summary
    from ecos_core.features.confinement import available

    layers = ", ".join(name for name, there in available().items() if there) or "nothing on this system"
    lines = [*summary(extractor), f"runs in    a process without files and network, confined by {layers}"]
    typer.echo("\n".join(lines), err=True)


def find_extractor(name: str, image_size: int | None, weights: str | None, folder: Path | None) -> Any:
    """The extractor saved in a lake's folder, or a backbone by name; its graph is checked and never run here."""
    from ecos_core.features.extractor import load_extractor, load_saved

    if folder is not None:
        return load_saved(str(folder), engine="onnx", weights=weights)
    return load_extractor(name, engine="onnx", image_size=image_size, weights=weights)
