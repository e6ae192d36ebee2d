"""Filter: the remote client-scoring task."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.errors import RemoteError
from ecos_core.stages import sampling, scoring
from ecos_core.stages.account import Account
from ecos_core.stages.scoring import Quote, StoredScores
from ecos_core.stages.selecting import Selecting
from ecos_core.storage import Location
from tasks.artifacts import show_table
from tasks.timing import core_work


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
)
def score_with_client(
    selecting: Selecting, client: ClientConfig, privacy: PrivacyConfig, answers: Location
) -> StoredScores:
    """Ask the client; safe to retry, since it answers a repeat for nothing."""
    with core_work():
        scores = sampling.ask(selecting, client, privacy, answers)
    if scores.account is not None:
        show_table(
            "privacy account",
            account_rows(scores.account),
            "What this release cost, and the client's total after it",
        )
    return scores


@task(name="ask for the account", cache_policy=NO_CACHE)
def quote(client: ClientConfig, privacy: PrivacyConfig, releases: int = 1) -> Quote:
    """What the releases would cost, and the client's own statement of its account, which is free."""
    return scoring.quote(client, privacy, releases)


def account_rows(account: Account) -> list[dict[str, Any]]:
    """The account as a table that reads from top to bottom."""
    named = {
        "epsilon of this release": account.epsilon_release,
        "epsilon in all so far": account.epsilon,
        "epsilon in all so far, by autodp": account.epsilon_autodp,
        "delta": account.delta,
        "noise (sigma)": account.sigma,
        "sensitivity": account.sensitivity,
        "adjacency": account.adjacency,
        "share of the records asked (gamma)": account.gamma,
    }
    return [
        {"quantity": name, "value": f"{value:.4g}" if isinstance(value, float) else str(value)}
        for name, value in named.items()
    ]
