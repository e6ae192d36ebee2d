"""Where clusterings are: the lake's own in ``LAKE/clusters``, a comparison's beside its results in ``OUT/clusters``."""

from __future__ import annotations

from ecos_core.clustering.clustering import KIND, Clustering
from ecos_core.lake.lake import Lake
from ecos_core.storage import Location, Manifest
from ecos_core.storage.artefacts import MANIFEST_NAME


def beside(out: Location) -> Location:
    """The folder of a comparison's own clusterings."""
    return out / KIND


def clustering_of(lake: Lake, selection: Location, manifest: Manifest) -> Clustering:
    """The clustering that a selection was chosen from: a comparison keeps ``OUT/selections/NAME``, ``OUT/clusters/ID``.

    Raises InputError where it is neither there nor in the lake.
    """
    id = manifest.inputs["clustering"]
    root = Location(selection.url.rsplit("/", 2)[0]) / KIND if selection.url.count("/") > 1 else None
    if root is not None and (root / id / MANIFEST_NAME).exists():
        return Clustering.at(root, id)
    return Clustering.open(lake, id)
