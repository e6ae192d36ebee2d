"""A selection as a page to look at: every pick with its picture, why it was chosen, and what looked the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.duplicates import stored_duplicates
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake
from ecos_core.lake.lookup import image_rows
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.reporting import picks as page
from ecos_core.reporting.pictures import COLUMNS, picture_of
from ecos_core.reporting.style import sampler_name
from ecos_core.sampling.selection import Selection
from ecos_core.sampling.store import read_selection
from ecos_core.stages.selecting import resolve_selection
from ecos_core.storage import Location, Manifest

FACTS = ("label", "domain", "source", "licence")
MOST_ALIKE = 5  # near-duplicates shown beside a pick


def show_selection(
    lake: Lake, selection: str, out: Path, *, budget: int | None = None, progress: ProgressSink = silent
) -> int:
    """Write the page of a selection's first ``budget`` picks (None: all) to ``out``; how many it shows.

    Raises InputError where there is no selection, it is of another lake, or the page cannot be written.
    """
    chosen, manifest = read_selection(resolve_selection(selection))
    chosen = chosen if budget is None else chosen.prefix(budget)
    snapshot = lake.snapshot(manifest.inputs["lake"])
    ids = chosen.sample_id.tolist()
    alike = _alike(lake, manifest, set(ids))
    wanted = [*ids, *(twin for twins in alike.values() for twin in twins)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        address_of = page.Pictures(out, len(wanted))
        facts, pictures = {}, {}
        for number, row in enumerate(image_rows(lake, snapshot, wanted, [*COLUMNS, *FACTS]), start=1):
            pictures[row["sample_id"]] = address_of(row["sample_id"], picture_of(row))
            facts[row["sample_id"]] = {name: row[name] or "" for name in FACTS}
            progress(Progress("read pictures", number, len(wanted), "images"))
        found = [
            page.Pick(
                order=place,
                sample_id=sample,
                cluster=int(chosen.cluster[place]),
                reason=str(chosen.reason[place]),
                score=_number(chosen.score[place]),
                quota=int(chosen.quota[place]),
                radius=_number(chosen.radius[place]),
                picture=pictures[sample],
                alike=tuple(page.Alike(twin, pictures[twin]) for twin in alike.get(sample, ())),
                **facts[sample],
            )
            for place, sample in enumerate(ids)
        ]
        Location.of(out).write_bytes(page.render_picks(_page(chosen, manifest, found)).encode())
    except OSError as error:
        raise InputError(
            f"{out}: the page cannot be written ({error.strerror}); choose another --out"
        ) from error
    return len(found)


def _page(chosen: Selection, manifest: Manifest, picks: list[page.Pick]) -> page.PicksPage:
    picked = np.bincount(chosen.cluster, minlength=len(chosen.cluster_size))
    clusters = [
        page.ClusterRow(number, int(size), _number(noisy), _number(score), int(taken))
        for number, (size, noisy, score, taken) in enumerate(
            zip(chosen.cluster_size, chosen.cluster_noisy, chosen.cluster_score, picked, strict=True)
        )
    ]
    used = int((picked > 0).sum())
    return page.PicksPage(
        title=f"What {sampler_name(chosen.sampler)} chose",
        subtitle=f"{len(picks):,} images of a lake of {int(chosen.cluster_size.sum()):,}, "
        f"from {used} of {len(clusters)} clusters, in the order chosen",
        facts={
            **{f"{name} (digest)": value for name, value in manifest.inputs.items()},
            **_flat(manifest.parameters),
        },
        picks=picks,
        clusters=clusters,
    )


def _flat(parameters: dict[str, object]) -> dict[str, str]:
    return {name: "–" if value is None else str(value) for name, value in parameters.items()}


def _alike(lake: Lake, manifest: Manifest, chosen: set[str]) -> dict[str, list[str]]:
    """The near-duplicates of each pick that are in the lake and were not chosen."""
    stored = stored_duplicates(Clustering.open(lake, manifest.inputs["clustering"]))
    if stored is None:
        return {}
    members: dict[str, list[str]] = {}
    for sample, group in zip(stored.grouped.sample_ids.tolist(), stored.grouped.groups.tolist(), strict=True):
        members.setdefault(group, []).append(sample)
    return {
        sample: [twin for twin in group if twin not in chosen][:MOST_ALIKE]
        for group in members.values()
        for sample in group
        if sample in chosen
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
