"""The figures of the accounting, the ledger and the noise, each with its bar.

``run`` gives rows {name, ours, bar, ok, detail}; everything runs in this process (or forks of it) on this
machine.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ledger_crash, ledger_race
from ecos_core.privacy import gaussian
from ecos_core.privacy.accounting import epsilon_autodp, epsilon_charged, epsilon_paper
from ecos_core.privacy.audit import Ask, audit
from ecos_core.privacy.events import histogram_event
from ecos_core.privacy.ledger import Ledger, Limits
from ecos_core.privacy.mechanisms import discrete_gaussian_noise
from ecos_core.privacy.planner import plan_sigma

DELTA = 1e-5
Row = dict[str, Any]

# Published epsilons of Hong et al. 2022 at gamma 0.8, by sigma.
PUBLISHED = {5: 1.227, 10: 0.582, 25: 0.224, 40: 0.139, 55: 0.100, 70: 0.079}


def run(quick: bool = False) -> list[Row]:
    """All rows; ``quick`` makes the counts small enough for a test (about 10 s)."""
    return [
        row
        for part in (accounting, ledger_speed, ledger_many_noises, ledger_crashes, ledger_races, audits)
        for row in part(quick)
    ]


def accounting(quick: bool) -> Iterator[Row]:
    """The paper's published epsilons, the two accountants against each other, and how fast a plan is."""
    gap = max(
        abs(epsilon_paper([histogram_event(sigma, gamma=0.8)], DELTA) - published)
        for sigma, published in PUBLISHED.items()
    )
    yield row("paper's six epsilons: largest difference", gap, 0.001, gap <= 0.001)
    events = [histogram_event(5, count=10)]
    ratio = epsilon_autodp(events, DELTA) / epsilon_charged(events, DELTA)
    yield row("autodp / exact, 10 releases at sigma 5", ratio, 1.007, abs(ratio - 1) <= 0.007)
    plan_sigma(0.5, DELTA)
    for name, options in (
        ("one release", {"epsilon": 0.582}),
        ("100 releases", {"epsilon": 8.0, "releases": 100}),
        ("gamma 0.8", {"epsilon": 0.582, "gamma": 0.8}),
    ):
        yield seconds_row(f"ecos plan, {name}, once started (s)", partial(fresh, plan_sigma, **options), 1.0)
    yield seconds_row(
        "epsilon of 10,000 releases (s)", lambda: fresh(epsilon_charged, [histogram_event(6.1)] * 10_000), 1.0
    )


def ledger_speed(quick: bool) -> Iterator[Row]:
    """Replays and verification of a long ledger."""
    entries = 500 if quick else 10_000
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "ledger"
        long_ledger(folder, entries)
        ledger = Ledger.open(folder)
        spent = ledger.statement().epsilon_spent
        repeats = 200 if quick else 1000
        answers: set[bytes] = set()
        seconds = timed(lambda: answers.update(replay(ledger) for _ in range(repeats)))
        cost = ledger.statement().epsilon_spent - spent
        yield row(f"epsilon of {repeats} replays", cost, 0.0, cost == 0.0 and len(answers) == 1)
        yield row("replays a second", repeats / seconds, 200, repeats / seconds >= 200)
        yield seconds_row(f"verify {entries:,} events (s)", ledger.verify, 2.0)
        yield seconds_row(f"open {entries:,} events (s)", lambda: Ledger.open(folder).close(), 2.0)


def ledger_many_noises(quick: bool) -> Iterator[Row]:
    """One more question after thousands of others, each with a noise of its own."""
    noises = 500 if quick else 10_000
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "ledger"
        long_ledger(folder, noises, lambda index: 50.0 + index / 97)
        ledger = Ledger.open(folder)
        asked = iter(range(1000))

        def one_more() -> None:
            number = next(asked)
            event = histogram_event(40.0 + number / 89)
            ledger.check("server", "v1", [event])
            ledger.spend(f"new {number}", "server", "v1", "score", [event], lambda _: b"noised")
            ledger.statement("server")

        yield seconds_row(f"check, answer and statement after {noises:,} noises (s)", one_more, 0.05)
        yield seconds_row(f"verify {noises:,} noises, with autodp (s)", ledger.verify, 60.0)


def ledger_crashes(quick: bool) -> Iterator[Row]:
    """Kill -9 at every write boundary and at random moments."""
    kills = 24 if quick else 200
    outcomes = ledger_crash.run(kills)
    faults = sum(bool(outcome.faults) for outcome in outcomes)
    boundaries = max(outcome.boundary for outcome in outcomes)
    yield row(
        f"broken promises in {kills} kills at {boundaries} boundaries and at random", faults, 0, faults == 0
    )


def ledger_races(quick: bool) -> Iterator[Row]:
    """16 processes, then 16 threads, for the last epsilon."""
    for name, compete in (("processes", ledger_race.race), ("threads", ledger_race.race_threads)):
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "ledger"
            ledger = Ledger.create(folder, Limits(total=1.5), DELTA)
            event = histogram_event(6.2)
            allowed = ledger.answers_left(event.sigma)
            answers = compete(folder, [f"request {index}" for index in range(16)], event)
            answered = sum(map(bool, answers))
            yield row(f"answered of 16 {name} for the last epsilon", answered, allowed, answered == allowed)


def audits(quick: bool) -> Iterator[Row]:
    """The empirical lower bound stays under the claim at three epsilons, and finds what is planted."""
    trials = 4_000 if quick else 20_000
    for epsilon in (0.1, 0.582, 2.0):
        sigma = plan_sigma(epsilon, DELTA).sigma
        report = audit(honest(sigma, trials), histogram_event(sigma), count=0, delta=DELTA)
        name = f"audit: epsilon at least, claimed {epsilon:g}, {2 * trials:,} releases"
        yield row(name, report.epsilon_lower, report.epsilon_claimed, not report.caught, report.attack)
    sigma = plan_sigma(2.0 if quick else 0.582, DELTA).sigma
    for fault, ask in planted_faults(sigma, trials).items():
        report = audit(ask, histogram_event(sigma), count=0, delta=DELTA)
        name = f"audit: planted fault, {fault}"
        yield row(name, report.epsilon_lower, report.epsilon_claimed, report.caught, report.attack)


def honest(sigma: float, trials: int) -> Ask:
    """The mechanism as it is: one noise a request, repeated on every repeat."""
    return lambda present: np.repeat(int(present) + noise(trials, sigma), 4, axis=1)


def planted_faults(sigma: float, trials: int) -> dict[str, Ask]:
    """Mechanisms that each break one promise."""
    generator = np.random.default_rng()
    return {
        "sigma halved": lambda present: int(present) + noise(trials, sigma / 2),
        "memo ignored": lambda present: int(present) + noise(4 * trials, sigma).reshape(trials, 4),
        "one vote counted twice": lambda present: 2 * int(present) + noise(trials, sigma),
        "float noise": lambda present: float(present) + generator.normal(0.0, sigma, (trials, 1)),
    }


def noise(draws: int, sigma: float) -> NDArray[np.int64]:
    """The client's own noise, one column."""
    return discrete_gaussian_noise(draws, sigma)[:, None]


def long_ledger(folder: Path, entries: int, sigma: Callable[[int], float] = lambda _: 50.0) -> None:
    """A ledger of ``entries`` releases, written in one transaction to spare the disk."""
    from ecos_core.privacy import chain
    from ecos_core.privacy.counter import advance_mark

    ledger = Ledger.create(folder, Limits(total=1e6), DELTA)
    answer = bytes(800)
    with ledger._database.writing() as connection:
        for index in range(entries):
            body = {
                "kind": "release",
                **asdict(ledger._book.moment.next()),
                "request_digest": hashlib.sha256(str(index).encode()).hexdigest(),
                "requester": "server",
                "data_version": "v1",
                "operation": "score",
                "events": [histogram_event(sigma(index)).to_dict()],
                "answer_sha256": chain.digest(answer),
            }
            entry = chain.append(connection, body)
            chain.store_answer(connection, entry.sequence, answer)
    advance_mark(ledger._counter, entry.mark)


def replay(ledger: Ledger) -> bytes:
    """Ask for the first answer again."""
    request = hashlib.sha256(b"0").hexdigest()
    stored = ledger.spend(request, "server", "v1", "score", [histogram_event(50.0)], lambda _: b"a new noise")
    return stored.answer


def fresh(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The function's value at DELTA with nothing remembered from before."""
    for cached in (gaussian._epsilon, gaussian.vote_mu, gaussian.sampled_mu):
        cached.cache_clear()
    return function(*arguments, delta=DELTA, **options)


def seconds_row(name: str, work: Callable[[], Any], bar: float) -> Row:
    """Best wall time of five, since other programs only ever add; the CPU's seconds beside it."""
    start = time.process_time()
    best = min(timed(work) for _ in range(5))
    cpu = (time.process_time() - start) / 5
    return row(name, best, bar, best < bar, f"best of 5; {cpu:.2f} s of CPU on average")


def timed(work: Callable[[], Any]) -> float:
    """Wall seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def row(name: str, ours: float, bar: float, ok: bool, detail: str = "") -> Row:
    """One line of the table."""
    return {"name": name, "ours": float(ours), "bar": float(bar), "ok": bool(ok), "detail": detail}
