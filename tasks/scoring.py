"""Filter: the remote client-scoring task."""

from __future__ import annotations

import time
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.clustering.clustering import Clustering
from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import RemoteError
from ecos_core.lake.lake import Lake
from ecos_core.stages import scoring
from tasks.artifacts import show_table


def _may_succeed_later(task: Any, task_run: Any, state: Any) -> bool:
    """Retry what may pass: a client that is down or slow; never a refusal."""
    try:
        state.result()
    except RemoteError as error:
        return error.retryable
    except Exception:
        return False
    return False


@task(
    name="score",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_jitter_factor=0.3,
    retry_condition_fn=_may_succeed_later,
    task_run_name="score clustering {clustering_id}",
)
def score_with_client(
    lake: str, clustering_id: str, client: ClientConfig, privacy: PrivacyConfig
) -> dict[str, Any]:
    """Ask the client; safe to retry, since it answers a repeat for nothing. Returns the answer's folder and account."""
    began = time.perf_counter()
    opened = Lake.open(lake)
    clustering = Clustering.open(opened, clustering_id)
    stored = scoring.request_scores(clustering, client, privacy, opened.folder("scores"))
    account = stored.privacy
    show_table(
        "privacy account", account_rows(account), "What this release cost, and the client's total after it"
    )
    return {
        "scores": str(stored.folder),
        "privacy": account,
        "seconds": time.perf_counter() - began,
    }


@task(name="ask for the account", cache_policy=NO_CACHE)
def client_account(client: ClientConfig) -> dict[str, float] | None:
    """Epsilon ``spent`` and ``limit`` by the client's own statement, which is free; None where it cannot say now."""
    if not client.url.startswith("http"):
        return None  # a mailbox is emptied when its owner likes
    try:
        with scoring.connect(client) as connection:
            info = connection.info()
    except RemoteError:
        return None
    return {"spent": info.epsilon_spent, "limit": info.epsilon_limit}


def account_rows(account: dict[str, Any]) -> list[dict[str, Any]]:
    """The account as a table that reads from top to bottom."""
    named = {
        "epsilon of this release": account["epsilon_release"],
        "epsilon in all so far": account["epsilon"],
        "epsilon in all so far, by autodp": account["epsilon_autodp"],
        "delta": account["delta"],
        "noise (sigma)": account["sigma"],
        "sensitivity": account["sensitivity"],
        "adjacency": account["adjacency"],
        "share of the records asked (gamma)": account["gamma"],
    }
    return [
        {"quantity": name, "value": f"{value:.4g}" if isinstance(value, float) else str(value)}
        for name, value in named.items()
    ]
