"""Audit the client as a requester meets it: framed requests in, signed releases out, on neighbouring data.

Two homes differ in one record, the only one near the second of two centroids. Every trial is a request of its
own, asked several times; the answers pass the policy, the ledger's transaction, the operation and the receipt. A
planted fault is put into the client's own code while it runs. What is looked at is the mean of a trial's answers: an
honest client's repeats add nothing to it, while one that draws anew each time shows it with 1 / sqrt(repeats) of
the noise, so that with 16 repeats the two worlds lie four times as far apart as was claimed.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from benchmarks.privacy import DELTA, Row, row
from ecos_core.client import release, wire
from ecos_core.client.engine import Engine
from ecos_core.client.home import init_home_from_features
from ecos_core.client.operations.score import score_request
from ecos_core.client.policy import Policy
from ecos_core.privacy.audit import Ask, audit
from ecos_core.privacy.events import histogram_event
from ecos_core.privacy.planner import plan_sigma

EPSILONS = (0.1, 0.582, 2.0)
ASKED_A_HOME = 800  # then a new home: few totals to account for, each of them once
REPEATS = 4
TARGET = 1
RECORDS = 100
MEMORY = Path("/dev/shm")  # what a crash leaves is another benchmark's: here no disk has to be waited for

Plant = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Trap:
    """A fault, and how long to look for it: each is found but for chances far below one in a thousand."""

    plant: Plant
    trials: int
    repeats: int
    is_fault: bool = True


def through_the_client(quick: bool) -> Iterator[Row]:
    """20,000 releases at each of three epsilons, and four planted faults; the last one's attack also on no fault."""
    trials = 300 if quick else 10_000
    for epsilon in EPSILONS:
        sigma = plan_sigma(epsilon, DELTA).sigma
        report = audit(asks(sigma, trials), histogram_event(sigma), count=0, delta=DELTA)
        name = f"audit of the client: epsilon at least, claimed {epsilon:g}, {2 * trials:,} releases"
        yield row(name, report.epsilon_lower, report.epsilon_claimed, not report.caught, report.attack)
    sigma = plan_sigma(2.0, DELTA).sigma
    for fault, trap in TRAPS.items():
        trials = trap.trials // 4 if quick else trap.trials
        ask = asks(sigma, trials, trap.repeats, trap.plant)
        report = audit(ask, histogram_event(sigma), count=0, delta=DELTA)
        name = f"audit of the client: planted fault, {fault}"
        as_it_should = report.caught == trap.is_fault
        yield row(name, report.epsilon_lower, report.epsilon_claimed, as_it_should, report.attack)


def asks(sigma: float, trials: int, repeats: int = REPEATS, plant: Plant = nullcontext) -> Ask:
    """The target cell's answers by a client without the record, and with it: [trials, repeats]."""

    def ask(present: bool) -> NDArray[np.generic]:
        share = max(1, ASKED_A_HOME // repeats)
        with plant():
            parts = [
                ask_one_home(present, sigma, min(share, trials - done), repeats)
                for done in range(0, trials, share)
            ]
        return np.concatenate(parts)

    return ask


def ask_one_home(present: bool, sigma: float, trials: int, repeats: int) -> NDArray[np.generic]:
    """``trials`` different requests, each asked ``repeats`` times, of a new client."""
    features = np.zeros((RECORDS, 2), np.float32)
    if present:
        features[-1] = 5.0
    rules = {"epsilon": 1e6, "delta": DELTA, "answer_after_seconds": 0.0, "requests_per_minute": 10**6}
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
        home = init_home_from_features(
            Path(root) / "home",
            Policy.model_validate({**rules, "minimum_records": 1}),
            features=features,
            fingerprint="audit",
        )
        engine = Engine(home)
        requests = [_request(number, sigma) for number in range(trials)]
        found = [[_cell(engine.answer(message, "first")) for _ in range(repeats)] for message in requests]
        engine.close()
    return np.array(found)


def _request(number: int, sigma: float) -> bytes:
    """The same question each time, in other words: the centroids move a little."""
    centroids = [[-number / 1000.0, 0.0], [5.0, 5.0]]
    return score_request(centroids, sigma=sigma, fingerprint="audit").encode()


def _cell(answer: bytes) -> Any:
    return wire.decode(answer)[1]["counts"][TARGET]


@contextmanager
def half_the_noise() -> Iterator[None]:
    honest = release.discrete_gaussian_noise
    with mock.patch.object(release, "discrete_gaussian_noise", lambda count, sigma: honest(count, sigma / 2)):
        yield


@contextmanager
def no_memory() -> Iterator[None]:
    """A new noise for every repeat: the answer kept in memory and the ledger's are both overlooked."""
    number = itertools.count()
    answer = Engine.answer

    def forgetful(self: Engine, message: bytes, requester: str, operation: str | None = None) -> bytes:
        self._kept.clear()
        return answer(self, message, requester, operation)

    with (
        mock.patch.object(Engine, "answer", forgetful),
        mock.patch("ecos_core.client.protocol.sha256_hex", lambda data: f"{next(number):064x}"),
    ):
        yield


@contextmanager
def votes_twice() -> Iterator[None]:
    honest = release.clean_sum
    with mock.patch.object(release, "clean_sum", lambda *data, **how: 2 * honest(*data, **how)):
        yield


@contextmanager
def float_noise() -> Iterator[None]:
    """A Gaussian of the floating-point library; doubles cannot travel, so the wire is made to carry them."""
    generator = np.random.default_rng()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(wire._DTYPES, {"<f8": np.dtype("<f8")}))
        stack.enter_context(
            mock.patch.object(
                release, "discrete_gaussian_noise", lambda count, sigma: generator.normal(0.0, sigma, count)
            )
        )
        yield


TRAPS = {
    "sigma halved": Trap(half_the_noise, trials=2000, repeats=1),
    "one vote counted twice": Trap(votes_twice, trials=2000, repeats=1),
    "float noise": Trap(float_noise, trials=2000, repeats=1),
    "memo ignored": Trap(no_memory, trials=200, repeats=16),
    "none (as for memo ignored)": Trap(nullcontext, trials=200, repeats=16, is_fault=False),
}
