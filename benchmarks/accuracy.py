"""The accuracy table of one data set: run the grid, write rows, tables and plots, log them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmarks.accuracy_tables import latex, markdown, plot, rows_of
from benchmarks.grid import Cell, Grid, ImageSet
from benchmarks.images import PictureSet
from benchmarks.runner import run_grid
from benchmarks.tracking import log_rows
from ecos_core.errors import InputError
from ecos_core.progress import ProgressSink, silent
from ecos_core.storage import Location
from ecos_core.threads import available_cores


def make_grid(**settings: Any) -> Grid:
    """A grid from options. Raises InputError naming the bad one."""
    try:
        return Grid.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"benchmark: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def quick_grid(grid: Grid) -> Grid:
    """The first client, the first seed, one draw, the id+ood pool: a minute."""
    return grid.model_copy(
        update={"pools": grid.pools[:1], "clients": grid.clients[:1], "seeds": grid.seeds[:1], "draws": 1}
    )


def measure_table(
    name: str,
    pictures: PictureSet,
    *,
    image_size: int,
    quick: bool,
    home: Path,
    out: Path,
    mlflow_uri: str,
    workers: int,
    progress: ProgressSink,
    **settings: Any,
) -> dict[str, Any]:
    """``run_table`` of the grid of these ``settings`` on the features of ``pictures``."""
    home = default_home() if home == Path() else home
    features = pictures.features(home, image_size=image_size, progress=progress)
    grid = make_grid(**settings)
    grid = quick_grid(grid) if quick else grid
    return run_table(
        name, features, grid, home=home, out=out, mlflow_uri=mlflow_uri, workers=workers, progress=progress
    )


def run_table(
    name: str,
    features: Path,
    grid: Grid,
    *,
    home: Path,
    out: Path,
    mlflow_uri: str,
    workers: int,
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Measure and write ``OUT/NAME.{json,md,tex,svg}``. Returns rows, report (the Markdown file) and
    mlflow_uri.

    ``out`` empty: under ``home``; ``mlflow_uri`` empty: an SQLite store under ``home``; ``workers`` 0:
    the usable cores.
    """
    cells = run_grid(
        features, grid, home / "bench" / "cells", workers=workers or available_cores(), progress=progress
    )
    digest = ImageSet.load(features).digest
    return publish(name, cells, grid, digest, home=home, out=out, mlflow_uri=mlflow_uri, progress=progress)


def publish(
    name: str,
    cells: Sequence[Cell],
    grid: Grid,
    digest: str,
    *,
    home: Path,
    out: Path,
    mlflow_uri: str,
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Rows, tables, plots and MLflow runs of finished cells of the data with this digest; as ``run_table``."""
    began = time.monotonic()
    out = home / "bench" / name if out == Path() else out
    rows = rows_of(cells, grid)
    result = {"name": name, "data_digest": digest, "grid": grid.model_dump(mode="json"), "rows": rows}
    files = {suffix: out / f"{name}.{suffix}" for suffix in ("json", "md", "tex", "svg")}
    Location.of(files["json"]).write_bytes(json.dumps(result, indent=1, allow_nan=False).encode())
    Location.of(files["md"]).write_bytes(markdown(rows, grid).encode())
    Location.of(files["tex"]).write_bytes(latex(rows, grid).encode())
    plot(rows, grid, files["svg"])
    uri = mlflow_uri or f"sqlite:///{home / 'mlflow.db'}"
    log_rows(name, rows, grid, uri, digest=digest, artefacts=files.values(), progress=progress)
    return {
        "rows": rows,
        "mlflow_uri": uri,
        "report": str(files["md"]),
        "results": str(files["json"]),
        "text": files["md"].read_text(),
        "seconds": round(time.monotonic() - began, 1),
    }


def default_home() -> Path:
    """Where features and finished cells are kept between runs: ``$XDG_CACHE_HOME/ecos`` or
    ``~/.cache/ecos``.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ecos"
