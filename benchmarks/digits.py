"""Claim: on four domains of digits that are made from installed packages, ECOS beats random and k-center
too.

The images are the demo's (``ecos_core.lake.digits``): MNIST, MNIST-M, optdigits and SynthDigits, 8,997
together. No download and no ``--data-root`` is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.grid import POOLS, TABLE_SAMPLERS
from benchmarks.images import Labelled, PictureSet, read_tree
from benchmarks.uses import TABLE_USES, measure
from ecos_core.progress import ProgressSink, silent

DOMAINS = ("mnist", "mnist_m", "optdigits", "synth_digits")
SEED = 0


def run(
    *,
    pools: tuple[str, ...] = POOLS,
    clients: tuple[str, ...] = DOMAINS,
    budgets: tuple[int, ...] = (100, 300, 1000),
    samplers: tuple[str, ...] = TABLE_SAMPLERS,
    uses: tuple[str, ...] = TABLE_USES,
    seeds: tuple[int, ...] = (1, 2, 3),
    epsilon: float = 0.582,
    clusters: int = 100,
    draws: int = 3,
    image_size: int = 128,
    quick: bool = False,
    out: Path = Path(),
    home: Path = Path(),
    mlflow_uri: str = "",
    workers: int = 0,
    progress: ProgressSink = silent,
) -> dict[str, Any]:
    """Measure the digits table. Returns ``rows``, ``mlflow_uri``, ``report`` and ``text`` (the tables).

    ``uses`` as in ``pacs.run``. ``quick``: MNIST as the only client, one seed, one draw, the id+ood pool.
    """
    return measure(
        "digits",
        pictures(progress),
        uses=uses,
        image_size=image_size,
        pools=pools,
        clients=clients,
        budgets=budgets,
        samplers=samplers,
        seeds=seeds,
        epsilon=epsilon,
        clusters=clusters,
        draws=draws,
        quick=quick,
        out=out,
        home=home,
        mlflow_uri=mlflow_uri,
        workers=workers,
        progress=progress,
    )


def pictures(progress: ProgressSink = silent) -> PictureSet:
    """The digits; made where they are not yet."""

    def read(home: Path) -> Iterator[Labelled]:
        folder = home / "bench" / f"digits-{SEED}"
        done = folder / "complete"
        if not done.exists():
            from ecos_core.lake.digits import build_digits

            build_digits(folder, seed=SEED, progress=progress)
            done.touch()
        return read_tree(folder, DOMAINS)

    return PictureSet("digits", read)
