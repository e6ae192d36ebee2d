"""``ecos bench``: run one of the checkout's benchmarks, print its rows, fail when one is below its bar."""

from __future__ import annotations

import importlib
import inspect
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ecos_cli.output import EXIT_FAILED, JsonOption, emit, finite, progress_bar, warn
from ecos_core.errors import InputError
from ecos_core.threads import available_cores

app = typer.Typer(add_completion=False)

Rows = list[dict[str, Any]]
_NOT_BENCHMARKS = {"__init__"}


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Which benchmark; none: list them.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, seconds; bars are not judged.")
    ] = False,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of data that cannot be shipped (PACS).")
    ] = None,
    save: Annotated[
        bool,
        typer.Option("--save/--no-save", help="Keep the results of a full run under benchmarks/results/."),
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Run a benchmark against its peers in this process and print the ratios.

    Each row names a peer and a bar; the exit code is 1 when a row of a full run is below its bar. Further
    options go to the benchmark itself: `--budgets 100,300` becomes its argument `budgets`.

    Example:  ecos bench k_center --quick
    """
    folder = benchmarks_folder()
    known = sorted(path.stem for path in folder.glob("*.py") if path.stem not in _NOT_BENCHMARKS)
    runnable = [item for item in known if "def run(" in (folder / f"{item}.py").read_text(encoding="utf-8")]
    if name is None:
        emit({"benchmarks": runnable}, as_json=as_json, text="\n".join(runnable))
        return
    if name not in runnable:
        raise InputError(f"benchmark '{name}': choose from {', '.join(runnable)}")
    run = _load(folder, name)
    arguments = {"quick": quick, **extra_arguments(run, name, context.args)}
    with progress_bar(quiet=as_json) as sink:
        offered: dict[str, Any] = {"progress": sink, "save": save}
        listening = {key: offered[key] for key in offered if key in inspect.signature(run).parameters}
        result = run(**arguments, **_data(run, name, data_root, folder), **listening)
    rows = rows_of(result)
    machine = machine_description()
    if save and not quick and not isinstance(result, Mapping):  # a mapping's benchmark keeps its own
        where = save_rows(folder / "results" / f"{name}.json", name, rows, machine)
        warn(f"results kept in {where}")
    failed = [row for row in rows if row.get("ok") is False]
    report = {"benchmark": name, "quick": quick, "machine": machine, "rows": rows, "ok": quick or not failed}
    more = (
        {key: value for key, value in result.items() if key != "rows"} if isinstance(result, Mapping) else {}
    )
    table = str(more.pop("text", "")) or render(rows)
    where_to_look = [f"{key}: {value}" for key, value in more.items()]
    text = "\n".join([table, "", *where_to_look, f"machine: {machine['summary']}"])
    emit({**more, **report}, as_json=as_json, text=text)
    if failed and not quick:
        warn(f"ecos: {len(failed)} of {len(rows)} rows are below their bar")
        raise typer.Exit(EXIT_FAILED)


def benchmarks_folder() -> Path:
    """The checkout's ``benchmarks`` folder, from here upward or beside the package. Raises InputError."""
    here = Path.cwd()
    for root in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if (root / "benchmarks").is_dir() and (root / "ecos_core").is_dir():
            return root / "benchmarks"
    raise InputError("no benchmarks found: they run from the project's checkout; change to its folder")


def _data(run: Callable[..., Any], name: str, data_root: Path | None, folder: Path) -> dict[str, Path]:
    """``data_root`` for a benchmark that takes one: as given, or ``shared/data`` beside the checkout."""
    parameter = inspect.signature(run).parameters.get("data_root")
    if parameter is None:
        if data_root is not None:
            raise InputError(f"benchmark '{name}' needs no data; leave out --data-root")
        return {}
    beside = folder.resolve().parent.parent / "shared" / "data"
    if data_root is None and parameter.default is inspect.Parameter.empty and not beside.is_dir():
        raise InputError(
            f"benchmark '{name}' needs data that cannot be shipped; name its folder with --data-root"
        )
    if data_root is None and not beside.is_dir():
        return {}
    return {"data_root": data_root or beside}


def rows_of(result: Rows | Mapping[str, Any]) -> Rows:
    """A benchmark returns its rows, or a mapping of ``rows``, ``text`` (a table of its own) and what else to
    say."""
    return list(result["rows"]) if isinstance(result, Mapping) else result


def _load(folder: Path, name: str) -> Callable[..., Any]:
    if str(folder.parent) not in sys.path:
        sys.path.insert(0, str(folder.parent))
    run: Callable[..., Any] = importlib.import_module(f"benchmarks.{name}").run
    return run


def extra_arguments(run: Callable[..., Any], name: str, words: Sequence[str]) -> dict[str, Any]:
    """``--some-option value`` pairs as keyword arguments of ``run``, of the type of its default.

    A tuple or list is given with commas; an option without a value is True. Raises InputError for what
    ``run`` has not.
    """
    parameters = inspect.signature(run).parameters
    arguments: dict[str, Any] = {}
    position = 0
    while position < len(words):
        option, _, value = words[position].partition("=")
        key = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or key not in parameters:
            offered = ", ".join(
                f"--{p.replace('_', '-')}"
                for p in parameters
                if p not in {"quick", "data_root", "progress", "save"}
            )
            raise InputError(f"benchmark '{name}' has no option '{option}'; it has {offered or 'none'}")
        position += 1
        if not value and position < len(words) and not words[position].startswith("--"):
            value = words[position]
            position += 1
        arguments[key] = _converted(parameters[key].default, value, option)
    return arguments


def _converted(default: Any, value: str, option: str) -> Any:
    if value == "":
        return True
    try:
        if isinstance(default, tuple | list):
            kind = type(default[0]) if default else str
            return type(default)(kind(item) for item in value.split(",") if item)
        if isinstance(default, bool):
            return value.lower() in {"1", "true", "yes"}
        if isinstance(default, int | float | Path):
            return type(default)(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{option} {value}: expected something like {default}") from error
    return value


def machine_description() -> dict[str, Any]:
    """What the figures were taken on: processor, cores usable, memory, GPUs, versions; no host name."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    cores = available_cores()
    gpus = _gpus()
    summary = ", ".join(
        [processor, f"{cores} cores", *(gpus or ["no GPU"]), f"Python {platform.python_version()}"]
    )
    return {
        "processor": processor,
        "cores": cores,
        "gpus": gpus,
        "python": platform.python_version(),
        "versions": _versions(("numpy", "torch", "faiss-gpu", "faiss-cpu", "scikit-learn")),
        "summary": summary,
    }


def _gpus() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _versions(packages: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save_rows(path: Path, name: str, rows: Rows, machine: Mapping[str, Any]) -> Path:
    """Write the rows with the machine they were taken on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = finite({"benchmark": name, "machine": machine, "rows": rows})
    path.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")
    return path


def render(rows: Rows) -> str:
    """Rows as a plain table; columns in the order they first occur."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [columns, *cells]
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
