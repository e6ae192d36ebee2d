"""One hierarchy of errors. Every message says what is wrong, where, and what to do about it, in one line.

No message may ever hold a value derived from private data.
"""

from __future__ import annotations


class EcosError(Exception):
    """Base of all errors that this software raises on purpose."""


class InputError(EcosError):
    """The caller's input is wrong; nothing was changed."""


class MissingDependencyError(InputError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"package '{package}' is not installed: run  pip install 'ecos-sampling[{extra}]'")
        self.package = package
        self.extra = extra


class PolicyError(EcosError):
    """The client's policy forbids the request; nothing was spent."""


class BudgetExceeded(EcosError):  # noqa: N818 - the field's name for it
    """The privacy budget does not allow the release; nothing was spent.

    Attributes are epsilons at the ledger's delta: ``asked`` is what the total would have become.
    """

    def __init__(self, asked: float, spent: float, limit: float, delta: float) -> None:
        super().__init__(
            f"privacy budget: this release would bring epsilon to {asked:.4g}, spent so far {spent:.4g}, "
            f"limit {limit:.4g} (delta {delta:g}); ask for less (a larger sigma) or have the owner raise the limit"
        )
        self.asked = asked
        self.spent = spent
        self.limit = limit
        self.delta = delta


class IntegrityError(EcosError):
    """Stored bytes are not what their record says."""

    def __init__(self, where: str, expected: str, found: str) -> None:
        super().__init__(
            f"{where}: expected digest {expected}, found {found}; restore the file or re-run the step"
        )
        self.where = where
        self.expected = expected
        self.found = found


class RemoteError(EcosError):
    """A remote party failed. ``retryable`` says whether the same call may succeed later."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
