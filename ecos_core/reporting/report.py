"""One self-contained HTML page a run: no network, no script; figures inline, pictures as data URIs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ecos_core.reporting import figures
from ecos_core.reporting.data import Outside, PrivacyStatement, ReportData, ResultRow
from ecos_core.reporting.montage import thumbnail_uri
from ecos_core.reporting.style import pages, sampler_name, svg, use_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "report.html.j2"
MONTAGE_IMAGES = 60


@dataclass(frozen=True)
class _Tile:
    label: str
    value: str
    note: str


def render_report(data: ReportData) -> str:
    """The page as one HTML document.

    Raises InputError when an array of ``data`` has a wrong shape or a montage holds bytes that are no image.
    """
    environment = pages()
    environment.filters |= {
        "thumbnail": thumbnail_uri,
        "epsilon": _epsilon,
        "count": _count,
        "sampler": sampler_name,
        "use": use_name,
    }
    return environment.get_template(TEMPLATE).render(
        data=data,
        tiles=_tiles(data),
        figures=_figures(data),
        rows=_ordered(data.results),
        one_pool=len({row.pool for row in data.results}) == 1,
        uses=_uses(data.results),
        one_client=len({row.client for row in data.results}) == 1,
        most_images=MONTAGE_IMAGES,
        adjacency=_ADJACENCY.get(data.privacy.adjacency, data.privacy.adjacency) if data.privacy else "",
    )


_ADJACENCY = {
    "add-remove": "one image was added or removed",
    "replace": "one image was replaced by another",
    "unit": "all images of one person or device were added or removed",
}


def _figures(data: ReportData) -> dict[str, str]:
    """name -> inline SVG, of the parts that have data."""
    makers: dict[str, Callable[[], Figure]] = {}
    for use in _uses(data.results):
        same = [row for row in data.results if row.use == use]
        makers[f"accuracy-{use}"] = partial(figures.accuracy, same)
    if (scores := data.scores) is not None:
        makers["scores"] = lambda: figures.scores(scores.noisy, scores.sigma, scores.denoised)
    if (quotas := data.quotas) is not None:
        makers["quotas"] = lambda: figures.quotas(quotas.quota, quotas.sizes)
    if data.coverage:
        makers["coverage"] = lambda: figures.coverage(data.coverage)
    if (plane := data.lake_map) is not None:
        makers["map"] = lambda: figures.lake_map(plane.points, plane.selected, plane.groups)
    if data.clustering is not None and (sizes := data.clustering.sizes) is not None:
        makers["sizes"] = lambda: figures.cluster_sizes(sizes)
    return {name: svg(make(), name) for name, make in makers.items()}


def _uses(rows: tuple[ResultRow, ...]) -> list[str]:
    """In the order first seen."""
    return list(dict.fromkeys(row.use for row in rows))


def _tiles(data: ReportData) -> list[_Tile]:
    """The figures a reader looks for first."""
    tiles = []
    if data.results:
        tiles += _accuracy_tiles(data.results)
    if data.privacy is not None:
        tiles.append(_privacy_tile(data.privacy))
    if data.outside is not None:
        tiles.append(_outside_tile(data.outside))
    if data.lake is not None:
        domains = f"{len(data.lake.domains)} domains" if len(data.lake.domains) > 1 else "in the lake"
        tiles.append(
            _Tile("Lake", f"{data.lake.images:,}", domains if len(data.lake.domains) > 1 else "images")
        )
    if data.quotas is not None:
        used = int((data.quotas.quota > 0).sum())
        tiles.append(_Tile("Clusters used", f"{used}", f"of {len(data.quotas.quota)}"))
    return tiles


def _accuracy_tiles(rows: tuple[ResultRow, ...]) -> list[_Tile]:
    """ECOS at the largest budget, in the use that it is best in, and its distance from random choice there."""
    budget = max(row.budget for row in rows)
    means: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.budget == budget:
            means.setdefault((row.sampler, row.use), []).append(row.accuracy_mean)
    average = {cell: 100 * sum(found) / len(found) for cell, found in means.items()}
    ours = {use: accuracy for (sampler, use), accuracy in average.items() if sampler == "ecos"}
    if not ours:
        return []
    use = max(ours, key=lambda name: ours[name])
    by = f" by {use_name(use)}" if len(_uses(rows)) > 1 else ""
    tiles = [_Tile("ECOS accuracy", f"{ours[use]:.1f} %", f"trained on {budget:,} images{by}")]
    if ("random", use) in average:
        gain = ours[use] - average["random", use]
        tiles.append(_Tile("Over random choice", f"{gain:+.1f}", f"points{by}"))
    return tiles


def _privacy_tile(privacy: PrivacyStatement) -> _Tile:
    left = privacy.epsilon_remaining
    note = f"at δ = {privacy.delta:g}" + (f", {_epsilon(left)} left" if left is not None else "")
    return _Tile("Privacy spent, ε", _epsilon(privacy.epsilon_release), note)


def _outside_tile(outside: Outside) -> _Tile:
    if not outside.known:
        return _Tile("Outside the lake", "cannot tell", "too few records for this noise")
    interval = f"{100 * outside.low:.0f} to {100 * outside.high:.0f} % of the client's"
    return _Tile("Outside the lake", f"{100 * outside.share:.0f} %", interval)


def _ordered(rows: tuple[ResultRow, ...]) -> list[ResultRow]:
    uses = _uses(rows)
    return sorted(
        rows, key=lambda row: (row.pool, row.client, row.budget, uses.index(row.use), -row.accuracy_mean)
    )


def _epsilon(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(value: Any) -> str:
    return f"{value:,}"
