"""A person decides whether a release may be paid for: the flow waits, and its page says what it would cost."""

from __future__ import annotations

from prefect import pause_flow_run, runtime
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from ecos_core.config import ClientConfig, PrivacyConfig
from ecos_core.stages.scoring import Quote, in_all, planned
from tasks.artifacts import show_text
from tasks.scoring import quote

TIMEOUT_S = 7 * 24 * 3600
POLL_S = 3
KEY = "approve-spend"


class Approval(RunInput):
    """What the person who resumes the run is asked."""

    approve: bool = Field(
        False, title="Spend this privacy budget", description="Off: the run ends, nothing is spent."
    )


def may_spend(client: ClientConfig, privacy: PrivacyConfig, releases: int = 1) -> bool:
    """Whether the releases together cost no more than the threshold, or a person says so; waits for that person.

    A deployed run is suspended: it holds no worker and no slot, and it outlives restarts of both sides. (A pause would
    lose its slot's lease, and with it the run, after some minutes.) Resumed, the flow starts over and comes by here
    again. A run started by hand has nobody to start it again, so it waits in its process.
    """
    if privacy.approve_above is None or in_all(planned(privacy), releases) <= privacy.approve_above:
        return True
    text = question(quote(client, privacy, releases), privacy.approve_above)
    if int(runtime.flow_run.run_count or 1) == 1:
        show_text("approval", text, "Waiting for a person: may this be spent?")
    form = Approval.with_initial_data(description=text)
    if runtime.deployment.id:
        answer = suspend_flow_run(wait_for_input=form, timeout=TIMEOUT_S, key=KEY)
    else:
        answer = pause_flow_run(wait_for_input=form, timeout=TIMEOUT_S, poll_interval=POLL_S, key=KEY)
    return answer.approve


def question(quoted: Quote, threshold: float) -> str:
    """What the person reads, as Markdown."""
    plan = quoted.plan
    paid = (
        "The client could not be asked what its data has paid so far."
        if quoted.spent is None or quoted.limit is None
        else f"The client's data has paid epsilon {quoted.spent:.4g} of {quoted.limit:.4g} so far."
    )
    each = f", {quoted.releases} releases of {plan.epsilon:.4g} each" if quoted.releases > 1 else ""
    return (
        f"This run will cost **epsilon {quoted.epsilon:.4g}** of the client's privacy budget{each} (delta "
        f"{plan.delta:g}, adjacency {plan.adjacency}, noise sigma {plan.sigma:.4g}). {paid} "
        f"A person is asked because the threshold is epsilon {threshold:g}. "
        "If the client has answered this very question before, it answers again for nothing.\n\n"
        "Press *Resume* and switch *Spend this privacy budget* on to go on; resumed with it off, the run ends and "
        "nothing is spent."
    )
