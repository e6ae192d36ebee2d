"""`ecos show`: look at a selection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecos_cli.output import JsonOption, emit, progress_bar

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def show(
    selection: Annotated[
        str, typer.Argument(help="The selection's folder or URL; RUNS/latest is the newest.")
    ],
    lake: Annotated[str, typer.Option(help="The lake that it was made from.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("selection.html"),
    budget: Annotated[int | None, typer.Option(help="The first so many picks only.")] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write one local page of all picks: enlarge, filter, see why each was chosen and what looked the same.

    It needs no network. Up to 400 pictures stand inside the page; more lie in a folder beside it.

    Example:  ecos show selection --lake lake --out selection.html --open
    """
    from ecos_core.lake.lake import Lake
    from ecos_core.stages.showing import show_selection

    with progress_bar(quiet=as_json) as progress:
        shown = show_selection(Lake.open(lake), selection, out, budget=budget, progress=progress)
    if open_it:
        typer.launch(str(out.absolute()))
    emit({"page": str(out), "picks": shown}, as_json=as_json, text=f"{shown} picks on {out}")
