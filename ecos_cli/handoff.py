"""``ecos handoff``: give a selection to labellers and take the labels back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ecos_cli.client_options import ClientOptions, asks_client
from ecos_cli.handoff_studio import pull, push
from ecos_cli.handoff_text import names, pairs, status_text, tell_import
from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_cli.settings import settings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def handoff() -> None:
    """Give a selection to labellers and take the labels back.

    Example:  ecos handoff export selection --lake lake --out batch1 --labels labels.txt
    """


@app.command()
@asks_client
def suggest(
    selection: Annotated[str, typer.Argument(help="Folder of a selection, from `ecos sample`.")],
    lake: Annotated[str, typer.Option(help="The lake that the selection was made from.")],
    client: ClientOptions,
    labels: Annotated[
        str, typer.Option(help="The label set: a text file, one label a line, or names with commas.")
    ],
    out: Annotated[str, typer.Option(help="Folder for the answers, for `export --preannotations`.")],
    epsilon: Annotated[float, typer.Option(help="What this one release may cost.")] = 0.58,
    delta: Annotated[float, typer.Option(help="The delta that epsilon is stated at.")] = 1e-5,
    adjacency: Annotated[str, typer.Option(help="add-remove or replace.")] = "add-remove",
    method: Annotated[
        str,
        typer.Option(help="label-histogram: a label a cluster; private-knn: one an image, far more noise."),
    ] = "label-histogram",
    neighbours: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="For private-knn; default: by the noise.")
    ] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Ask for the first so many picks only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the client for first answers from its own labels, by one differentially private release.

    Its policy must allow the operation: `label` for private-knn, `label-histogram` for the other.

    Example:  ecos handoff suggest selection --lake lake --client http://127.0.0.1:8731 --token-file token
    --labels labels.txt --epsilon 1 --out guesses
    """
    from ecos_core.config import ClientConfig, PrivacyConfig, validated
    from ecos_core.labelling.label_set import named_label_set
    from ecos_core.lake.lake import Lake
    from ecos_core.stages.suggesting import Question
    from ecos_core.stages.suggesting import suggest as ask

    fields = {path.removeprefix("client."): value for path, value in client.items()}
    flags = {"url": "--client", "token_file": "--token-file"}
    found = ask(
        selection,
        Lake.open(lake),
        settings(ClientConfig, "handoff suggest", fields, flags=flags),
        validated(
            {"epsilon": epsilon, "delta": delta, "adjacency": adjacency},
            PrivacyConfig,
            "ecos handoff suggest",
        ),
        Question(named_label_set(labels), method, neighbours, first),  # type: ignore[arg-type]  # checked there
        out,
    ).summary
    privacy = found["privacy"]
    emit(
        {
            "out": out,
            "method": method,
            **{name: found[name] for name in ("asked", "answered", "how", "privacy")},
        },
        as_json=as_json,
        text=f"{found['answered']:,} of {found['asked']:,} images have a first answer in {out}\n"
        f"epsilon   {privacy['epsilon_release']:.3f} for this release, {privacy['epsilon']:.3f} in all "
        f"at delta {privacy['delta']:g}",
    )


@app.command()
def export(
    selection: Annotated[str, typer.Argument(help="Folder of a selection, from `ecos sample`.")],
    lake: Annotated[str, typer.Option(help="The lake that the selection was made from.")],
    out: Annotated[str, typer.Option(help="Folder to write; `{selection}` in it is the selection's name.")],
    labels: Annotated[
        str | None,
        typer.Option(
            help="The label set: a text file, one label a line, or names with commas; default: the lake's own classes."
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="label-studio, cvat, coco, csv (with a page of pictures), parquet or image-folder."
        ),
    ] = "label-studio",
    instructions: Annotated[str, typer.Option(help="What the labellers are told.")] = "",
    preannotations: Annotated[
        str | None,
        typer.Option(help="CSV or Parquet with sample_id, label, score; or a folder of `handoff suggest`."),
    ] = None,
    annotators: Annotated[str, typer.Option(help="Names with commas: the batch is split among them.")] = "",
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the images that several annotators get.")
    ] = 0.0,
    raters: Annotated[int, typer.Option(min=2, help="How many annotators get a shared image.")] = 2,
    image_url: Annotated[
        str | None, typer.Option(help="Where Label Studio loads images from, if not locally.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a folder for labellers: images, tasks, the label set, and why each image was chosen.

    Near-duplicates stand next to each other and go to the same person.

    Example:  ecos handoff export selection --lake lake --out batch1 --labels "cat,dog"
    --annotators anna,ben --overlap 0.2
    """
    from ecos_core.config import HandOutConfig, validated
    from ecos_core.labelling.label_set import named_label_set
    from ecos_core.stages.handing_off import hand_out

    asked = {
        "lake": lake, "selection": selection, "out": out, "label_set": list(named_label_set(labels)) if labels else [],
        "instructions": instructions, "format": format, "annotators": names(annotators),
        "preannotations": preannotations, "overlap": overlap, "raters": raters, "image_url": image_url,
    }  # fmt: skip
    with progress_bar(quiet=as_json) as progress:
        given = hand_out(validated(asked, HandOutConfig, "ecos handoff export"), progress)
    guessed = f", {given.preannotated:,} with a first answer" if given.preannotated else ""
    shared = "".join(f"\n  {name}: {count:,} tasks" for name, count in given.assigned.items())
    written = "as they were in" if given.kept else "written to"
    emit(
        {**vars(given), "folder": given.handoff, "format": format},
        as_json=as_json,
        text=f"{given.tasks:,} tasks in {given.groups:,} groups{guessed} {written} {given.handoff}{shared}\n"
        f"what to do with it: {given.handoff}/README.md",
    )


@app.command(name="import")
def import_(
    batch: Annotated[str, typer.Argument(help="The folder that was handed out.")],
    returned: Annotated[str, typer.Argument(help="What came back: a file, or the folder of label folders.")],
    labels: Annotated[str, typer.Option(help="The labels folder; made when absent.")],
    format: Annotated[str | None, typer.Option(help="Of what came back; default: the hand-off's.")] = None,
    annotator: Annotated[str, typer.Option(help="Who labelled, where the file does not say.")] = "unnamed",
    name: Annotated[
        list[str] | None,
        typer.Option(help="Whom the files call by number or mail address: ID=NAME or EMAIL=NAME."),
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="The question that holds the label, where the tool asked several.")
    ] = None,
    confirmed: Annotated[
        bool,
        typer.Option("--confirmed", help="A person looked at every first answer: unchanged ones count."),
    ] = False,
    accept_label: Annotated[list[str] | None, typer.Option(help="A label to add to the set.")] = None,
    rename: Annotated[list[str] | None, typer.Option(help="OLD=NEW: count one label as another.")] = None,
    final: Annotated[
        bool, typer.Option("--final", help="A reviewer's answers: they override all votes.")
    ] = False,
    review: Annotated[
        str | None, typer.Option(help="Write a CSV of conflicts and the like to review.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take labels back. Partial imports add up, and no answer is ever lost.

    Example:  ecos handoff import batch1 export.json --labels labels --review review.csv
    """
    from ecos_core.labelling import import_handoff

    report = import_handoff(
        batch,
        returned,
        labels,
        format=format,
        annotator=annotator,
        annotators=pairs(name, "--name"),
        accept_labels=accept_label or (),
        renames=pairs(rename, "--rename"),
        control=control,
        confirmed=confirmed,
        final=final,
    )
    tell_import(report, batch, labels, review, as_json=as_json)


app.command()(push)
app.command()(pull)


@app.command()
def status(
    batch: Annotated[str, typer.Argument(help="The folder that was handed out.")],
    labels: Annotated[str, typer.Option(help="The labels folder.")],
    as_json: JsonOption = False,
) -> None:
    """How far the labelling is, who agrees with whom, and what is to be settled.

    Example:  ecos handoff status batch1 --labels labels
    """
    from ecos_core.labelling import handoff_status

    found = handoff_status(batch, labels)
    emit(asdict(found), as_json=as_json, text=status_text(found))


@app.command()
def check(
    batch: Annotated[str, typer.Argument(help="The folder that was handed out.")],
    labels: Annotated[str, typer.Option(help="The labels folder.")],
    lake: Annotated[str, typer.Option(help="The lake that the images are from, indexed.")],
    review: Annotated[str, typer.Option(help="The CSV to write.")],
    fingerprint: Annotated[
        str | None, typer.Option(help="Of the extractor, where the lake has features of several.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for labels that are probably wrong, by confident learning on the images' features.

    Example:  ecos handoff check batch1 --labels labels --lake lake --review review.csv
    """
    from ecos_core.labelling import LabelStore, suspected_errors, write_review
    from ecos_core.labelling.features import lake_features
    from ecos_core.lake.lake import Lake

    resolved = LabelStore.at(labels).resolve().labels
    ids, matrix = lake_features(Lake.open(lake), frozenset(resolved), fingerprint)
    suspects = suspected_errors(ids, [resolved[id].label for id in ids], matrix)
    rows = write_review(batch, labels, review, suspects)
    result = {"suspects": [vars(suspect) for suspect in suspects], "to_review": rows, "review": review}
    emit(
        result,
        as_json=as_json,
        text=f"{len(suspects):,} suspected errors; {rows:,} rows to review in {review}",
    )
