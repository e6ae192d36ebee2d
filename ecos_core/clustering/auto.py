"""How many clusters: R follows the signal to noise n / (R sigma), which should be about 1 to 3; the study in
docs/study.md supports 3."""

from __future__ import annotations

from ecos_core.errors import InputError
from ecos_core.privacy.planner import MOST_CLUSTERS, suggest_clusters

# A cluster needs a few images to choose from.
IMAGES_PER_CLUSTER = 20


# Where nothing is known of a client: the paper's number.
USUAL_CLUSTERS = 100
# Signal to noise of 3 is the aim; a factor of two to either side costs little (docs/study.md).
FAR = 2.0


def is_far(held: int, wanted: int) -> bool:
    """Whether ``held`` clusters are worth fitting anew when ``wanted`` are asked for."""
    return not wanted / FAR <= held <= wanted * FAR


def choose_clusters(images: int, records: int | None, sigma: float | None) -> int:
    """The planner's R for these records and this noise, with at least 20 lake images a cluster.

    ``images``: rows of the lake. ``records``: the order of magnitude that the client states, never a count
    made for the server. ``sigma``: the planned noise (standard deviation) of a score; 0 means none. Raises
    InputError when a number is missing or impossible.
    """
    if records is None or sigma is None:
        raise InputError(
            "--clusters auto: give --records (the client's order of magnitude) and --sigma (from  ecos plan)"
        )
    if records < 1 or not 0 <= sigma < float("inf"):
        raise InputError(f"--clusters auto: records {records} must be 1 or more and sigma {sigma} 0 or more")
    wanted = suggest_clusters(records, sigma) if sigma else MOST_CLUSTERS
    return min(wanted, max(1, images // IMAGES_PER_CLUSTER))
