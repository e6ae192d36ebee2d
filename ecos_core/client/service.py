"""The client over HTTP. It decides nothing: it reads a bounded body, finds out who asks, and calls the
engine.

Sizes, status codes and error texts depend on the request and the ledger only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ecos_core import __version__
from ecos_core.client.engine import Engine
from ecos_core.client.faults import STATUS, ErrorBody, UnauthorisedError, describe
from ecos_core.client.operations import OPERATIONS
from ecos_core.client.protocol import PROTOCOL_VERSION, ClientInfo, Frozen
from ecos_core.client.wire import MEDIA_TYPE
from ecos_core.errors import EcosError

log = logging.getLogger(__name__)
BODY_SECONDS = 60.0  # for the whole body, however slowly it drips
CONCURRENT_BODIES = 8  # bounds the memory: this many of the policy's largest request

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


def create_app(engine: Engine) -> FastAPI:
    """The ASGI application of one client."""
    app = FastAPI(title="ECOS client", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(Exception, _unexpected)
    app.add_exception_handler(EcosError, _expected)
    app.add_exception_handler(HTTPException, _http)
    bodies = asyncio.Semaphore(CONCURRENT_BODIES)
    limit = int(engine.policy.largest_request_mb * 2**20)

    @app.get("/v1/health", response_model=Health)
    async def health() -> Health:
        return Health()

    @app.get("/v1/info", response_model=ClientInfo, responses=_pick(401, 500, 503), openapi_extra=_SECURED)
    async def info(request: Request) -> Any:
        requester = _requester(engine, request)
        return JSONResponse((await run_in_threadpool(engine.info, requester)).model_dump(mode="json"))

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
            requester = _requester(engine, request)
            async with bodies:
                message = await _body(request, limit)
                response = await run_in_threadpool(engine.answer, message, requester, name)
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


def _requester(engine: Engine, request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    name = engine.tokens.who(token.strip()) if kind.lower() == "bearer" else None
    if name is None:
        raise UnauthorisedError
    return name


async def _body(request: Request, limit: int) -> bytes:
    """The whole body, if it is within the limit and comes in time."""
    too_large = HTTPException(413, f"the request is larger than this client takes ({limit} bytes)")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                found += chunk
                if len(found) > limit:
                    raise too_large
    except TimeoutError as error:
        raise HTTPException(
            408, f"the request took longer than {BODY_SECONDS:g} seconds to arrive"
        ) from error
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
    names = {408: "slow", 413: "too_large"}
    body = ErrorBody(error=names.get(error.status_code, "http"), message=str(error.detail))
    return JSONResponse(body.model_dump(exclude_none=True), error.status_code, headers=error.headers)


def _error(body: ErrorBody) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if body.error == "unauthorised" else None
    return JSONResponse(body.model_dump(exclude_none=True), STATUS[body.error], headers=headers)
