"""How much of the client the lake covers, in figures and in words."""

from __future__ import annotations

from typing import Any

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.composition import NOT_STATED, composition
from ecos_core.features.lake_extractor import held_modality
from ecos_core.lake.lake import Lake
from ecos_core.sampling.config import Scores
from ecos_core.sampling.denoising import denoise
from ecos_core.sampling.outside import NEAR, nearest_clusters, outside_share


def outside_statement(lake: Lake, clustering: Clustering, scores: Scores) -> dict[str, Any] | None:
    """The outside share for an artefact or a page; None where the client was not asked.

    ``known``, ``share``, ``low``, ``high`` (of the 95 % interval), ``clusters`` near which most of what is outside
    lies, the ``sources`` of those, and all of it in ``words``.
    """
    found = outside_share(scores)
    if found is None:
        return None
    statement: dict[str, Any] = {
        "known": found.known,
        "share": round(found.share, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "clusters": [],
        "sources": [],
    }
    unit = held_modality(lake, lake.snapshot(clustering.snapshot_id)).unit
    if found.known and found.low > NEAR / 2:
        near = nearest_clusters(scores, denoise(scores.noisy, scores.sigma))
        sources = composition(lake, clustering, "source").leading(near)
        statement |= {"clusters": near, "sources": [name for name in sources if name != NOT_STATED]}
    return {**statement, "words": _words(statement, unit)}


def _words(statement: dict[str, Any], unit: str) -> str:
    if not statement["known"]:
        return (
            f"How many of the client's {unit} lie outside what this lake covers cannot be told: it has too few records "
            "for this noise."
        )
    interval = f"{100 * statement['low']:.0f} to {100 * statement['high']:.0f} %"
    share = f"About {100 * statement['share']:.0f} % ({interval})"
    told = f"{share} of the client's {unit} lie outside what this lake covers"
    if not statement["clusters"]:
        return f"{told}: it holds their kind."
    names = ", ".join(map(str, statement["clusters"]))
    kind = "source" if len(statement["sources"]) == 1 else "sources"
    sources = f" ({kind}: {', '.join(statement['sources'])})" if statement["sources"] else ""
    return (
        f"{told}; most of them near cluster{'s' if len(statement['clusters']) > 1 else ''} {names}{sources}."
    )
