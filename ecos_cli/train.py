"""``ecos train``: train on a selection and evaluate on a public test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecos_cli.output import JsonOption, emit, progress_bar
from ecos_core.errors import InputError

app = typer.Typer()


@app.command()
def train(
    selection: Annotated[Path, typer.Option(help="Folder that `ecos sample` wrote.")],
    lake: Annotated[str, typer.Option(help="The lake that the selection was made from.")],
    out: Annotated[Path, typer.Option(help="Folder for the model and its metrics.")],
    labels: Annotated[
        Path | None, typer.Option(help="Labels folder; default: the lake's own labels.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Public test set, a folder of class/file.")] = None,
    use: Annotated[str, typer.Option(help="linear-probe, fine-tune, fixmatch or distil.")] = "linear-probe",
    budget: Annotated[int | None, typer.Option(help="Only the first so many picks.")] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated; one training each.")] = "1,2,3",
    config: Annotated[Path | None, typer.Option(help="YAML file of hyper-parameters; options win.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="One hyper-parameter, such as epochs=10; may be repeated."),
    ] = None,
    fingerprint: Annotated[str | None, typer.Option(help="Extractor, where the lake has several.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train on a selection and evaluate. Accuracy on a public test set costs no privacy.

    Example:  ecos train --selection picks --lake lake --test photos/test --out model
    """
    from ecos_core.training.train import train_selection

    values = _read_yaml(config) | dict(_parse_setting(text) for text in setting or [])
    values |= {"use": use.replace("-", "_"), "seeds": _parse_seeds(seeds)}
    if budget is not None:
        values["budget"] = budget
    with progress_bar(quiet=quiet or as_json) as sink:
        result = train_selection(
            selection,
            lake,
            out,
            labels=labels,
            test=test,
            config=_build(values),
            fingerprint=fingerprint,
            progress=sink,
        )
    metrics = {name: value for name, value in result.metrics.items() if name != "seeds"}
    emit(
        {
            **metrics,
            "seeds": [row["seed"] for row in result.metrics["seeds"]],
            "out": result.out,
            "reused": result.reused,
        },
        as_json=as_json,
        text=_describe(result.metrics, result.out),
    )


def _build(values: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from ecos_core.training.config import TrainConfig

    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "configuration"
        raise InputError(f"training: {name}: {first['msg']} (got {first['input']!r})") from error


def _parse_seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--seeds {text}: whole numbers separated by commas are needed, such as 1,2,3"
        ) from error


def _parse_setting(text: str) -> tuple[str, Any]:
    import yaml

    name, sign, value = text.partition("=")
    if not sign:
        raise InputError(f"--set {text}: write NAME=VALUE, such as epochs=10")
    return name, yaml.safe_load(value)


def _read_yaml(path: Path | None) -> dict[str, Any]:
    import yaml

    if path is None:
        return {}
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a YAML file of hyper-parameters") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not a YAML file ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: names and values are needed, such as  epochs: 10")
    return values


def _describe(metrics: dict[str, Any], out: str) -> str:
    lines = [f"{metrics['use']}: trained on {metrics['trained_on']:,} samples"]
    if "accuracy_mean" in metrics:
        lines.append(
            f"accuracy {100 * metrics['accuracy_mean']:.1f} % +- {100 * metrics['accuracy_std']:.1f} "
            f"on {metrics['tested_on']:,} public test images ({len(metrics['seeds'])} seed(s))"
        )
    for reason, count in metrics["left_out"].items():
        lines.append(f"left out: {count:,} ({reason})")
    return "\n".join([*lines, f"model: {out}"])
