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
    """Two for each deployment: a run whose worker died is marked crashed, and a bad end is told (with ``notify``).

    What is there and the same stays as it is.
    """
    wanted = []
    for name, deployment in deployments.items():
        wanted.append(_mark_zombies(name, deployment))
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
    ends = {
        f"prefect.flow-run.{state}"
        for state in ("Completed", "Failed", "Cancelled", "Crashed", "Suspended", "Paused")
    }
    return AutomationCore(
        name=f"ecos: mark dead runs of {name}",
        description="A run that stops sending heartbeats without ending lost its worker.",
        enabled=True,
        trigger=EventTrigger(
            match=ResourceSpecification.model_validate({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=_runs_of(deployment),
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ends},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(state=StateType.CRASHED, message="The worker stopped sending heartbeats.")
        ],
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
