"""Errors as they cross to the other side, and back into the same errors there. The same for both
transports.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ecos_core.errors import BudgetExceeded, EcosError, InputError, IntegrityError, PolicyError, RemoteError

STATUS = {
    "invalid": 400,
    "unauthorised": 401,
    "forbidden": 403,
    "waiting": 403,
    "refused": 403,
    "budget": 403,
    "slow": 408,
    "too_large": 413,
    "busy": 429,
    "internal": 500,
    "ledger": 503,
}
# Words of errors that may pass by themselves: the same request can succeed later.
RETRYABLE = frozenset({"waiting", "slow", "busy"})


class UnauthorisedError(PolicyError):
    """No valid token."""

    def __init__(self, *, expired: bool = False) -> None:
        problem = "this token has expired" if expired else "the client does not know this token"
        super().__init__(f"{problem}; ask the data owner for one")


class WaitingForApprovalError(PolicyError):
    """The owner approves each request by hand and has not approved this one yet."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the request waits for the data owner's approval (it is {key[:16]}); ask again later"
        )
        self.key = key


class RefusedByOwnerError(PolicyError):
    """The owner looked at this very request and refused it."""

    @classmethod
    def because(cls, reason: str) -> RefusedByOwnerError:
        """The error with the owner's reason, where one was given."""
        return cls(f"the data owner refused this request{f': {reason}' if reason else ''}; nothing was spent")


class RateLimitedError(RemoteError):
    """Too many new requests in a minute; the same call succeeds later."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} new requests in a minute; wait and ask again", retryable=True)


class TooLargeError(InputError):
    """More bytes than the policy allows for one request."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request is larger than this client takes ({limit} bytes)")


class SlowError(RemoteError):
    """The request did not arrive in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request took longer than {seconds:g} seconds to arrive", retryable=True)


class ErrorBody(BaseModel):
    """What the other side is told: a word for machines, a line for people, and the budget's numbers."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error: str = Field(max_length=64)
    message: str = Field(max_length=2000)
    asked: float | None = None
    spent: float | None = None
    limit: float | None = None
    delta: float | None = None


def describe(error: Exception) -> ErrorBody:
    """What may be told about an error. Unexpected ones are not told at all: their text could hold
    anything.
    """
    if isinstance(error, BudgetExceeded):
        numbers = {name: min(getattr(error, name), 1e308) for name in ("asked", "spent", "limit", "delta")}
        return ErrorBody(error="budget", message=str(error), **numbers)
    known: tuple[tuple[type[Exception], str], ...] = (
        (UnauthorisedError, "unauthorised"),
        (WaitingForApprovalError, "waiting"),
        (RefusedByOwnerError, "refused"),
        (PolicyError, "forbidden"),
        (SlowError, "slow"),
        (RemoteError, "busy"),
        (TooLargeError, "too_large"),
        (InputError, "invalid"),
    )
    for kind, word in known:
        if isinstance(error, kind):
            return ErrorBody(error=word, message=str(error))
    if isinstance(error, IntegrityError | EcosError):
        return ErrorBody(error="ledger", message="the client stopped answering; its owner has the details")
    return ErrorBody(error="internal", message="the client failed; its owner has the details")


def restore(body: ErrorBody, where: str) -> EcosError:
    """The error that ``describe`` was given, seen from the other side."""
    message = f"client {where}: {body.message}"
    if body.error == "budget" and None not in (body.asked, body.spent, body.limit, body.delta):
        return BudgetExceeded(body.asked or 0.0, body.spent or 0.0, body.limit or 0.0, body.delta or 0.0)
    if body.error == "refused":
        return RefusedByOwnerError(message)
    if body.error in ("forbidden", "waiting", "unauthorised"):
        return PolicyError(message)
    if body.error in ("invalid", "too_large"):
        return InputError(message)
    return RemoteError(message, retryable=body.error in ("busy", "slow"))
