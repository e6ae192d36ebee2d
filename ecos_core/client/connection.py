"""The cloud's side of the contract, whatever carries the bytes: ask, and believe only what is signed and
fits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ecos_core.client import wire
from ecos_core.client.keys import OtherKeyError, verify_receipt
from ecos_core.client.operations.aggregate import AggregateParameters
from ecos_core.client.operations.evaluate import EvaluateParameters
from ecos_core.client.operations.label import LabelParameters
from ecos_core.client.operations.label_histogram import HistogramParameters
from ecos_core.client.operations.score import cells_of, score_arrays, score_request
from ecos_core.client.protocol import (
    Arrays,
    ClientInfo,
    Participant,
    Receipt,
    Request,
    ScoreRelease,
    canonical_points,
    parse,
)
from ecos_core.client.receipts import ReceiptBook, check_charge
from ecos_core.errors import InputError, IntegrityError, RemoteError
from ecos_core.privacy.events import HISTOGRAM_SENSITIVITY, Adjacency
from ecos_core.storage import sha256_hex


@dataclass(frozen=True, eq=False)
class Release:
    """Any operation's answer: its one array, and the receipt that holds what it cost."""

    values: npt.NDArray[Any]
    receipt: Receipt


class Connection(ABC):
    """A client that can be asked. Use as a context manager.

    Every method raises InputError, PolicyError, BudgetExceeded (nothing was spent); RemoteError (down, slow:
    ask again, a repeat is free); IntegrityError when the answer is not what the client signed.
    """

    def __init__(self, url: str, public_key: str | None, receipts: ReceiptBook | None = None) -> None:
        self.url = url
        self._public_key = public_key
        self._receipts = receipts
        self._delta: float | None = None

    @abstractmethod
    def ask_info(self) -> bytes:
        """The client's ``ClientInfo`` as JSON."""

    @abstractmethod
    def ask(self, operation: str, message: bytes) -> bytes:
        """The framed release for a framed request."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the connection holds."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def info(self) -> ClientInfo:
        """What the client says of itself."""
        where = f"client {self.url}"
        try:
            info = parse(ClientInfo, wire.strict_json(self.ask_info(), where), where)
        except InputError as error:
            raise RemoteError(
                f"{where}: its answer is no description; is it an ECOS client?", retryable=False
            ) from error
        self._pin(info.public_key)
        self._delta = info.delta
        if self._receipts is not None and info.counter is not None:
            self._receipts.check_counter(info.client_id, info.counter)
        return info

    def agreed(self, delta: float) -> ClientInfo:
        """What the client says of itself. Raises InputError when it states its epsilons at another delta."""
        info = self.info()
        if info.delta != delta:
            raise InputError(
                f"client {self.url}: its epsilons are at delta {info.delta:g}, not {delta:g}; give its delta"
            )
        return info

    def score(
        self,
        centroids: npt.ArrayLike,
        *,
        sigma: float,
        fingerprint: str,
        adjacency: str = "add-remove",
        gamma: float = 1.0,
        reach: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> ScoreRelease:
        """Noised coverage scores of ``centroids`` [R, d]; ``reach``, radii [R] and regions int [R] in 0..K-1: and of
        what lies outside, by region (``ClientInfo.takes_radii``)."""
        request = score_request(
            centroids, sigma=sigma, fingerprint=fingerprint, adjacency=adjacency, gamma=gamma, reach=reach
        )
        release = self._release(request, "counts", (cells_of(request.arrays),))
        receipt = release.receipt
        return ScoreRelease(
            counts=release.values.astype(np.int64),
            sigma=float(sigma),
            sensitivity=HISTOGRAM_SENSITIVITY[Adjacency(adjacency)],
            adjacency=str(adjacency),
            gamma=float(gamma),
            delta=receipt.delta,
            epsilon=receipt.epsilon,
            epsilon_release=receipt.epsilon_release,
            receipt=receipt,
        )

    def label_histogram(
        self,
        centroids: npt.ArrayLike,
        classes: Sequence[str],
        *,
        sigma: float,
        fingerprint: str,
        **options: Any,
    ) -> Release:
        """Noised counts int64 [R, C] of private records by nearest centroid and label."""
        points = canonical_points(centroids)
        header = {"sigma": float(sigma), "fingerprint": fingerprint, "classes": list(classes), **options}
        request = Request(
            parse(HistogramParameters, header, "label-histogram request"), {"centroids": points}
        )
        return self._release(request, "counts", (len(points), len(classes)))

    def label(
        self, points: npt.ArrayLike, classes: Sequence[str], *, fingerprint: str, **options: Any
    ) -> Release:
        """Private kNN labels int64 [m] of public points: the place in ``classes``, -1 where unsure.

        ``options``: the fields of ``LabelParameters``.
        """
        table = canonical_points(points, "points")
        header = {"fingerprint": fingerprint, "classes": list(classes), **options}
        request = Request(parse(LabelParameters, header, "label request"), {"points": table})
        return self._release(request, "labels", (len(table),))

    def evaluate(
        self,
        model: bytes,
        classes: Sequence[str],
        *,
        sigma: float,
        fingerprint: str,
        adjacency: str = "add-remove",
    ) -> Release:
        """Noised counts int64 [2]: private records that a model on their features gets right, and wrong."""
        header = {
            "sigma": float(sigma),
            "fingerprint": fingerprint,
            "classes": list(classes),
            "model_format": "safetensors",
            "adjacency": adjacency,
        }
        content = np.frombuffer(model, np.uint8)
        request = Request(parse(EvaluateParameters, header, "evaluate request"), {"model": content})
        return self._release(request, "counts", (2,))

    def masked_scores(
        self,
        centroids: npt.ArrayLike,
        participants: Sequence[Participant],
        *,
        sigma: float,
        fingerprint: str,
        adjacency: str = "add-remove",
        reach: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> Release:
        """Masked scores uint32 [R], with ``reach`` [R + K], for a secure sum; worth nothing alone
        (``federation.secure_sum_scores``).
        """
        header = {
            "sigma": float(sigma),
            "fingerprint": fingerprint,
            "adjacency": adjacency,
            "participants": [found.model_dump() for found in participants],
        }
        arrays = score_arrays(centroids, reach)
        request = Request(parse(AggregateParameters, header, "aggregate request"), arrays)
        return self._release(request, "masked", (cells_of(arrays),))

    def _release(self, request: Request, name: str, shape: tuple[int, ...]) -> Release:
        """Ask, and check signature, request, charge, answer, shape, and all earlier receipts of this client."""
        where, operation = f"client {self.url}", request.parameters.operation
        response = self.ask(operation, request.encode())
        try:
            header, arrays = wire.decode(response)
            receipt = parse(Receipt, header.pop("receipt", None), where)
            values = arrays[name]
        except (InputError, KeyError) as error:
            raise RemoteError(
                f"{where}: its answer is no release; is it an ECOS client?", retryable=False
            ) from error
        verify_receipt(
            receipt,
            public_key=self._public_key,
            request_digest=request.digest,
            answer_digest=sha256_hex(answer_bytes(operation, {name: values})),
        )
        self._pin(receipt.public_key)
        check_charge(request, receipt, self._delta)
        if self._receipts is not None:
            self._receipts.check_and_keep(receipt)
        if values.shape != shape:
            raise IntegrityError(where, f"an answer of shape {shape}", str(values.shape))
        return Release(values.astype(np.int64) if name != "masked" else values, receipt)

    def _pin(self, public_key: str) -> None:
        """Hold on to the first key seen, or to the one that was given."""
        if self._public_key is not None and self._public_key != public_key:
            raise OtherKeyError(f"client {self.url}", self._public_key, public_key)
        self._public_key = public_key


def answer_bytes(operation: str, arrays: Arrays) -> bytes:
    """What the ledger stores and the receipt's ``answer_digest`` covers."""
    return wire.encode({"operation": operation}, arrays)
