"""`ecos client`: what runs at the data owner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecos_cli.client_rules import SIGMA_SHOWN, HomeOption, find_extractor, ready_home
from ecos_cli.client_rules import app as rules_app
from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError

if TYPE_CHECKING:
    from ecos_core.client.policy import Policy
    from ecos_core.progress import ProgressSink

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="What runs at the data owner.",
)
app.add_typer(rules_app)


@app.command()
def init(
    home: HomeOption,
    epsilon: Annotated[float, typer.Option(help="Hard limit of what all answers together may cost.")],
    images: Annotated[
        Path | None,
        typer.Option(
            help="The private images or texts: flat, class/file or domain/class/file; or a CSV of rows."
        ),
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
    answer_after: Annotated[float, typer.Option(help="Seconds after which each new answer leaves.")] = 0.5,
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
    from ecos_core.client.records import is_table

    if not images.is_dir() and not is_table(images):
        raise InputError(f"{images}: no such folder of images (or texts), and no CSV of rows")
    extractor = find_extractor(*wanted)
    return init_home(home, policy, images=images, extractors=[extractor], units=units, progress=progress)


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
    import sys

    from ecos_core.client.engine import Engine
    from ecos_core.client.serve import Tls, serve
    from ecos_core.storage import Location

    opened = ready_home(home, as_json)
    tls = None
    if tls_certificate is not None or tls_key is not None or tls_requesters is not None:
        if tls_certificate is None or tls_key is None:
            raise InputError("TLS needs both --tls-certificate and --tls-key")
        tls = Tls(tls_certificate, tls_key, tls_requesters)

    def ready(address: str) -> None:
        if ready_file is not None:
            Location.of(ready_file).write_bytes(address.encode())
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
            "operation": row.operation + (" (shared)" if row.shared else ""),
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
        f"delta {statement.delta:g}; {left} more at sigma {sigma:g}"
    )
    emit(result, as_json=as_json, text="\n".join(lines))


@app.command()
def verify(home: HomeOption, as_json: JsonOption = False) -> None:
    """Prove the ledger's chain, its counter and its answers, and account for the past again, with autodp too.

    Example:  ecos client verify --home hospital
    """
    from ecos_core.client.home import open_home

    opened = open_home(home)
    book = opened.open_ledger()
    report = book.verify()
    version = opened.identity.data_version
    statement = book.statement(None, version)
    words = [spend.epsilon_autodp for spend in report.spends.values() if spend.epsilon_autodp is not None]
    autodp = max(words, default=0.0) if len(words) == len(report.spends) else None
    result = {
        "verified": True,
        "entries": report.entries,
        "events": report.releases,
        "counter": report.counter,
        "head": report.head,
        "epsilon_spent": statement.epsilon_spent,
        "epsilon_autodp": autodp,
        "epsilon_limit": statement.epsilon_limit,
        "delta": statement.delta,
        "answers_left": book.answers_left(
            SIGMA_SHOWN, adjacency=_adjacency(opened.policy.adjacency), data_version=version
        ),
    }
    text = (
        f"verified: {report.entries} entries, {report.releases} releases, head {report.head[:16]}…\n"
        f"epsilon {statement.epsilon_spent:.4f} of {statement.epsilon_limit:g} at delta {statement.delta:g}; "
        + (
            f"autodp agrees, and says {autodp:.4f} for the same releases"
            if autodp is not None
            else "autodp is not installed and was not asked: pip install 'ecos-sampling[verify]'"
        )
    )
    emit(result, as_json=as_json, text=text)


@app.command()
def work(
    home: HomeOption,
    mailbox: Annotated[str, typer.Option(help="Folder or URL (s3://bucket/path) that both sides can reach.")],
    once: Annotated[bool, typer.Option(help="Answer what is there now, then end.")] = False,
    pause: Annotated[float, typer.Option(help="Seconds between looks at an empty mailbox.")] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Answer requests from a mailbox, for sites that accept no inbound connection.

    Example:  ecos client work --home hospital --mailbox s3://exchange/hospital
    """
    from ecos_core.client.engine import Engine
    from ecos_core.client.mailbox import MailboxWorker

    worker = MailboxWorker(Engine(ready_home(home, as_json)), mailbox)
    if once:
        settled = worker.work_once()
        emit({"settled": settled}, as_json=as_json, text=f"{settled} requests settled")
        return
    emit({"mailbox": mailbox}, as_json=as_json, text=f"working on {mailbox}; Ctrl-C ends it")
    worker.work(lambda: False, pause)


def _adjacency(name: str) -> Any:
    from ecos_core.privacy.events import Adjacency

    return Adjacency(name)
