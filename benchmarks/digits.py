"""Claim: on four domains of digits that are made from installed packages, ECOS beats random and k-center
too.

The images are the demo's (``ecos_core.lake.digits``): MNIST, MNIST-M, optdigits and SynthDigits, 8,997
together. No download and no ``--data-root`` is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import default_home, make_grid, run_table
from benchmarks.images import feature_file, read_tree
from ecos_core.progress import ProgressSink, silent

DOMAINS = ("mnist", "mnist_m", "optdigits", "synth_digits")
SEED = 0


def run(
    data_root: Path | None = None,
    *,
    pools: Sequence[str] | None = None,
    clients: Sequence[str] | None = None,
    budgets: Sequence[int] | None = None,
    samplers: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    epsilon: float | None = None,
    clusters: int | None = None,
    draws: int | None = None,
    image_size: int = 128,
    quick: bool = False,
    out: Path | None = None,
    home: Path | None = None,
    mlflow_uri: str | None = None,
    workers: int | None = None,
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Measure the digits table. Returns ``rows``, ``mlflow_uri``, ``report`` and ``text`` (the tables).

    ``data_root``: digits that were made earlier (default: made once under ``home``); ``quick``: MNIST as
    the only client, one seed, one draw, the id+ood pool.
    """
    home = home or default_home()
    features = prepare(data_root, home, image_size=image_size, progress=progress)
    grid = make_grid(
        pools=pools or (("id+ood",) if quick else None),
        clients=clients or (DOMAINS[:1] if quick else DOMAINS),
        budgets=budgets,
        samplers=samplers,
        seeds=seeds or ((1,) if quick else None),
        epsilon=epsilon,
        clusters=clusters,
        draws=draws or (1 if quick else None),
    )
    return run_table(
        "digits",
        features,
        grid,
        home=home,
        out=out,
        mlflow_uri=mlflow_uri,
        workers=workers,
        progress=progress,
    )


def prepare(
    data_root: Path | None, home: Path, *, image_size: int = 128, progress: ProgressSink = silent
) -> Path:
    """The features of all digits; makes the images where they are not yet."""
    folder = data_root or home / "bench" / f"digits-{SEED}"
    done = folder / "complete"
    if data_root is None and not done.exists():
        from ecos_core.lake.digits import build_digits

        build_digits(folder, seed=SEED, progress=progress)
        done.touch()
    return feature_file("digits", read_tree(folder, DOMAINS), home, image_size=image_size, progress=progress)
