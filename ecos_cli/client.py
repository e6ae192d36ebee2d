"""`ecos client`: what runs at the data owner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecos_cli.client_rules import SIGMA_SHOWN, HomeOption, find_extractor, ready_home, show_agreement
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
    image_size: Annotated[
        int | None, typer.Option(help="Side of the image that the backbone sees, px; its own without.")
    ] = None,
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
    units: Annotated[
        Path | None,
        typer.Option(help="CSV file,unit: whose image each one is; of --features row,unit, rows from 0."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Of --features: CSV row,label, rows from 0.")] = None,
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
    from ecos_core.storage.folders import in_words

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
            made = _init_from_features(home, policy, features, fingerprint, units, labels)
        elif images is not None:
            made = _init_from_images(
                home,
                policy,
                images,
                (extractor, image_size, weights, extractor_from),
                units,
                progress,
                as_json,
            )
        else:
            raise InputError("--images is missing: the folder of private images (or --features)")
    agreed = made.policy.extractors[0]
    held = made.features(agreed)
    set_aside, left_out = sum(held.set_aside.values()), _left_out(images)
    result = {
        "home": str(home),
        "client_id": made.identity.client_id,
        "data_version": made.identity.data_version,
        "fingerprint": agreed,
        "token_file": str(home / "token"),
        "private_images": len(held.features),
        "private_set_aside": set_aside,
        "private_left_out": left_out,
        "epsilon_limit": made.policy.epsilon,
        "delta": made.policy.delta,
        "kept_rules": {name: getattr(made.policy, name) for name in rules if _differs(name, policy, made)},
    }
    kept = [f"{name} is {value}" for name, value in result["kept_rules"].items()]
    reasons = ", ".join(f"{count} {reason}" for reason, count in held.set_aside.items())
    text = (
        f"client {made.identity.client_id} in {home}: {len(held.features)} images"
        + (f", {set_aside} set aside ({reasons})" if set_aside else "")
        + (f"\n  left out {in_words(left_out)}" if left_out else "")
        + f"\n  policy   {home / 'policy.yaml'} (read it, edit it)"
        + (
            f"\n  in force, not as asked: {', '.join(kept)}; a client's rules change in its policy only"
            if kept
            else ""
        )
        + f"\n  token    {home / 'token'} (give it to the first requester; keep it secret)"
        + f"\n  next     ecos client serve --home {home} --port 8731"
    )
    emit(result, as_json=as_json, text=text)


def _left_out(images: Path | None) -> dict[str, int]:
    """How many names below the images folder are not read, by reason."""
    from ecos_core.storage.folders import files_below

    return dict(files_below(images)[1]) if images is not None and images.is_dir() else {}


def _init_from_images(
    home: Path,
    policy: Policy,
    images: Path,
    wanted: tuple[str, int | None, str | None, Path | None],
    units: Path | None,
    progress: ProgressSink,
    quiet: bool,
) -> Any:
    from ecos_core.client.home import init_home
    from ecos_core.client.records import is_table

    if not images.is_dir() and not is_table(images):
        raise InputError(f"{images}: no such folder of images (or texts), and no CSV of rows")
    extractor = find_extractor(*wanted)
    show_agreement(extractor, quiet=quiet or wanted[3] is None)
    return init_home(home, policy, images=images, extractors=[extractor], units=units, progress=progress)


def _differs(name: str, asked: Policy, made: Any) -> bool:
    return bool(getattr(asked, name) != getattr(made.policy, name))


def _init_from_features(
    home: Path,
    policy: Policy,
    features: Path,
    fingerprint: str | None,
    units: Path | None,
    labels: Path | None,
) -> Any:
    import numpy as np

    from ecos_core.client.home import init_home_from_features

    if fingerprint is None:
        raise InputError("--fingerprint is missing: the name, agreed with the lake, of what made --features")
    try:
        table = np.load(features, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{features}: no table of numbers in numpy's .npy format") from error
    return init_home_from_features(
        home, policy, features=table, fingerprint=fingerprint, units=units, labels=labels
    )


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
    proxy: Annotated[
        str | None,
        typer.Option(help="Address of a reverse proxy, whose word on the requester's address is believed."),
    ] = None,
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

    serve(
        Engine(opened),
        host=host,
        port=port,
        tls=tls,
        allow_clear_text=allow_clear_text,
        proxy=proxy,
        ready=ready,
    )


@app.command()
def ledger(
    home: HomeOption,
    sigma: Annotated[float, typer.Option(help="Count the answers left at this noise.")] = SIGMA_SHOWN,
    requester: Annotated[str | None, typer.Option(help="One requester's account only.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Show, and work out the cost of, the last so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """The account: who asked what and when, what it cost, the total, and what is left.

    Example:  ecos client ledger --home hospital
    """
    from ecos_core.client.home import open_home
    from ecos_core.client.owner import account_lines

    opened = open_home(home)
    book = opened.open_ledger()
    version = opened.identity.data_version
    statement = book.statement(requester, version)
    left = book.answers_left(
        sigma, adjacency=_adjacency(opened.policy.adjacency), requester=requester, data_version=version
    )
    rows = [line.told() for line in account_lines(statement.events, statement.delta, last)]
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
    lines = [f"{'date':<20} {'who':<16} {'what':<16} {'epsilon':>9} {'total':>9} {'left':>9}"] if rows else []
    lines += [
        f"{row['time'][:16].replace('T', ' '):<20} {row['requester']:<16} "
        f"{row['operation'] + (' (shared)' if row['shared'] else ''):<16} {row['epsilon_release']:>9.4f} "
        f"{row['epsilon_total']:>9.4f} {statement.epsilon_limit - row['epsilon_total']:>9.4f}"
        for row in rows[-last:]
    ]
    lines.append(
        f"{len(rows)} releases, epsilon {statement.epsilon_spent:.4f} of {statement.epsilon_limit:g} at "
        f"delta {statement.delta:g}; {left} more at sigma {sigma:g}"
    )
    emit(result, as_json=as_json, text="\n".join(lines))


@app.command()
def verify(
    home: HomeOption,
    receipt: Annotated[
        Path | None,
        typer.Option(help="A receipt that a requester holds (JSON): is it in this ledger as it says?"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove the ledger's chain, its counter and its answers, and account for the past again, with autodp too.

    Example:  ecos client verify --home hospital
    """
    from ecos_core.client.home import open_home
    from ecos_core.client.owner import check_receipt, read_receipt

    opened = open_home(home)
    if receipt is not None:
        shown = read_receipt(receipt)
        check_receipt(opened, shown)
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
    if receipt is not None:
        result["receipt"] = shown.sequence
        text += f"\nthe receipt is this client's: entry {shown.sequence}, epsilon {shown.epsilon_release:.4f}"
    emit(result, as_json=as_json, text=text)


@app.command()
def log(
    home: HomeOption,
    since: Annotated[str | None, typer.Option(help="From this day or time on, such as 2026-01-31.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the lines to this file instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The security log: every request, refusal, failed log-in, decision and change, oldest first.

    Example:  ecos client log --home hospital --since 2026-01-31 --export january.jsonl
    """
    import json
    from datetime import datetime

    from ecos_core.client.home import open_home
    from ecos_core.storage import Location

    try:
        start = None if since is None else datetime.fromisoformat(since).astimezone()
    except ValueError as error:
        raise InputError(
            f"--since {since[:40] if since else ''}: write a day or time, such as 2026-01-31"
        ) from error
    lines = list(open_home(home).log.lines(start))
    texts = [json.dumps(line, ensure_ascii=True) for line in lines]
    if export is not None:
        Location.of(export).write_bytes("".join(f"{text}\n" for text in texts).encode())
        emit(
            {"lines": len(lines), "export": str(export)},
            as_json=as_json,
            text=f"{len(lines)} lines in {export}",
        )
        return
    emit({"lines": lines}, as_json=as_json, text="\n".join(texts) or "nothing was logged")


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
