"""What the two sides say to each other: requests, releases and receipts. All frozen, all checked when they
are made.

A request carries no nonce: asking the same again is the same request, has the same digest, and gets the
stored answer back for nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecos_core.client import wire
from ecos_core.errors import InputError
from ecos_core.storage import canonical_json, sha256_hex

PROTOCOL_VERSION = 2
RADII_SINCE = 2  # the protocol from which a client takes radii with the centroids
Adjacency = Literal["add-remove", "replace", "unit"]
Fingerprint = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._:@+-]+$")]
Sigma = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Gamma = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
POINT_MAGNITUDES = (1e-6, 1e6)  # of the largest coordinate: features are of the order of 1

ClassName = Annotated[str, Field(min_length=1, max_length=200)]
Classes = Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=10_000)]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]


class Frozen(BaseModel):
    """A message: immutable, no unknown field, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], value: Any, what: str) -> Model:
    """Validate ``value``. Raises InputError naming the first field that is wrong, never its value."""
    try:
        return model.model_validate(_tuples(value))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(
            str(part) for part in first["loc"] if isinstance(part, int) or str(part).isidentifier()
        )
        raise InputError(f"{what}: {field[:60] or 'value'}: {first['msg']}") from None


def _tuples(value: Any) -> Any:
    """JSON has lists only; the frozen messages hold tuples."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


class Parameters(Frozen):
    """The header of a request; every operation adds its own fields (``client.operations``)."""

    operation: str
    adjacency: Adjacency = "add-remove"
    fingerprint: Fingerprint


class Participant(Frozen):
    """One client of a secure sum: its signing key, its exchange key (X25519), and the former's word on the
    latter.
    """

    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    exchange_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


@dataclass(frozen=True, eq=False)
class Request:
    """A canonical request: its header and its arrays. Equal requests are equal bytes."""

    parameters: Parameters
    arrays: Arrays

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical request, computed once: the ledger's name for its answer, with the data version."""
        return sha256_hex(self.encode())

    def encode(self) -> bytes:
        """The canonical bytes."""
        return wire.encode(self.parameters.model_dump(), self.arrays)


def canonical_points(values: npt.ArrayLike, what: str = "centroids") -> Floats:
    """float32 [R, d] with no -0. Raises InputError when they are no set of R >= 1 different points of a size that
    features have: whatever is computed from them can then neither overflow nor underflow nor become NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.array(values, dtype=np.float32, order="C")
    if points.ndim != 2 or 0 in points.shape:
        raise InputError(f"{what}: a table of at least one row and one column is needed")
    check_magnitude(points, what, *POINT_MAGNITUDES)
    points[np.abs(points) < np.finfo(np.float32).tiny] = 0.0  # also -0: equal points are equal bytes
    if len(np.unique(points, axis=0)) != len(points):
        raise InputError(f"{what}: two of them are equal; send each point once")
    points.setflags(write=False)
    return points


def canonical_reach(radii: npt.ArrayLike, regions: npt.ArrayLike, centroids: int) -> tuple[Floats, Integers]:
    """(float32 [R] with no -0, int64 [R]) of so many centroids. Raises InputError unless each radius is 0 or between
    1e-6 and 1e6, and the regions are 0..K-1, none of them empty."""
    reach, region = np.asarray(radii), np.asarray(regions)
    if reach.dtype != np.float32 or region.dtype != np.int64:
        raise InputError("request: 'radii' must be of type float32, 'regions' of type int64")
    if reach.shape != (centroids,) or region.shape != (centroids,):
        raise InputError("radii, regions: one of each for every centroid is needed")
    check_magnitude(reach, "radii", *POINT_MAGNITUDES)
    if ((reach < POINT_MAGNITUDES[0]) & (reach != 0)).any():
        raise InputError(f"radii: each must be 0 or at least {POINT_MAGNITUDES[0]:g}")
    found = np.unique(region)
    if not np.array_equal(found, np.arange(len(found))):
        raise InputError("regions: must be 0 to one less than their number, none left out")
    return reach + np.float32(0.0), region


def check_magnitude(values: npt.NDArray[np.floating], what: str, least: float, most: float) -> None:
    """The one door for a stranger's numbers. Raises InputError unless all are finite and the largest of them is 0 or
    between ``least`` and ``most`` in size."""
    if not np.isfinite(values).all():
        raise InputError(f"{what}: every number must be finite")
    largest = float(np.abs(values).max(initial=0.0))
    if largest > most or 0.0 < largest < least:
        raise InputError(
            f"{what}: the largest number, {largest:.3g}, must be 0 or between {least:g} and {most:g}; normalise them"
        )


class Event(Frozen):
    """One mechanism's use, as the ledger keeps it."""

    sigma: float
    sensitivity: float
    adjacency: Adjacency
    gamma: float
    count: int


class Receipt(Frozen):
    """The client's signed word on what it released and what that brought its ledger to.

    ``data_version`` is a random label; ``sequence`` the ledger's entry, ``counter`` its monotonic counter and
    ``chain_hash`` its head after the entry, so that a client that forgets is found out. ``epsilon`` is the
    total at ``delta`` after this release, ``epsilon_release`` this one's alone; ``epsilon_autodp`` is in receipts of
    older versions only.
    """

    version: Literal[1] = 1
    client_id: str
    public_key: str
    requester: str
    data_version: str
    operation: str
    request_digest: str
    answer_digest: str
    sequence: int
    counter: int
    chain_hash: str
    events: tuple[Event, ...]
    delta: float
    epsilon: float
    epsilon_autodp: float | None = None
    epsilon_release: float
    signature: str = ""

    def unsigned(self) -> bytes:
        """The bytes that the signature covers."""
        return b"ecos-receipt-1\n" + canonical_json(
            self.model_dump(mode="json", exclude={"signature"}, exclude_none=True)
        )


@dataclass(frozen=True, eq=False)
class ScoreRelease:
    """A client's answer: ``counts`` int64 [R], noised, may be negative; asked with radii [R + K], the last K
    the records outside by region. Nothing else of the client's leaves it.
    """

    counts: Integers
    sigma: float
    sensitivity: float
    adjacency: str
    gamma: float
    delta: float
    epsilon: float
    epsilon_release: float
    receipt: Receipt
    replayed: bool = False


class ClientInfo(Frozen):
    """What a client tells an authenticated requester. All of it is the owner's statement or the ledger's
    state.

    ``stated_records`` is the order of magnitude the owner chose to state (None: not stated), never a
    measurement. ``counter``: the number of the ledger's last entry (None from clients of before it was told).
    """

    client_id: str
    public_key: str
    protocol: int
    version: str
    data_version: str
    requester: str
    operations: tuple[str, ...]
    extractors: tuple[str, ...]
    adjacency: Adjacency
    clusters_at_most: int
    stated_records: int | None
    delta: float
    epsilon_spent: float
    epsilon_limit: float
    approval: Literal["automatic", "manual"]
    participant: Participant
    counter: int | None = None

    @property
    def takes_radii(self) -> bool:
        """Whether a score request may hold radii and regions; a client of before would refuse it."""
        return self.protocol >= RADII_SINCE


def finite(value: float) -> float:
    """A float that JSON can carry; infinity becomes the largest double."""
    return value if math.isfinite(value) else math.copysign(1.7976931348623157e308, value)
