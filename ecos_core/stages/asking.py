"""Ask a client in the way that the configuration says: once, in two rounds, or for private moments.

However it is asked, the total costs what one release of the planned noise costs, and a repeat of the whole
costs nothing: each question is made from the lake and the earlier answers alone.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np

from ecos_core.client.protocol import MOMENT_SCALE, ClientInfo, score_request
from ecos_core.clustering.auto import choose_clusters
from ecos_core.clustering.clustering import Clustering, cluster_with
from ecos_core.clustering.pool import LakePool
from ecos_core.clustering.restricted import restricted_pool
from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake
from ecos_core.privacy.accounting import account
from ecos_core.privacy.events import histogram_event
from ecos_core.privacy.planner import epsilon_after
from ecos_core.sampling.by_score import denoised
from ecos_core.sampling.config import SamplerConfig
from ecos_core.sampling.moments import MomentQuery, moment_query, scores_from_moments
from ecos_core.sampling.pool import Pool
from ecos_core.sampling.rounds import refine, sigma_of_each_round
from ecos_core.stages.scoring import KIND as SCORES
from ecos_core.stages.scoring import (
    StoredScores,
    connect,
    planned,
    read_scores,
    request_scores,
    write_scores,
)
from ecos_core.storage import Location, read_manifest, sha256_hex
from ecos_core.storage.artefacts import MANIFEST_NAME

LEAST_NEW_CLUSTERS = 2
# What an account comes to is estimated from its epsilon: within this factor of the limit the client decides.
ESTIMATE_SLACK = 1.01


def ask(
    lake: Lake, clustering: Clustering, client: ClientConfig, privacy: PrivacyConfig, config: SamplerConfig
) -> tuple[Clustering, StoredScores]:
    """(the clustering to choose from, the scores of its clusters). Raises as the client answers."""
    if privacy.moments is not None:
        return clustering, ask_moments(lake, clustering, client, privacy, privacy.moments)
    if privacy.rounds == 2:
        return ask_twice(lake, clustering, client, privacy, config)
    return clustering, request_scores(clustering, client, privacy, lake.folder("scores"))


def ask_twice(
    lake: Lake, clustering: Clustering, client: ClientConfig, privacy: PrivacyConfig, config: SamplerConfig
) -> tuple[Clustering, StoredScores]:
    """Half of the privacy on the clusters, half on finer ones inside those that the first answer found hot.

    How many finer ones follows the signal to noise, from the first answer's own sum. Raises InputError, before
    anything is asked, where ``check_two_rounds`` does.
    """
    room = check_two_rounds(lake, clustering, client, privacy)
    sigma = sigma_of_each_round(planned(privacy).sigma, 2)
    each = privacy.model_copy(update={"epsilon": None, "sigma": sigma, "rounds": 1})
    folder = lake.folder("scores")
    first = request_scores(clustering, client, each, folder)
    refined = refined_clustering(lake, clustering, first.folder, config, most=room)
    second = request_scores(refined, client, each, folder)
    counts = read_scores(second.folder)[1].noisy
    told = {
        **second.manifest.summary["privacy"],
        "epsilon_release": account(
            [histogram_event(sigma, privacy.adjacency, count=2)], privacy.delta
        ).epsilon,
        "rounds": 2,
    }
    both = write_scores(
        refined,
        counts,
        folder / f"{second.folder.name}-of-2",
        told,
        second.manifest.summary["receipt"],
        inputs={"first round": first.manifest.digest},
    )
    return refined, dataclasses.replace(both, epsilon_limit=second.epsilon_limit)


def check_two_rounds(lake: Lake, clustering: Clustering, client: ClientConfig, privacy: PrivacyConfig) -> int:
    """How many new clusters a second question may hold beside the old ones, by what the client publishes for free.

    Raises InputError when its policy takes no more clusters at once than the first question has, or its account has
    no room for both questions: the first would be paid for nothing. One whose receipt is in the lake is paid already.
    """
    with connect(client) as connection:
        info = connection.info()
    room = info.clusters_at_most - clustering.clusters
    if room < LEAST_NEW_CLUSTERS:
        raise InputError(
            f"rounds 2: the client takes at most {info.clusters_at_most} clusters at once and this clustering has "
            f"{clustering.clusters}; cluster the lake more coarsely"
        )
    sigma = sigma_of_each_round(planned(privacy).sigma, 2)
    after = epsilon_after(info.epsilon_spent, sigma, info.delta, adjacency=privacy.adjacency, releases=2)
    estimate = 1.0 if info.epsilon_spent == 0 else ESTIMATE_SLACK
    if after > estimate * info.epsilon_limit and not _paid_already(lake, clustering, info, privacy, sigma):
        raise InputError(
            f"rounds 2: both questions would bring the client's account to epsilon {after:.4g} at delta "
            f"{info.delta:g}, spent so far {info.epsilon_spent:.4g}, limit {info.epsilon_limit:.4g}; nothing was "
            "asked: lower epsilon, or ask in one round"
        )
    return room


def _paid_already(
    lake: Lake, clustering: Clustering, info: ClientInfo, privacy: PrivacyConfig, sigma: float
) -> bool:
    """Whether the lake holds this client's receipt for the first question: then a repeat of it is free."""
    request = score_request(
        clustering.centroids,
        sigma=sigma,
        fingerprint=clustering.fingerprint,
        adjacency=str(privacy.adjacency),
    )
    wanted = (request.digest, info.public_key, info.data_version, info.requester)
    folder = lake.folder("scores")
    held = [folder / name for name in folder.names() if (folder / name / MANIFEST_NAME).exists()]
    receipts = (read_manifest(where, SCORES).summary.get("receipt") or {} for where in held)
    names = ("request_digest", "public_key", "data_version", "requester")
    return any(tuple(receipt.get(name) for name in names) == wanted for receipt in receipts)


def refined_clustering(
    lake: Lake, clustering: Clustering, scores: Location, config: SamplerConfig, *, most: int
) -> Clustering:
    """The clustering of a second round: hot clusters cut into at most ``most``, all images assigned anew."""
    pool, answer = restricted_pool(LakePool(lake, clustering))[0], read_scores(scores)[1]
    records = max(1, round(float(denoised(pool, answer, config).sum())))
    wanted = choose_clusters(clustering.rows, records, answer.sigma)
    refined = refine(pool, answer, config, clusters=max(1, min(wanted, most)), seed=0)
    return cluster_with(lake, clustering, np.unique(refined.centroids, axis=0))


def ask_moments(
    lake: Lake, clustering: Clustering, client: ClientConfig, privacy: PrivacyConfig, directions: int
) -> StoredScores:
    """Scores of this clustering from the client's noised mean feature.

    The question is kept in the lake and never changes, so any later clustering of the same extractor is
    served by the client's first answer, which it repeats for nothing.
    """
    plan = planned(privacy)
    pool = restricted_pool(LakePool(lake, clustering))[0]
    query = kept_query(lake, pool, directions)
    with connect(client) as connection:
        limit = connection.info().epsilon_limit
        release = connection.moments(
            query.directions,
            query.mean,
            radius=query.radius,
            sigma=plan.sigma,
            fingerprint=clustering.fingerprint,
        )
    scores = scores_from_moments(pool, query, release.values / MOMENT_SCALE, plan.sigma)
    receipt = release.receipt
    told: dict[str, Any] = {
        name: getattr(receipt, name) for name in ("delta", "epsilon", "epsilon_autodp", "epsilon_release")
    }
    told |= {"sigma": plan.sigma, "sensitivity": 1.0, "adjacency": str(privacy.adjacency), "gamma": 1.0}
    name = sha256_hex(f"{receipt.answer_digest} {clustering.id}".encode())[:16]
    stored = write_scores(
        clustering,
        scores.noisy,
        lake.folder("scores") / name,
        {**told, "moments": directions},
        receipt.model_dump(mode="json"),
        noise=0.0,
    )
    return dataclasses.replace(stored, epsilon_limit=limit)


def kept_query(lake: Lake, pool: Pool, directions: int) -> MomentQuery:
    """The lake's question for this extractor and number of directions; made once."""
    where = lake.folder("moments") / f"{pool.fingerprint[:32]}-{directions}.npz"
    if not where.exists():
        query = moment_query(pool, directions)
        buffer = io.BytesIO()
        np.savez(buffer, directions=query.directions, mean=query.mean, radius=np.float64(query.radius))
        where.write_bytes(buffer.getvalue())
    with np.load(io.BytesIO(where.read_bytes()), allow_pickle=False) as arrays:
        return MomentQuery(arrays["directions"], arrays["mean"], float(arrays["radius"]))
