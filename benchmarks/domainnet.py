"""Claim: on DomainNet's ten classes, six domains, the paper's own data, ECOS picks better than any sampler
that does not ask the client.

DomainNet (Peng et al., ICCV 2019) cannot be shipped: get the images from its authors and the split lists
from them or from FedBN (Li et al., ICLR 2021), laid out as ``<domain>/<class>/<file>`` with
``<domain>_train.txt`` or ``.pkl`` beside or in ``splits/``. All images of both splits are used. The split into
client, test and lake is that of ``pacs``: 40 % of a domain are the client's, 20 % the test set; the paper's
is one half and one half with a test set of its own, so its figures are not ours to the point.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.grid import POOLS, TABLE_SAMPLERS
from benchmarks.images import Labelled, PictureSet
from benchmarks.uses import TABLE_USES, measure
from ecos_core.errors import InputError
from ecos_core.lake.sources.base import SourceItem
from ecos_core.lake.sources.datasets import DOMAINNET_DOMAINS, DomainNetSource
from ecos_core.progress import ProgressSink, silent

HOW_TO_GET_IT = (
    "put DomainNet's <domain>/<class>/<file> and its split lists <domain>_train.txt (or FedBN's .pkl) there; "
    "it comes from its authors (Peng et al., 'Moment Matching for Multi-Source Domain Adaptation', ICCV 2019)"
)


def run(
    data_root: Path | None = None,
    *,
    pools: tuple[str, ...] = POOLS,
    clients: tuple[str, ...] = DOMAINNET_DOMAINS,
    budgets: tuple[int, ...] = (300, 1000, 3000),
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
    """Measure the table of DomainNet's ten classes; options and result as ``pacs.run``.

    Raises InputError where DomainNet is not.
    """
    return measure(
        f"domainnet_{image_size}",
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
    """DomainNet's ten classes. Raises InputError where no folder is named."""
    if data_root is None:
        raise InputError(f"benchmark domainnet: name a folder with --data-root and {HOW_TO_GET_IT}")
    return PictureSet("domainnet", lambda _: read(data_root))


def read(data_root: Path) -> Iterator[Labelled]:
    """(domain, class, the file's bytes) of every listed image. Raises InputError without lists or images."""
    for item in _listed(data_root):
        try:
            content = item.load()
        except OSError as error:
            raise InputError(f"{data_root}: {item.uri} is listed but not there; {HOW_TO_GET_IT}") from error
        yield str(item.domain), str(item.label), content


def _listed(data_root: Path) -> list[SourceItem]:
    for place in (data_root, data_root / "DomainNet", data_root / "domainnet"):
        with suppress(InputError):
            return list(DomainNetSource(place, "domainnet").items())
    raise InputError(f"{data_root}: no DomainNet here; {HOW_TO_GET_IT}")
