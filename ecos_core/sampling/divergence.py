"""How much nearer a selection is to the client than the lake is, without a label: KL reduction.

KL(p || lake) - KL(p || selection) over the clusters, in nats, with p the client's denoised shares: the data
metric of DSIR (Xie et al., NeurIPS 2023), from the noised histogram instead of the target data. Free
post-processing of the release.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ecos_core.errors import InputError

# Part of the lake's shares in the selection's, so that a cluster without a pick costs much and not infinitely.
LAKE_PART = 0.1


def kl_reduction(
    estimated: npt.ArrayLike, cluster_sizes: npt.ArrayLike, picked: npt.ArrayLike
) -> float | None:
    """Nats by which ``picked`` [R] is nearer to ``estimated`` [R] than ``cluster_sizes`` [R] is.

    ``estimated``: the client's denoised counts, not negative; ``picked``: samples chosen of each cluster.
    None where the client's answer or the selection is empty. Raises InputError when lengths differ.
    """
    client, lake, chosen = (
        np.asarray(value, dtype=np.float64) for value in (estimated, cluster_sizes, picked)
    )
    if not len(client) == len(lake) == len(chosen):
        raise InputError(
            f"KL reduction: {len(client)} scores, {len(lake)} clusters, {len(chosen)} counts; give one a cluster"
        )
    held = (client > 0) & (lake > 0)
    if not held.any() or chosen.sum() <= 0:
        return None
    p = client[held] / client[held].sum()
    q = lake[held] / lake.sum()
    s = (1 - LAKE_PART) * chosen[held] / chosen.sum() + LAKE_PART * q
    return float(np.sum(p * (np.log(s) - np.log(q))))
