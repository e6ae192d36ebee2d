"""What every transport promises, over each of them: HTTP on a real socket, a mailbox in a folder, and one on S3."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ecos_core.client.approval import Approvals
from ecos_core.client.connecting import connect
from ecos_core.client.connection import Connection
from ecos_core.client.engine import Engine
from ecos_core.client.home import Home
from ecos_core.client.mailbox import MailboxWorker
from ecos_core.client.operations.score import score_request
from ecos_core.client.protocol import Request
from ecos_core.errors import BudgetExceeded, InputError, PolicyError, RemoteError
from tests.client_support import FINGERPRINT, make_home, serving, some_centroids, some_features, token_of

pytestmark = pytest.mark.integration
CLASSES = ("cat", "dog")


@contextmanager
def working(home: Home, at: str = "") -> Iterator[str]:
    """The mailbox worker of ``home`` in a thread; yields the mailbox's address, a folder unless given."""
    place = at or str(home.path.parent / "mailbox")
    stop = threading.Event()
    worker = MailboxWorker(Engine(home), place)
    thread = threading.Thread(target=worker.work, args=(stop.is_set, 0.02), daemon=True)
    thread.start()
    try:
        yield place
    finally:
        stop.set()
        thread.join(10)


Reach = Callable[[Home], object]


@pytest.fixture(params=["http", "mailbox", "mailbox-s3"])
def reach(request: pytest.FixtureRequest) -> Reach:
    if request.param == "mailbox-s3":
        return partial(working, at=f"{request.getfixturevalue('bucket')}/site")
    return serving if request.param == "http" else working


@contextmanager
def asking(reach: Reach, home: Home, token: str | None = None) -> Iterator[Connection]:
    with reach(home) as url, connect(url, token or token_of(home), timeout_s=20) as connection:
        yield connection


def spent(home: Home) -> int:
    return len(home.open_ledger().statement(None, home.identity.data_version).events)


def test_a_score_is_answered_once_and_repeated_for_nothing(reach: Reach, home: Home) -> None:
    with asking(reach, home) as connection:
        first = connection.score(some_centroids(), sigma=6.12, fingerprint=FINGERPRINT)
    with asking(reach, home) as connection:
        again = connection.score(some_centroids(), sigma=6.12, fingerprint=FINGERPRINT)
        info = connection.info()
    assert first.receipt == again.receipt
    assert np.array_equal(first.counts, again.counts)
    assert first.epsilon == pytest.approx(0.582, rel=0.005)
    assert info.epsilon_spent == first.epsilon
    assert spent(home) == 1


def test_both_transports_give_the_same_answer(home: Home) -> None:
    with asking(serving, home) as connection:
        by_http = connection.score(some_centroids(), sigma=5, fingerprint=FINGERPRINT)
    with asking(working, home) as connection:
        by_mail = connection.score(some_centroids(), sigma=5, fingerprint=FINGERPRINT)
    assert by_http.receipt == by_mail.receipt
    assert spent(home) == 1


def test_refusals_cross_as_what_they_are(reach: Reach, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", epsilon=0.6)
    with asking(reach, home) as connection:
        with pytest.raises(PolicyError, match="another"):
            connection.score(some_centroids(), sigma=6, fingerprint="another")
        with pytest.raises(InputError, match="dimensions"):
            connection.score(np.ones((1, 3)), sigma=6, fingerprint=FINGERPRINT)
        with pytest.raises(BudgetExceeded) as caught:
            connection.score(some_centroids(), sigma=2, fingerprint=FINGERPRINT)
    assert caught.value.limit == 0.6
    assert spent(home) == 0


def test_a_stranger_is_refused(reach: Reach, home: Home) -> None:
    with asking(reach, home, "ecos_not-a-token") as connection, pytest.raises(PolicyError, match="token"):
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
    assert spent(home) == 0


def test_the_owner_may_approve_each_request(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", approval="manual")
    approvals = Approvals(home.path)
    with asking(serving, home) as connection:
        with pytest.raises(PolicyError, match="approval"):
            connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
        assert spent(home) == 0
        ((key, described),) = approvals.waiting().items()
        assert described["requester"] == "first"
        assert described["shapes"] == {"centroids": [5, 8]}
        assert described["epsilon_after"] == described["epsilon_release"] == pytest.approx(0.594, rel=0.01)
        approvals.approve(key[:8])
        release = connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
        with pytest.raises(PolicyError, match="approval"):
            connection.score(some_centroids(), sigma=6.5, fingerprint=FINGERPRINT)
    assert release.receipt.sequence == 2
    assert spent(home) == 1


def test_only_the_requesters_named_wait_for_approval(reach: Reach, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", approval=["cautious"])
    cautious = home.tokens.add("cautious")
    with asking(reach, home) as connection:
        assert connection.info().approval == "automatic"
        connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT)
    with reach(home) as url, connect(url, cautious, timeout_s=0.5) as connection:
        with pytest.raises((PolicyError, RemoteError), match="approval"):
            connection.score(some_centroids(), sigma=7, fingerprint=FINGERPRINT)
        assert [found["requester"] for found in Approvals(home.path).waiting().values()] == ["cautious"]
    assert spent(home) == 1


def test_by_mail_approval_is_waited_for(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", approval="manual")
    approvals = Approvals(home.path)
    with asking(working, home) as connection:

        def approve() -> None:
            while not approvals.waiting():
                pass
            approvals.approve("")

        threading.Thread(target=approve, daemon=True).start()
        assert connection.score(some_centroids(), sigma=6, fingerprint=FINGERPRINT).epsilon > 0


def test_without_a_worker_it_says_so(tmp_path: Path) -> None:
    with (
        connect(str(tmp_path / "mailbox"), "ecos_token", timeout_s=0.1) as connection,
        pytest.raises(RemoteError, match="did not answer in time") as caught,
    ):
        connection.info()
    assert caught.value.retryable


def labelled_home(path: Path, **rules: object) -> Home:
    features = some_features(400)
    labels = ["cat" if row[0] > 0 else "dog" for row in features]
    operations = ["score", "label", "label-histogram", "evaluate"]
    return make_home(path, features, labels=labels, operations=operations, **rules)


def test_a_label_histogram_counts_labels_by_cluster(reach: Reach, tmp_path: Path) -> None:
    home = labelled_home(tmp_path / "home")
    centroids = np.array([[3.0] + [0.0] * 7, [-3.0] + [0.0] * 7], np.float32)
    with asking(reach, home) as connection:
        release = connection.label_histogram(centroids, CLASSES, sigma=2.0, fingerprint=FINGERPRINT)
    assert release.values.shape == (2, 2)
    assert release.values.argmax(axis=1).tolist() == [0, 1]
    assert release.receipt.epsilon == pytest.approx(2.1, rel=0.1)


def test_private_neighbours_label_public_points(reach: Reach, tmp_path: Path) -> None:
    home = labelled_home(tmp_path / "home", epsilon=100, gamma=0.9)
    points = np.array([[2.5] + [0.0] * 7, [-2.5] + [0.0] * 7], np.float32)
    asked = {"neighbours": 40, "threshold": 20.0, "screening_sigma": 2.0, "argmax_sigma": 2.0, "gamma": 0.9}
    with asking(reach, home) as connection:
        release = connection.label(points, CLASSES, fingerprint=FINGERPRINT, **asked)
        unsure = connection.label(points, CLASSES, fingerprint=FINGERPRINT, **{**asked, "threshold": 1000.0})
    assert release.values.tolist() == [0, 1]
    assert unsure.values.tolist() == [-1, -1]
    assert unsure.receipt.epsilon_release == release.receipt.epsilon_release  # unsure is paid for as well
    assert sum(event.count for event in release.receipt.events) == 4


def test_private_neighbours_of_people_label_public_points(tmp_path: Path) -> None:
    """Fifty people with eight images each: everyone is one neighbour, so no more than fifty can vote."""
    home = labelled_home(
        tmp_path / "home", epsilon=100, adjacency="unit", units=[str(row % 50) for row in range(400)]
    )
    points = np.array([[2.5] + [0.0] * 7, [-2.5] + [0.0] * 7], np.float32)
    asked = {"neighbours": 400, "screening_sigma": 2.0, "argmax_sigma": 2.0, "adjacency": "unit"}
    with asking(serving, home) as connection:
        sure, unsure = (
            connection.label(points, CLASSES, fingerprint=FINGERPRINT, threshold=threshold, **asked).values
            for threshold in (20.0, 70.0)
        )
    assert sure.tolist() == [0, 1]
    assert unsure.tolist() == [-1, -1]


def test_a_linear_model_is_evaluated(reach: Reach, tmp_path: Path) -> None:
    from safetensors.numpy import save

    home = labelled_home(tmp_path / "home")
    weight = np.zeros((2, 8), np.float32)
    weight[0, 0] = 1.0
    model = save({"weight": weight, "bias": np.zeros(2, np.float32)})
    with asking(reach, home) as connection:
        release = connection.evaluate(model, CLASSES, sigma=2.0, fingerprint=FINGERPRINT)
    right, wrong = release.values
    assert abs(right - 400) < 15
    assert abs(wrong) < 15


def test_every_operation_draws_on_one_ledger(tmp_path: Path) -> None:
    home = labelled_home(tmp_path / "home")
    with asking(serving, home) as connection:
        first = connection.score(some_centroids(), sigma=4, fingerprint=FINGERPRINT)
        second = connection.label_histogram(some_centroids(), CLASSES, sigma=4, fingerprint=FINGERPRINT)
    assert second.receipt.epsilon > first.epsilon > second.receipt.epsilon_release - 1e-9
    assert home.open_ledger().verify().releases == 2


def test_an_operation_that_is_not_allowed_is_refused(reach: Reach, home: Home) -> None:
    with asking(reach, home) as connection, pytest.raises(PolicyError, match="not allowed"):
        connection.label_histogram(some_centroids(), CLASSES, sigma=4, fingerprint=FINGERPRINT)


def reach_of(radii: object, regions: object) -> dict[str, np.ndarray]:
    return {"radii": np.asarray(radii), "regions": np.asarray(regions)}


GOOD = (np.full(3, 0.5, np.float32), np.array([0, 1, 0], np.int64))
ABSURD = [
    (reach_of(np.float32([0.5, 0.5]), GOOD[1]), "one of each"),
    (reach_of(np.float32([0.5, -0.5, 0]), GOOD[1]), "at least 1e-06"),
    (reach_of(np.float32([0.5, 1e-45, 0]), GOOD[1]), "at least 1e-06"),
    (reach_of(np.float32([0.5, np.nan, 0]), GOOD[1]), "finite"),
    (reach_of(np.float32([0.5, np.inf, 0]), GOOD[1]), "finite"),
    (reach_of(np.float32([0.5, 3e38, 0]), GOOD[1]), "between"),
    (reach_of(np.float32([1e-30, 0, 0]), GOOD[1]), "between"),
    (reach_of(np.uint32([1, 1, 1]), GOOD[1]), "float32"),
    (reach_of(GOOD[0], np.array([0, 2, 0])), "none left out"),
    (reach_of(GOOD[0], np.array([0, -1, 0])), "none left out"),
    (reach_of(GOOD[0], np.array([1, 1, 1])), "none left out"),
    (reach_of(GOOD[0], np.array([0, 1, 2**62])), "none left out"),
    (reach_of(GOOD[0], np.array([[0], [1], [0]])), "one of each"),
    (reach_of(GOOD[0], np.uint32([0, 1, 0])), "int64"),
    ({"radii": GOOD[0]}, "exactly these arrays"),
    ({**reach_of(*GOOD), "more": GOOD[0]}, "exactly these arrays"),
]


@pytest.mark.parametrize(("arrays", "message"), ABSURD)
def test_a_strangers_radii_and_regions_are_refused_at_the_door(
    arrays: dict[str, np.ndarray], message: str, home: Home
) -> None:
    asked = score_request(some_centroids(3), sigma=5, fingerprint=FINGERPRINT)
    with pytest.raises(InputError, match=message):
        Engine(home).check(Request(asked.parameters, {**asked.arrays, **arrays}).encode(), "first")
    assert spent(home) == 0


def test_with_radii_the_answer_has_regions_too_and_costs_the_same(reach: Reach, home: Home) -> None:
    centroids = some_centroids(3)
    with asking(reach, home) as connection:
        assert connection.info().takes_radii
        both = connection.score(centroids, sigma=6.12, fingerprint=FINGERPRINT, reach=GOOD)
        again = connection.score(centroids, sigma=6.12, fingerprint=FINGERPRINT, reach=GOOD)
    assert both.counts.shape == (5,) and both.receipt == again.receipt and spent(home) == 1
    assert both.epsilon == pytest.approx(0.582, rel=0.005)


def test_a_question_without_radii_is_the_question_of_before() -> None:
    """Its digest is what stored answers are found by."""
    points = np.eye(3, dtype=np.float32)
    assert score_request(points, sigma=5, fingerprint="any").digest == OF_BEFORE
    assert score_request(points, sigma=5, fingerprint="any", reach=GOOD).digest != OF_BEFORE


OF_BEFORE = "9128c2640a1a7c692ccbccce69c86d13fe52e3f2497d834e40d2df1b550ba9e0"
