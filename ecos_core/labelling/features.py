"""Features of some of a lake's samples, for the label check."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.features.feature_set import FeatureSet
from ecos_core.lake.lake import Lake


def lake_features(
    lake: Lake, wanted: frozenset[str], fingerprint: str | None = None
) -> tuple[list[str], NDArray[np.float32]]:
    """The wanted samples found in the lake, [n] ids, and their features, float32 [n, d].

    ``fingerprint`` names the extractor; it may be left out, or cut short, where that leaves no choice.
    Raises InputError when there is none, or a choice, or no feature of the wanted samples.
    """
    ids, features = FeatureSet.open(lake, _extractor(lake, fingerprint)).of(sorted(wanted))
    if not ids:
        raise InputError(
            f"{lake.location}: no features of the labelled samples; run  ecos index  on this lake"
        )
    return ids, features


def _extractor(lake: Lake, fingerprint: str | None) -> str:
    names = [name for name in lake.folder("features").names() if name.startswith(fingerprint or "")]
    if len(names) == 1:
        return names[0]
    known = ", ".join(name[:12] for name in lake.folder("features").names()) or "none"
    raise InputError(f"{lake.location}: name one extractor with --fingerprint (there are: {known})")
