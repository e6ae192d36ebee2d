"""All picks of a selection on one local HTML page: filter, enlarge, see why each was chosen. No network.

Some hundreds of pictures stand inside the page; more lie beside it, in ``pictures/``, and are read from there a page at
a time. The page runs one script, allowed by its hash; it works with the keyboard and on a phone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ecos_core.errors import InputError
from ecos_core.reporting.montage import thumbnail_file, thumbnail_uri
from ecos_core.reporting.style import pages

TEMPLATE = "picks.html.j2"
SCRIPT = "picks.js"
STYLE = "picks.css"
PICTURES = "pictures"
INSIDE_THE_PAGE = 400  # pictures; of 20 kB each, 8 MB
PICTURE_PX = 320


@dataclass(frozen=True)
class Alike:
    """A near-duplicate of a pick that was left out."""

    sample_id: str
    picture: str


@dataclass(frozen=True)
class Pick:
    """One sample chosen. ``score``: its cluster's; None where the sampler asks nobody. ``picture``: an address that
    the page can show, or empty where there is none."""

    order: int
    sample_id: str
    cluster: int
    reason: str
    score: float | None
    quota: int
    radius: float | None
    label: str
    domain: str
    source: str
    licence: str
    picture: str = ""
    alike: tuple[Alike, ...] = ()


@dataclass(frozen=True)
class ClusterRow:
    """A cluster as the table shows it: images in the lake, the client's noised and denoised answer, picks."""

    cluster: int
    size: int
    noisy_score: float | None
    score: float | None
    picked: int


@dataclass(frozen=True)
class PicksPage:
    """What the page says. ``facts``: name and value of what the selection was made from and with."""

    title: str
    subtitle: str
    facts: Mapping[str, str]
    picks: Sequence[Pick]
    clusters: Sequence[ClusterRow]


class Pictures:
    """Where the page's pictures go: into the page while they are few, else to files beside it."""

    def __init__(self, page: Path, expected: int) -> None:
        self._folder = None if expected <= INSIDE_THE_PAGE else page.parent / f"{page.stem}-{PICTURES}"
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)

    def __call__(self, sample_id: str, image: bytes) -> str:
        """The address that shows ``image``; empty for one that cannot be read."""
        try:
            if self._folder is None:
                return thumbnail_uri(image, PICTURE_PX)
            content, kind = thumbnail_file(image, PICTURE_PX)
        except InputError:
            return ""
        file = self._folder / f"{sample_id}.{kind}"
        file.write_bytes(content)
        return f"{self._folder.name}/{file.name}"


def render_picks(page: PicksPage) -> str:
    """The page as one HTML document."""
    script, style = (
        resources.files("ecos_core.reporting").joinpath(name).read_text("utf-8") for name in (SCRIPT, STYLE)
    )
    return (
        pages()
        .get_template(TEMPLATE)
        .render(
            page=page,
            script=script,
            style=style,
            script_hash=_hash(script),
            style_hash=_hash(style),
            data=_in_a_script(
                {
                    "picks": [asdict(pick) for pick in page.picks],
                    "clusters": [asdict(row) for row in page.clusters],
                }
            ),
            filters=_filters(page.picks),
        )
    )


def _filters(picks: Sequence[Pick]) -> dict[str, dict[str, int]]:
    """What a reader can filter by: each column that takes several values, and how many picks have each."""
    columns: dict[str, Callable[[Pick], str]] = {
        "cluster": lambda pick: str(pick.cluster),
        "domain": lambda pick: pick.domain,
        "label": lambda pick: pick.label,
        "source": lambda pick: pick.source,
        "licence": lambda pick: pick.licence,
        "reason": lambda pick: pick.reason,
    }
    found = {}
    for name, column in columns.items():
        counts: dict[str, int] = {}
        for pick in picks:
            counts[column(pick)] = counts.get(column(pick), 0) + 1
        if len(counts) > 1:
            found[name] = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return found


def _hash(content: str) -> str:
    """The form in which a Content-Security-Policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _in_a_script(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
