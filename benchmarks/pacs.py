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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import default_home, make_grid, run_table
from benchmarks.images import feature_file, read_tar, read_tree
from ecos_core.errors import InputError
from ecos_core.progress import ProgressSink, silent

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
TAR_NAME = "pacs_128.tar"
HOW_TO_GET_IT = (
    f"put the tree PACS/<domain>/<class>/<file> or the file {TAR_NAME} there; PACS comes from its authors "
    "(Li et al., 'Deeper, Broader and Artier Domain Generalization', ICCV 2017; search for 'PACS dataset')"
)


def run(
    data_root: Path,
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
    """Measure the PACS table. Returns ``rows``, ``mlflow_uri``, ``report`` and ``text`` (the tables).

    ``quick``: one client, one seed, one draw, the id+ood pool. Raises InputError where PACS is not.
    """
    home = home or default_home()
    features = prepare(Path(data_root), home, image_size=image_size, progress=progress)
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
    name = f"pacs_{image_size}"
    return run_table(
        name, features, grid, home=home, out=out, mlflow_uri=mlflow_uri, workers=workers, progress=progress
    )


def prepare(data_root: Path, home: Path, *, image_size: int = 128, progress: ProgressSink = silent) -> Path:
    """The features of all images. Raises InputError where PACS is not."""
    source = find(data_root)
    images = read_tree(source, DOMAINS) if source.is_dir() else read_tar(source)
    return feature_file("pacs", images, home, image_size=image_size, progress=progress)


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
