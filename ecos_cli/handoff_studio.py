"""``ecos handoff push`` and ``pull``: a hand-off as a project of a running Label Studio, and its labels back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecos_cli.handoff_text import pairs, tell_import
from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError

TokenOption = Annotated[Path, typer.Option(help="File with an access token of Label Studio.")]


def push(
    batch: Annotated[str, typer.Argument(help="The folder that was handed out, of format label-studio.")],
    url: Annotated[str, typer.Option(help="Label Studio's address, such as http://127.0.0.1:8080.")],
    token_file: TokenOption,
    title: Annotated[str | None, typer.Option(help="The project's name; default: the folder's.")] = None,
    upload: Annotated[
        bool, typer.Option("--upload", help="Send the images; else the server reads the folder itself.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a Label Studio project of a hand-off: page, images, tasks and first answers. Again, it adds what is missing.

    Example:  ecos handoff push batch1 --url http://127.0.0.1:8080 --token-file studio-token
    """
    from ecos_core.labelling.studio_server import push as push_tasks

    with progress_bar(quiet=as_json) as progress:
        project, added = push_tasks(
            batch, url, _token(token_file), title=title, upload=upload, progress=progress
        )
    emit(
        {"project": project.id, "page": project.page, "added": added},
        as_json=as_json,
        text=f"{added:,} tasks added; label at  {project.page}\n"
        f"then:  ecos handoff pull {batch} --token-file {token_file} --labels LABELS",
    )


def pull(
    batch: Annotated[str, typer.Argument(help="The folder that was handed out and pushed.")],
    token_file: TokenOption,
    labels: Annotated[str, typer.Option(help="The labels folder; made when absent.")],
    url: Annotated[
        str | None, typer.Option(help="Label Studio's address, if it is another than when pushed.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="Whom Label Studio calls by mail address: EMAIL=NAME or ID=NAME.")
    ] = None,
    accept_label: Annotated[list[str] | None, typer.Option(help="A label to add to the set.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="OLD=NEW: count one label as another.")] = None,
    review: Annotated[
        str | None, typer.Option(help="Write a CSV of conflicts and the like to review.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch what was labelled in the project and take it back, as `import` does. Partial is fine, as often as you like.

    Example:  ecos handoff pull batch1 --token-file studio-token --labels labels
    """
    from ecos_core.labelling import import_handoff
    from ecos_core.labelling.studio_server import pull as pull_answers

    report = import_handoff(
        batch,
        pull_answers(batch, _token(token_file), url=url),
        labels,
        annotators=pairs(name, "--name"),
        accept_labels=accept_label or (),
        renames=pairs(rename, "--rename"),
    )
    tell_import(report, batch, labels, review, as_json=as_json)


def _token(where: Path) -> str:
    from ecos_core.storage.text import read_text

    token = read_text(where).strip()
    if not token or len(token.split()) > 1:
        raise InputError(f"{where}: holds no token; paste Label Studio's access token into it, alone")
    return token
