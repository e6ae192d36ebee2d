"""What `ecos deploy` keeps on a Prefect server beside the deployments: variables, work pools, automations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.variables import Variable

# Longer than the restart of a server takes, and than a heartbeat that is lost on the way; workers send one every
# 180 seconds by default, those of deployments/run.sh every 60.
SILENCE = timedelta(minutes=5)
# Longer than a worker takes from taking a run to starting its process.
SUBMISSION = timedelta(minutes=10)


# States in which nothing more is waited for.
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Suspended", "Paused")


def ensure_variables(values: Mapping[str, str]) -> None:
    """Set the variables that prefect.yaml is filled in with."""
    for name, value in values.items():
        Variable.set(name, value, overwrite=True)


def known_variables(names: Iterable[str]) -> dict[str, str]:
    """The values of those that an earlier `ecos deploy` has set."""
    found = {name: Variable.get(name) for name in names}
    return {name: str(value) for name, value in found.items() if value is not None}


def ensure_work_pools(limits: Mapping[str, int]) -> None:
    """Process work pools with their concurrency limits."""
    with get_client(sync_client=True) as client:
        for name, limit in limits.items():
            try:
                client.read_work_pool(name)
            except ObjectNotFound:
                client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=limit))
            else:
                client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))


def list_deployments() -> dict[str, UUID]:
    """`flow/deployment` -> id, of those with the tag `ecos`."""
    with get_client(sync_client=True) as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        return {
            f"{flows[deployment.flow_id]}/{deployment.name}": deployment.id
            for deployment in client.read_deployments()
            if "ecos" in deployment.tags
        }


def notification_block(url: str) -> UUID:
    """A webhook that gets the messages; made or updated."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(
        name="ecos", url=url, method="POST", json_data={"subject": "{{subject}}", "text": "{{body}}"}
    )
    return UUID(str(block.save("ecos-notify", overwrite=True)))


def ensure_automations(deployments: Mapping[str, UUID], notify: UUID | None) -> list[str]:
    """Those of each deployment: a run whose worker died, or that was lost on its way to one, is marked crashed, and a
    bad end is told (with ``notify``).

    What is there and the same stays as it is.
    """
    wanted = []
    for name, deployment in deployments.items():
        wanted += [_mark_zombies(name, deployment), _mark_lost(name, deployment)]
        if notify is not None:
            wanted.append(_tell_of_failures(name, deployment, notify))
    with get_client(sync_client=True) as client:
        for automation in wanted:
            _ensure_one(client, automation)
    return [automation.name for automation in wanted]


def _ensure_one(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Make it or bring it up to date; one that a person has switched off stays off.

    One that is the same is left alone: an update would forget which runs are being watched.
    """
    there = client.read_automations_by_name(wanted.name)
    if not there:
        client.create_automation(wanted)
        return
    if _meaning(there[0]) != _meaning(wanted):
        client.update_automation(there[0].id, wanted.model_copy(update={"enabled": there[0].enabled}))
    for spare in there[1:]:
        client.delete_automation(spare.id)


def _meaning(automation: AutomationCore) -> dict[str, Any]:
    """What it does, without the ids that the server gave."""
    told = automation.model_dump(include={"description", "trigger", "actions"})
    told["trigger"].pop("id", None)
    return told


def _runs_of(deployment: UUID) -> ResourceSpecification:
    return ResourceSpecification.model_validate(
        {"prefect.resource.role": "deployment", "prefect.resource.id": f"prefect.deployment.{deployment}"}
    )


def _mark_zombies(name: str, deployment: UUID) -> AutomationCore:
    return _mark_crashed(
        f"ecos: mark dead runs of {name}",
        "A run that stops sending heartbeats without ending lost its worker.",
        deployment,
        after="heartbeat",
        expect=("heartbeat", *ENDS),
        within=SILENCE,
        message="The worker stopped sending heartbeats.",
    )


def _mark_lost(name: str, deployment: UUID) -> AutomationCore:
    return _mark_crashed(
        f"ecos: mark lost runs of {name}",
        "A run that a worker took and never started was lost on the way: the worker or the database went away.",
        deployment,
        after="Pending",
        expect=("Running", "Scheduled", "Late", "AwaitingRetry", "AwaitingConcurrencySlot", *ENDS),
        within=SUBMISSION,
        message="The worker took the run and never started it; start it again.",
    )


def _mark_crashed(
    name: str,
    description: str,
    deployment: UUID,
    *,
    after: str,
    expect: tuple[str, ...],
    within: timedelta,
    message: str,
) -> AutomationCore:
    """Mark a run of ``deployment`` crashed unless one of ``expect`` comes ``within`` a time after ``after``."""
    return AutomationCore(
        name=name,
        description=description,
        enabled=True,
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=_runs_of(deployment),
            after={f"prefect.flow-run.{after}"},
            expect={f"prefect.flow-run.{state}" for state in expect},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=within,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def _tell_of_failures(name: str, deployment: UUID, notify: UUID) -> AutomationCore:
    return AutomationCore(
        name=f"ecos: tell of failures of {name}",
        description="Sends a message when a run fails or crashes.",
        enabled=True,
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=_runs_of(deployment),
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=notify,
                subject="ECOS: {{ flow.name }} ended {{ flow_run.state.name }}",
                body="{{ flow_run.name }} ({{ flow_run.id }}): {{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
            )
        ],
    )
