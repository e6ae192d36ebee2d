"""``ecos train``: train on a selection and evaluate on a public test set."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit, progress_bar, warn
from ecos_cli.settings import ConfigOption, SetOption, settings
from ecos_core.errors import InputError

app = typer.Typer()


FLAGS = {"lake": "--lake", "selection": "--selection", "out": "--out"}


@app.command()
def train(
    selection: Annotated[
        str | None, typer.Option(help="Folder that `ecos sample` wrote, or FOLDER/latest of a flow's.")
    ] = None,
    lake: Annotated[str | None, typer.Option(help="The lake that the selection was made from.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder for the model and its metrics.")] = None,
    labels: Annotated[str | None, typer.Option(help="Labels folder; default: the lake's own labels.")] = None,
    test: Annotated[str | None, typer.Option(help="Public test set, a folder of class/file.")] = None,
    use: Annotated[
        str | None, typer.Option(help="linear_probe (the default), fine_tune, fixmatch or distil.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Only the first so many picks.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Comma-separated; one training each (default 1,2,3).")
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    fingerprint: Annotated[str | None, typer.Option(help="Extractor, where the lake has several.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train on a selection and evaluate. Accuracy on a public test set costs no privacy.

    Example:  ecos train --selection picks --lake lake --test photos/test --out model --set epochs=10
    """
    from ecos_core.config import TrainingRun
    from ecos_core.stages.training import train as train_on

    options = {
        "selection": selection,
        "lake": lake,
        "out": out,
        "labels": labels,
        "test": test,
        "training.use": None if use is None else use.replace("-", "_"),
        "training.budget": budget,
        "training.seeds": None if seeds is None else _parse_seeds(seeds),
    }
    asked = settings(TrainingRun, "train", options, config=config, sets=sets, flags=FLAGS)
    with progress_bar(quiet=quiet or as_json) as sink:
        result = train_on(
            asked.lake,
            asked.selection,
            asked.out,
            asked.training,
            labels=asked.labels,
            test=asked.test,
            fingerprint=fingerprint,
            progress=sink,
        )
    for concern in result.metrics.get("concerns", ()):
        warn(f"ecos: {concern}")
    metrics = {name: value for name, value in result.metrics.items() if name != "seeds"}
    emit(
        {
            **metrics,
            "seeds": [row["seed"] for row in result.seeds],
            "out": result.model,
            "reused": result.reused,
        },
        as_json=as_json,
        text=_describe(result.metrics, result.model),
    )


def _parse_seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--seeds {text}: whole numbers separated by commas are needed, such as 1,2,3"
        ) from error


def _describe(metrics: dict[str, Any], out: str) -> str:
    lines = [f"{metrics['use']}: trained on {metrics['trained_on']:,} samples"]
    if "accuracy_mean" in metrics:
        seeds = len(metrics["seeds"])
        spread = f" +- {100 * metrics['accuracy_std']:.1f} over {seeds} seeds" if seeds > 1 else ""
        lines.append(
            f"accuracy {100 * metrics['accuracy_mean']:.1f} %{spread} "
            f"on {metrics['tested_on']:,} public test images"
        )
    for reason, count in metrics["left_out"].items():
        lines.append(f"left out: {count:,} ({reason})")
    return "\n".join([*lines, f"model: {out}"])
