"""``ecos ingest``: bring images into a lake."""

from __future__ import annotations

from typing import Annotated

import typer

from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError

app = typer.Typer()


@app.command()
def ingest(
    path: Annotated[
        str,
        typer.Argument(
            help="A folder (domain/class/file, class/file, flat), tars, Parquet or CSV; or s3://…"
        ),
    ],
    lake: Annotated[str, typer.Option(help="The lake: a folder or s3://bucket/key; made when absent.")],
    domain: Annotated[
        str | None, typer.Option(help="Domain of all these images; default: the top folder.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Name of the source; default: the folder's name.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of these images, for example CC-BY-4.0.")
    ] = None,
    attribution: Annotated[str | None, typer.Option(help="Whom to name as the author.")] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="auto, tree, webdataset, parquet, csv, domainnet (ten), domainnet-full, digits, pacs; "
            "text (a tree of texts), rows (a CSV whose rows are the samples)."
        ),
    ] = "auto",
    split: Annotated[str | None, typer.Option(help="train or test, for data sets with split lists.")] = None,
    by_reference: Annotated[
        bool,
        typer.Option("--by-reference", help="Keep addresses, not bytes: the images stay where they are."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring images into a lake.

    The same image twice is one sample; a bad file goes to quarantine with its reason.

    Interrupted? Run the same command again: it goes on where it was.

    Example:  ecos ingest photos/ --lake lake --licence CC-BY-4.0
    """
    from ecos_core.lake.ingest import ingest as run
    from ecos_core.lake.lake import Lake
    from ecos_core.lake.sources import open_source

    stream = open_source(path, source, layout=layout, split=split)
    with progress_bar(quiet=as_json) as progress:
        report = run(
            stream,
            Lake.open_or_create(lake),
            domain=domain,
            source=source,
            licence=licence,
            attribution=attribution,
            by_reference=by_reference,
            progress=progress,
        )
    result = {
        "added": report.added,
        "duplicates": report.duplicates,
        "contradicted": report.contradicted,
        "quarantined": report.quarantined,
        "reasons": report.reasons,
        "passed_over": report.passed_over,
        "snapshot": report.snapshot,
        "lake": lake,
    }
    emit(result, as_json=as_json, text=f"{report.counts}\nsnapshot {report.snapshot[:12]} of {lake}")
    if report.brought_nothing:
        raise InputError(
            f"{path}: nothing came in, all {report.quarantined:,} were refused; "
            f"ecos lake quarantine --lake {lake}  says why, file by file"
        )
