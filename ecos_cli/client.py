"""`ecos client`: what runs at the data owner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError

if TYPE_CHECKING:
    from ecos_core.client.policy import Policy
    from ecos_core.progress import ProgressSink

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="What runs at the data owner.")
token_app = typer.Typer(no_args_is_help=True, help="Who may ask: one secret token a requester.")
extractor_app = typer.Typer(no_args_is_help=True, help="The extractors agreed with the clouds.")
policy_app = typer.Typer(no_args_is_help=True, help="What the owner allows.")
app.add_typer(token_app, name="token")
app.add_typer(extractor_app, name="extractor")
app.add_typer(policy_app, name="policy")

HomeOption = Annotated[Path, typer.Option("--home", help="The client's folder.")]
SIGMA_SHOWN = 6.12  # the noise of the paper's epsilon, 0.58, under add/remove


@app.command()
def init(
    home: HomeOption,
    epsilon: Annotated[float, typer.Option(help="Hard limit of what all answers together may cost.")],
    images: Annotated[
        Path | None, typer.Option(help="The private images: flat, class/file or domain/class/file.")
    ] = None,
    delta: Annotated[float, typer.Option(help="The delta that epsilons are stated at.")] = 1e-5,
    extractor: Annotated[str, typer.Option(help="Backbone of the features.")] = "efficientnet_lite0",
    image_size: Annotated[int, typer.Option(help="Side of the image that the backbone sees, px.")] = 128,
    weights: Annotated[
        str | None, typer.Option(help="Weights name or local file, for other backbones.")
    ] = None,
    extractor_from: Annotated[
        Path | None, typer.Option(help="Folder with a lake's extractor.json (LAKE/features/FINGERPRINT).")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Ready features (.npy, [n, d]) instead of images.")
    ] = None,
    fingerprint: Annotated[str | None, typer.Option(help="Name of the extractor of --features.")] = None,
    units: Annotated[Path | None, typer.Option(help="CSV file,unit: whose image each one is.")] = None,
    adjacency: Annotated[
        str, typer.Option(help="What is protected: add-remove, replace or unit.")
    ] = "add-remove",
    records: Annotated[
        int | None, typer.Option(help="Order of magnitude of images that you choose to state.")
    ] = None,
    minimum_records: Annotated[int, typer.Option(help="Fewest usable images to start with.")] = 100,
    operations: Annotated[str, typer.Option(help="Allowed operations, with commas.")] = "score",
    answer_after: Annotated[float, typer.Option(help="Seconds after which each new answer leaves.")] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """Make a client: key, policy, ledger, first token, and the features of the private images.

    Interrupted, the same command goes on where it was.

    Example:  ecos client init --home hospital --images scans/ --epsilon 2 --delta 1e-5
    """
    from ecos_core.client.policy import Policy
    from ecos_core.client.protocol import parse

    rules = {
        "epsilon": epsilon,
        "delta": delta,
        "adjacency": adjacency,
        "stated_records": records,
        "minimum_records": minimum_records,
        "operations": [name.strip() for name in operations.split(",") if name.strip()],
        "answer_after_seconds": answer_after,
    }
    policy = parse(Policy, rules, "options of init")
    with progress_bar(quiet=as_json) as progress:
        if features is not None:
            made = _init_from_features(home, policy, features, fingerprint)
        elif images is not None:
            made = _init_from_images(
                home, policy, images, (extractor, image_size, weights, extractor_from), units, progress
            )
        else:
            raise InputError("--images is missing: the folder of private images (or --features)")
    agreed = made.policy.extractors[0]
    held = made.features(agreed)
    set_aside = sum(held.set_aside.values())
    result = {
        "home": str(home),
        "client_id": made.identity.client_id,
        "data_version": made.identity.data_version,
        "fingerprint": agreed,
        "token_file": str(home / "token"),
        "private_images": len(held.features),
        "private_set_aside": set_aside,
        "epsilon_limit": epsilon,
        "delta": delta,
    }
    reasons = ", ".join(f"{count} {reason}" for reason, count in held.set_aside.items())
    text = (
        f"client {made.identity.client_id} in {home}: {len(held.features)} images"
        + (f", {set_aside} set aside ({reasons})" if set_aside else "")
        + f"\n  policy   {home / 'policy.yaml'} (read it, edit it)"
        + f"\n  token    {home / 'token'} (give it to the first requester; keep it secret)"
        + f"\n  next     ecos client serve --home {home} --port 8731"
    )
    emit(result, as_json=as_json, text=text)


def _init_from_images(
    home: Path,
    policy: Policy,
    images: Path,
    wanted: tuple[str, int, str | None, Path | None],
    units: Path | None,
    progress: ProgressSink,
) -> Any:
    from ecos_core.client.home import init_home

    if not images.is_dir():
        raise InputError(f"{images}: no such folder of images")
    extractor = _extractor(*wanted)
    return init_home(home, policy, images=images, extractors=[extractor], units=units, progress=progress)


def _extractor(name: str, image_size: int, weights: str | None, folder: Path | None) -> Any:
    from ecos_core.features.extractor import load_extractor, load_saved

    if folder is not None:
        return load_saved(str(folder), weights=weights)
    return load_extractor(name, image_size=image_size, weights=weights)


def _init_from_features(home: Path, policy: Policy, features: Path, fingerprint: str | None) -> Any:
    import numpy as np

    from ecos_core.client.home import init_home_from_features

    if fingerprint is None:
        raise InputError("--fingerprint is missing: the name, agreed with the lake, of what made --features")
    try:
        table = np.load(features, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{features}: no table of numbers in numpy's .npy format") from error
    return init_home_from_features(home, policy, features=table, fingerprint=fingerprint)


@app.command()
def serve(
    home: HomeOption,
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one and prints it.")] = 8731,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file: this client's certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file: its key.")] = None,
    tls_requesters: Annotated[
        Path | None,
        typer.Option(help="PEM file: requesters must show a certificate signed by this authority."),
    ] = None,
    allow_clear_text: Annotated[bool, typer.Option(help="Listen beyond this machine without TLS.")] = False,
    ready_file: Annotated[Path | None, typer.Option(help="Write the address here once it is open.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Answer requests over HTTP until stopped.

    Example:  ecos client serve --home hospital --port 8731
    """
    from ecos_core.client.engine import Engine
    from ecos_core.client.home import check_minimum, complete_features, open_home
    from ecos_core.client.serve import Tls, serve
    from ecos_core.storage import Location

    opened = open_home(home)
    with progress_bar(quiet=as_json) as progress:
        complete_features(opened, progress)
    check_minimum(opened)
    tls = None
    if tls_certificate is not None or tls_key is not None or tls_requesters is not None:
        if tls_certificate is None or tls_key is None:
            raise InputError("TLS needs both --tls-certificate and --tls-key")
        tls = Tls(tls_certificate, tls_key, tls_requesters)

    def ready(address: str) -> None:
        if ready_file is not None:
            Location.of(ready_file).write_bytes(address.encode())
        import sys

        emit(
            {"address": address},
            as_json=as_json,
            text=f"client {opened.identity.client_id} answers at {address}",
        )
        sys.stdout.flush()

    serve(Engine(opened), host=host, port=port, tls=tls, allow_clear_text=allow_clear_text, ready=ready)


@app.command()
def ledger(
    home: HomeOption,
    sigma: Annotated[float, typer.Option(help="Count the answers left at this noise.")] = SIGMA_SHOWN,
    requester: Annotated[str | None, typer.Option(help="One requester's account only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What was asked, what it cost, what is left.

    Example:  ecos client ledger --home hospital
    """
    from datetime import UTC, datetime

    from ecos_core.client.home import open_home

    opened = open_home(home)
    book = opened.open_ledger()
    version = opened.identity.data_version
    statement = book.statement(requester, version)
    left = book.answers_left(
        sigma, adjacency=_adjacency(opened.policy.adjacency), requester=requester, data_version=version
    )
    rows = [
        {
            "sequence": row.sequence,
            "time": datetime.fromtimestamp(row.time, UTC).isoformat(timespec="seconds"),
            "requester": row.requester,
            "operation": row.operation,
            "mechanisms": "; ".join(
                f"sigma {event.sigma:g} for {event.sensitivity:.4g}, gamma {event.gamma:g}, x{event.count}"
                for event in row.events
            ),
        }
        for row in statement.events
    ]
    result = {
        "events": len(rows),
        "epsilon_spent": statement.epsilon_spent,
        "epsilon_autodp": statement.epsilon_autodp,
        "epsilon_limit": statement.epsilon_limit,
        "delta": statement.delta,
        "answers_left": left,
        "sigma": sigma,
        "data_version": version,
        "releases": rows,
    }
    lines = [
        f"{row['sequence']:>6}  {row['time']}  {row['requester']:<16} {row['operation']:<16} "
        f"{row['mechanisms']}"
        for row in rows
    ]
    lines.append(
        f"{len(rows)} releases, epsilon {statement.epsilon_spent:.4f} of {statement.epsilon_limit:g} at "
        f"delta {statement.delta:g} (autodp {statement.epsilon_autodp:.4f}); {left} more at sigma {sigma:g}"
    )
    emit(result, as_json=as_json, text="\n".join(lines))


@app.command()
def verify(home: HomeOption, as_json: JsonOption = False) -> None:
    """Prove the ledger's chain, its counter and its answers, and account for the past with both accountants.

    Example:  ecos client verify --home hospital
    """
    from ecos_core.client.home import open_home

    opened = open_home(home)
    book = opened.open_ledger()
    report = book.verify()
    version = opened.identity.data_version
    statement = book.statement(None, version)
    result = {
        "verified": True,
        "entries": report.entries,
        "events": report.releases,
        "counter": report.counter,
        "head": report.head,
        "epsilon_spent": statement.epsilon_spent,
        "epsilon_autodp": statement.epsilon_autodp,
        "epsilon_limit": statement.epsilon_limit,
        "delta": statement.delta,
        "answers_left": book.answers_left(
            SIGMA_SHOWN, adjacency=_adjacency(opened.policy.adjacency), data_version=version
        ),
    }
    text = (
        f"verified: {report.entries} entries, {report.releases} releases, head {report.head[:16]}…\n"
        f"epsilon {statement.epsilon_spent:.4f} of {statement.epsilon_limit:g} at delta {statement.delta:g}; "
        f"autodp says {statement.epsilon_autodp:.4f}"
    )
    emit(result, as_json=as_json, text=text)


@token_app.command("add")
def token_add(
    name: Annotated[str, typer.Argument(help="The requester's name.")],
    home: HomeOption,
    token_file: Annotated[Path, typer.Option(help="Where to write the token (mode 600).")],
    as_json: JsonOption = False,
) -> None:
    """Let one more requester ask.

    Example:  ecos client token add cloud-b --home hospital --token-file cloud-b.token
    """
    from ecos_core.client.home import open_home
    from ecos_core.client.keys import write_secret

    store = open_home(home).tokens
    if token_file.exists():
        raise InputError(f"{token_file}: there is a file already; choose another name")
    token = store.add(name)
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

    open_home(home).tokens.revoke(name)
    emit({"requester": name, "revoked": True}, as_json=as_json, text=f"{name}: refused from now on")


@token_app.command("list")
def token_list(home: HomeOption, as_json: JsonOption = False) -> None:
    """Who has a token.

    Example:  ecos client token list --home hospital
    """
    from ecos_core.client.home import open_home

    names = [requester.name for requester in open_home(home).tokens.requesters]
    emit({"requesters": names}, as_json=as_json, text="\n".join(names) or "nobody")


@extractor_app.command("add")
def extractor_add(
    home: HomeOption,
    folder: Annotated[
        Path, typer.Option("--from", help="Folder with extractor.json (LAKE/features/FINGERPRINT).")
    ],
    as_json: JsonOption = False,
) -> None:
    """Agree on one more extractor and extract the private features with it. Restart the service afterwards.

    Example:  ecos client extractor add --home hospital --from lake/features/3fa9…
    """
    from ecos_core.client.home import add_extractor, open_home
    from ecos_core.client.policy import agree_on_extractor

    opened = open_home(home)
    extractor = _extractor("", 0, None, folder)
    with progress_bar(quiet=as_json) as progress:
        add_extractor(opened, extractor, progress)
    agree_on_extractor(home / "policy.yaml", extractor.fingerprint)
    emit(
        {"fingerprint": extractor.fingerprint},
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


def _adjacency(name: str) -> Any:
    from ecos_core.privacy.events import Adjacency

    return Adjacency(name)
