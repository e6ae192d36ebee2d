"""Claim: on PACS, ECOS at epsilon 0.582 picks better training samples than any sampler that does not ask
the client.

PACS (Li et al., ICCV 2017) has 9,991 images of seven classes in four domains. Its authors state no
licence, so it is not part of this project: get it from its authors and lay it out as
``PACS/<domain>/<class>/<file>``, or as the tar ``pacs_128.tar`` of such a tree at 128 px.

Each domain in turn is the client: 40 % are its private images, 20 % the public test set, the rest is in
the lake (pool ``id+ood``) or not (``ood``). Features: EfficientNet-Lite0 at 128 px, of L2 norm 1.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from benchmarks.grid import POOLS, TABLE_SAMPLERS
from benchmarks.images import PictureSet, read_tar, read_tree
from benchmarks.uses import TABLE_USES, measure
from ecos_core.errors import InputError
from ecos_core.progress import ProgressSink, silent

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
TAR_NAME = "pacs_128.tar"
HOW_TO_GET_IT = (
    f"put the tree PACS/<domain>/<class>/<file> or the file {TAR_NAME} there; PACS comes from its authors "
    "(Li et al., 'Deeper, Broader and Artier Domain Generalization', ICCV 2017; search for 'PACS dataset')"
)


def run(
    data_root: Path | None = None,
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
    """Measure the PACS table. Returns ``rows``, ``mlflow_uri``, ``report`` and ``text`` (the tables).

    ``uses``: ``linear_probe`` is the table; ``compression``, ``client_labels``, ``fine_tune`` and ``fixmatch`` are
    those of ``benchmarks.uses``. ``quick``: one client, one seed, one draw, the id+ood pool. ``home``: where
    features and finished cells are kept (default: the user's cache); ``out``: where the tables go (default: under
    ``home``); ``mlflow_uri``: default an SQLite store under ``home``; ``workers``: default the usable cores. Raises
    InputError where PACS is not.
    """
    return measure(
        f"pacs_{image_size}",
        pictures(data_root),
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


def pictures(data_root: Path | None) -> PictureSet:
    """PACS. Raises InputError where it is not."""
    if data_root is None:
        raise InputError(f"benchmark pacs: name a folder with --data-root and {HOW_TO_GET_IT}")
    source = find(data_root)
    return PictureSet("pacs", lambda _: read_tree(source, DOMAINS) if source.is_dir() else read_tar(source))


def prepare(
    data_root: Path | None, home: Path, *, image_size: int = 128, progress: ProgressSink = silent
) -> Path:
    """The features of all images. Raises InputError where PACS is not."""
    return pictures(data_root).features(home, image_size=image_size, progress=progress)


def find(data_root: Path) -> Path:
    """The tree or the tar under ``data_root``. Raises InputError where there is neither."""
    places = (data_root, data_root / "PACS", data_root / "pacs")
    for place in places:
        if all((place / domain).is_dir() for domain in DOMAINS):
            return place
    for place in (data_root, data_root / TAR_NAME):
        if place.is_file() and tarfile.is_tarfile(place):
            return place
    raise InputError(f"{data_root}: no PACS here; {HOW_TO_GET_IT}")
