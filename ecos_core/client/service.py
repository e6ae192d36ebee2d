"""The client over HTTP. It decides nothing: it reads a bounded body and hands it, with who asks, to the gate.

Sizes, status codes and error texts depend on the request and the ledger only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ecos_core import __version__
from ecos_core.client.engine import Engine
from ecos_core.client.faults import STATUS, ErrorBody, SlowError, TooLargeError, describe
from ecos_core.client.gate import Caller, Gate
from ecos_core.client.operations import OPERATIONS
from ecos_core.client.protocol import PROTOCOL_VERSION, ClientInfo, Frozen
from ecos_core.client.wire import MEDIA_TYPE
from ecos_core.errors import EcosError, InputError

log = logging.getLogger(__name__)
BODY_SECONDS = 60.0  # for the whole body, however slowly it drips
CONCURRENT_BODIES = 2  # of one requester: bounds the memory, and what a slow one can hold up
CONCURRENT_ANSWERS = 8

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": meaning}
    for status, meaning in (
        (400, "The request is malformed; nothing was spent."),
        (401, "No valid token."),
        (
            403,
            "The policy, the owner or the budget does not allow it; nothing was spent.",
        ),
        (408, "The body came too slowly."),
        (413, "The body is larger than the policy allows."),
        (429, "Too many new requests in a minute."),
        (500, "The client's own fault; its owner has the details."),
        (503, "The client's ledger refuses to work; its owner has the details."),
    )
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FRAME: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One frame: a JSON header and the arrays it lists, see the protocol's page.",
        "content": {MEDIA_TYPE: _BINARY},
    },
}
_ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The release with its signed receipt, one frame.", "content": {MEDIA_TYPE: _BINARY}},
    **_ERRORS,
}


class Health(Frozen):
    """The service runs. Says nothing of the data or the ledger."""

    status: str = "ok"
    protocol: int = PROTOCOL_VERSION


def create_app(engine: Engine, *, gate: Gate | None = None, certificates: bool = False) -> FastAPI:
    """The ASGI application of one client. ``certificates``: each requester must show one with its name in it."""
    gate = gate or Gate(engine)
    app = FastAPI(title="ECOS client", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(Exception, _unexpected)
    app.add_exception_handler(EcosError, _expected)
    app.add_exception_handler(HTTPException, _http)
    bodies: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(CONCURRENT_BODIES))
    answers = asyncio.Semaphore(CONCURRENT_ANSWERS)
    limit = int(engine.policy.largest_request_mb * 2**20)

    async def known(request: Request) -> Caller:
        caller = Caller("http", request.client.host if request.client else None)
        names = getattr(request.state, "certificate_names", ()) if certificates else None
        return await run_in_threadpool(gate.by_token, _token(request), caller, names)

    @app.get("/v1/health", response_model=Health)
    async def health() -> Health:
        return Health()

    @app.get(
        "/v1/info", response_model=ClientInfo, responses=_pick(401, 429, 500, 503), openapi_extra=_SECURED
    )
    async def info(request: Request) -> Any:
        told = await run_in_threadpool(gate.info, await known(request))
        return JSONResponse(told.model_dump(mode="json"))

    def operation(path: str, name: str, summary: str) -> None:
        extra = {**_FRAME, **_SECURED}

        @app.post(
            path,
            summary=summary,
            name=name,
            responses=_ANSWERED,
            response_class=Response,
            openapi_extra=extra,
        )
        async def answer(request: Request) -> Response:
            caller = await known(request)
            async with bodies[str(caller.requester)]:
                with gate.recorded(caller, name):
                    message = await _body(request, limit)
                async with answers:
                    response = await run_in_threadpool(gate.answer, message, caller, name)
            return Response(response, media_type=MEDIA_TYPE)

    for name, offered in OPERATIONS.items():
        operation(f"/v1/{name}", name, offered.summary)
    return app


_SECURED: dict[str, Any] = {
    "security": [{"token": []}],
    "x-token": "Authorization: Bearer TOKEN",
}


def _pick(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _ERRORS[status] for status in statuses}


def _token(request: Request) -> str | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, if it is within the limit and comes in time. Raises TooLargeError, SlowError, InputError."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise TooLargeError(limit)
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limit:
                    raise TooLargeError(limit)
    except TimeoutError as error:
        raise SlowError(BODY_SECONDS) from error
    except ClientDisconnect as error:
        raise InputError("the connection ended before the request did") from error
    return bytes(found)


async def _expected(request: Request, error: Exception) -> Response:
    body = describe(error)
    if STATUS[body.error] >= 500:
        log.error("%s: %s", type(error).__name__, error)
    return _error(body)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _error(describe(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = ErrorBody(error="http", message=str(error.detail))
    return JSONResponse(body.model_dump(exclude_none=True), error.status_code, headers=error.headers)


def _error(body: ErrorBody) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if body.error == "unauthorised" else None
    return JSONResponse(body.model_dump(exclude_none=True), STATUS[body.error], headers=headers)
