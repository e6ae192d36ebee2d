"""A run that fails is told of: the automation that `ecos deploy --notify` makes, on a real server."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import UUID

import httpx
import pytest

from tests.flows.prefect_support import ask, wait_for

pytestmark = pytest.mark.integration


@contextlib.contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An address that takes messages, and those that came."""
    messages: list[dict[str, str]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", messages
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("state", ["Failed", "Crashed"])
def test_a_bad_end_sends_one_message_that_leads_to_the_run(prefect_url: str, state: str) -> None:
    from ecos_cli.prefect_objects import ensure_automations, notification_block

    flow = ask(prefect_url, "flows/", name="told of")
    deployment = ask(prefect_url, "deployments/", name=f"to be told of when {state}", flow_id=flow["id"])
    with webhook() as (address, messages):
        made = ensure_automations({f"told-of/{state}": UUID(deployment["id"])}, notification_block(address))
        assert made == [
            f"ecos: mark dead runs of told-of/{state}",
            f"ecos: mark lost runs of told-of/{state}",
            f"ecos: tell of failures of told-of/{state}",
        ]
        run = end_a_run(prefect_url, deployment["id"], state)
        wait_for(lambda: any(run in message["text"] for message in messages))
        [message] = messages
    assert message["subject"] == f"ECOS: told of ended {state}"
    assert f"/runs/flow-run/{run}" in message["text"]
    remove_automations(prefect_url, made)


def end_a_run(url: str, deployment: str, state: str) -> str:
    """A run of the deployment that ends so, without a worker; its id."""
    run = ask(url, f"deployments/{deployment}/create_flow_run", state={"type": "PENDING"})
    for wanted in ("RUNNING", state.upper()):
        ask(
            url,
            f"flow_runs/{run['id']}/set_state",
            state={"type": wanted, "name": wanted.title()},
            force=True,
        )
    return str(run["id"])


def remove_automations(url: str, names: list[str]) -> None:
    for found in ask(url, "automations/filter"):
        if found["name"] in names:
            httpx.delete(f"{url}/automations/{found['id']}", timeout=30).raise_for_status()
