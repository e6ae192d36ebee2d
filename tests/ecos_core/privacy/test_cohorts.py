"""Data that grow: every record pays for the releases its cohort was in, and never more than the limit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.errors import BudgetExceeded
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.budget import Account, Budget, StatementRow
from ecos_core.privacy.events import histogram_event
from ecos_core.privacy.gaussian import loss_of
from ecos_core.privacy.ledger import Ledger, Limits, Part, StoredAnswer
from ecos_core.privacy.mechanisms import discrete_gaussian_noise

DELTA = 1e-5
EVENT = histogram_event(6.2)  # epsilon 0.574, twice 0.835


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path / "ledger", Limits(total=1.0), DELTA)


def ask(
    ledger: Ledger, request: str, cohorts: list[str], requester: str = "hub", event=EVENT
) -> StoredAnswer:
    """The answer is the list of cohorts in it, in the order in which they were asked."""

    def answer(part: Part) -> bytes:
        return (part.before or b"") + "".join(f"{name} " for name in part.cohorts).encode()

    return ledger.spend(request, requester, "v1", "score", [event], answer, cohorts)


def test_a_cohort_pays_for_the_releases_it_was_in(ledger: Ledger) -> None:
    ask(ledger, "a", ["old"])
    ask(ledger, "b", ["old", "new"])
    twice = epsilon_charged([EVENT, EVENT], DELTA)
    statement = Ledger.open(ledger.folder).statement()
    assert statement.epsilon_by_cohort == {"old": twice, "new": epsilon_charged([EVENT], DELTA)}
    assert statement.epsilon_spent == twice
    assert {
        name: spend.epsilon for name, spend in ledger.verify().spends.items()
    } == statement.epsilon_by_cohort


def test_a_cohort_without_room_is_left_out_and_the_others_are_answered_about(ledger: Ledger) -> None:
    for request in "ab":
        ask(ledger, request, ["old"])
    third = ask(ledger, "c", ["old", "new"])
    assert (third.answer, third.cohorts, third.left_out) == (b"new ", ("new",), ("old",))
    assert third.spend.epsilon == epsilon_charged([EVENT], DELTA)
    assert ask(ledger, "c", ["old", "new"]).replayed
    with pytest.raises(BudgetExceeded):
        ask(ledger, "d", ["old"])
    assert ledger.check("hub", "v1", [EVENT], ["old", "new"]).epsilon == epsilon_charged(
        [EVENT, EVENT], DELTA
    )
    assert ledger.answers_left(6.2, data_version="v1", cohorts=["old"]) == 0
    assert ledger.answers_left(6.2, data_version="v1") == 1
    ledger.set_limits(Limits(total=2.0))
    raised = ask(ledger, "c", ["old", "new"])
    assert (raised.answer, raised.left_out, raised.parts) == (b"new old ", (), 2)


def test_the_same_question_again_asks_new_cohorts_only(ledger: Ledger) -> None:
    first = ask(ledger, "a", ["one"])
    grown = ask(ledger, "a", ["one", "two"])
    assert (grown.answer, grown.parts, grown.replayed) == (b"one two ", 2, False)
    again = ask(ledger, "a", ["one", "two"])
    assert (again.answer, again.replayed, again.sequence) == (grown.answer, True, grown.sequence)
    assert first.sequence < grown.sequence
    paid = epsilon_charged([EVENT], DELTA)
    assert ledger.statement().epsilon_by_cohort == {"one": paid, "two": paid}


def test_a_second_requester_is_charged_for_every_part_once(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "ledger", Limits(total=1.0, per_requester=0.7), DELTA)
    ask(ledger, "a", ["one"])
    ask(ledger, "a", ["one", "two"])
    for _ in range(2):
        assert ask(ledger, "a", ["one", "two"], "lab").answer == b"one two "
    assert [row.shared for row in ledger.statement("lab").events] == [True, True]
    assert ledger.statement("lab").epsilon_spent == epsilon_charged([EVENT], DELTA)
    assert ask(ledger, "a", ["one", "two", "three"], "lab").answer == b"one two three "
    assert ask(ledger, "a", ["one", "two", "three"]).replayed
    with pytest.raises(BudgetExceeded):
        ask(ledger, "b", ["one"], "lab")


def test_a_failing_answer_extends_nothing(ledger: Ledger) -> None:
    ask(ledger, "a", ["one"])

    def fail(_: Part) -> bytes:
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError):
        ledger.spend("a", "hub", "v1", "score", [EVENT], fail, ["one", "two"])
    assert ledger.statement().epsilon_by_cohort.keys() == {"one"}


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.booleans(), st.integers(0, 4), st.sampled_from([7.0, 11.0, 30.0]), st.sampled_from("xy")
        ),
        max_size=20,
    )
)
def test_whatever_joins_and_is_asked_no_record_pays_more_than_the_limits(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, int, float, str]]
) -> None:
    """The ledger's word on each cohort is that of an account kept beside it, also after it is opened anew."""
    limits = Limits(total=1.2, per_requester=0.9)
    ledger = Ledger.create(tmp_path_factory.mktemp("home") / "ledger", limits, DELTA)
    cohorts, paid = ["0"], {"0": []}
    for joins, question, sigma, requester in steps:
        if joins:
            cohorts.append(str(len(cohorts)))
            paid[cohorts[-1]] = []
        event = histogram_event(sigma)

        def answer(part: Part, event=event) -> bytes:
            for name in part.cohorts:
                paid[name].append(event)
            return b"noised"

        try:
            ledger.spend(f"{question} at {sigma}", requester, "v1", "score", [event], answer, cohorts)
        except BudgetExceeded:
            continue
    ledger = Ledger.open(ledger.folder)
    for name, spent in ledger.statement().epsilon_by_cohort.items():
        assert spent == pytest.approx(epsilon_charged(paid[name], DELTA), rel=1e-9)
        assert spent <= limits.total
    for requester in "xy":
        assert ledger.statement(requester).epsilon_spent <= 0.9
    ledger.verify()


@pytest.mark.parametrize("joined", [0, 3])
def test_on_streams_with_a_record_more_the_likelihoods_stay_within_the_limit(joined: int) -> None:
    """A weekly release over growing data; each week's noise is chosen by the last answer about the record that joined
    in one stream and not in the other. The exact likelihood ratio of all that was seen keeps to (epsilon, delta), the
    record's cohort is retired, and the client goes on.
    """
    streams, weeks, epsilon, delta = 250, 26, 1.0, 0.05
    retired = 0
    losses = np.zeros(streams)
    for stream in range(streams):
        accounts: dict[str, Account] = {}
        last, held = 0, True
        for week in range(weeks):
            event = histogram_event(3.0 if last > 0 else 5.0)
            cohorts = [str(born) for born in range(week + 1)]
            allowed = Budget(accounts, Limits(total=epsilon), delta, 0.0).room(cohorts, None, [event])
            assert str(week) in allowed
            row = StatementRow(week, 0.0, 0.0, "hub", "v1", allowed, "score", (event,))
            for name in allowed:
                accounts.setdefault(name, Account()).add(row, loss_of(event, delta))
            held = str(joined) in allowed
            last = int(discrete_gaussian_noise(1, event.sigma)[0]) + held
            if held:
                losses[stream] += (2 * last - 1) / (2 * event.sigma**2)
        retired += not held
    assert retired == streams
    excess = np.maximum(0.0, 1.0 - np.exp(epsilon - losses))
    assert excess.mean() <= delta + 4 * excess.std() / math.sqrt(streams)
