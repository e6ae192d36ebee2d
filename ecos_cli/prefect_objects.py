"""What `ecos deploy` keeps on a Prefect server beside the deployments: variables, work pools, automations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.variables import Variable

HEARTBEAT = timedelta(seconds=90)


def ensure_variables(values: Mapping[str, str]) -> None:
    """Set the variables that prefect.yaml is filled in with."""
    for name, value in values.items():
        Variable.set(name, value, overwrite=True)


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

    Workers send heartbeats when PREFECT_FLOWS_HEARTBEAT_FREQUENCY is set (seconds, 30 or more).
    """
    wanted = []
    for name, deployment in deployments.items():
        wanted.append(_mark_zombies(name, deployment))
        if notify is not None:
            wanted.append(_tell_of_failures(name, deployment, notify))
    with get_client(sync_client=True) as client:
        for automation in wanted:
            for old in client.read_automations_by_name(automation.name):
                client.delete_automation(old.id)
            client.create_automation(automation)
    return [automation.name for automation in wanted]


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
            within=HEARTBEAT,
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
                body="{{ flow_run|ui_url }}",
            )
        ],
    )
