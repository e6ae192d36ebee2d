from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml

from ecos_core.client import masks
from ecos_core.client.connecting import connect
from ecos_core.client.connection import Connection
from ecos_core.client.federation import secure_sum_scores, sum_scores
from ecos_core.client.home import Home, open_home
from ecos_core.client.keys import public_hex
from ecos_core.client.policy import Policy
from ecos_core.errors import PolicyError, RemoteError
from ecos_core.privacy.accounting import epsilon_charged
from ecos_core.privacy.events import Adjacency, histogram_event
from tests.client_support import FINGERPRINT, make_home, serving, some_centroids, some_features, token_of

pytestmark = pytest.mark.integration
CLIENTS = 3


def peers(homes: list[Home]) -> list[Home]:
    """Let every client know the others, as their owners would."""
    keys = [public_hex(home.key()) for home in homes]
    for home, own in zip(homes, keys, strict=True):
        path = home.path / "policy.yaml"
        rules = yaml.safe_load(path.read_text())
        path.write_text(
            yaml.safe_dump(
                rules | {"peers": [key for key in keys if key != own], "honest_peers": len(keys) - 1}
            )
        )
    return [open_home(home.path) for home in homes]


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[tuple[list[Home], list[Connection]]]:
    homes = peers(
        [
            make_home(
                tmp_path / f"home{number}",
                some_features(200 + number, seed=number),
                operations=["score", "aggregate"],
            )
            for number in range(CLIENTS)
        ]
    )
    with ExitStack() as stack:
        connections: list[Connection] = []
        for home in homes:
            url = stack.enter_context(serving(home))
            connections.append(stack.enter_context(connect(url, token_of(home), attempts=1)))
        yield homes, connections


@contextmanager
def connect_to(home: Home) -> Iterator[Connection]:
    with serving(home) as url, connect(url, token_of(home), attempts=1) as connection:
        yield connection


def nobody() -> Connection:
    return connect("http://127.0.0.1:9", "t", attempts=1)


def test_the_sum_is_the_sum_and_the_worst_epsilon_counts(clients: tuple) -> None:
    _, connections = clients
    connections[1].score(some_centroids(), sigma=9, fingerprint=FINGERPRINT)  # this one has spent before
    release = sum_scores(connections, some_centroids(), sigma=5, fingerprint=FINGERPRINT)
    own = [connection.score(some_centroids(), sigma=5, fingerprint=FINGERPRINT) for connection in connections]
    assert np.array_equal(release.counts, np.sum([answer.counts for answer in own], axis=0))
    assert release.sigma == pytest.approx(5 * np.sqrt(3))
    assert release.epsilon == own[1].epsilon > own[0].epsilon
    assert len(release.receipts) == CLIENTS
    assert not release.dropped


def test_a_client_that_is_down_is_left_out_and_named(clients: tuple) -> None:
    _, connections = clients
    release = sum_scores([*connections, nobody()], some_centroids(), sigma=5, fingerprint=FINGERPRINT)
    assert [dropped.url for dropped in release.dropped] == ["http://127.0.0.1:9"]
    assert len(release.receipts) == CLIENTS
    with pytest.raises(RemoteError, match="none of 1"):
        sum_scores([nobody()], some_centroids(), sigma=5, fingerprint=FINGERPRINT)


def test_a_secure_sum_shows_the_sum_only(clients: tuple) -> None:
    _, connections = clients
    centroids = some_centroids()
    release = secure_sum_scores(connections, centroids, sigma=6, fingerprint=FINGERPRINT)
    assert abs(release.counts.sum() - (200 + 201 + 202)) < 6 * 6 * np.sqrt(5)
    assert release.epsilon == pytest.approx(0.594, rel=0.02)  # sigma 6 altogether, not each
    participants = sorted(
        (connection.info().participant for connection in connections), key=lambda found: found.public_key
    )
    masked = [
        connection.masked_scores(centroids, participants, sigma=6, fingerprint=FINGERPRINT).values
        for connection in connections
    ]
    assert all(values.max() > 10**6 for values in masked)  # one answer alone is noise
    assert np.array_equal(np.sum(masked, axis=0, dtype=np.uint32).view(np.int32), release.counts)


def test_a_dropped_client_is_reported_and_the_round_redone(clients: tuple) -> None:
    homes, connections = clients

    class Leaves(type(connections[0])):  # type: ignore[misc]
        """Says who it is, then is gone."""

        def __init__(self, real: Connection) -> None:
            self.__dict__.update(real.__dict__)

        def ask(self, operation: str, message: bytes) -> bytes:
            raise RemoteError("gone", retryable=True)

    leaver = Leaves(connections[2])
    release = secure_sum_scores(
        [*connections[:2], leaver], some_centroids(), sigma=6, fingerprint=FINGERPRINT
    )
    assert [dropped.reason for dropped in release.dropped] == ["gone"]
    assert abs(release.counts.sum() - (200 + 201)) < 6 * 6 * np.sqrt(5)
    assert len(release.receipts) == 2
    # The broken round was paid for too.
    assert homes[0].open_ledger().verify().releases == 2
    with pytest.raises(RemoteError, match="two clients"):
        secure_sum_scores([connections[0], leaver], some_centroids(), sigma=6, fingerprint=FINGERPRINT)


def test_a_stranger_in_the_sum_is_refused(clients: tuple, tmp_path: Path) -> None:
    _, connections = clients
    stranger = masks.participant(make_home(tmp_path / "stranger").key())
    participants = [*(connection.info().participant for connection in connections), stranger]
    with pytest.raises(PolicyError, match="not among the peers"):
        connections[0].masked_scores(some_centroids(), participants, sigma=6, fingerprint=FINGERPRINT)


def test_masks_cancel_and_a_swapped_exchange_key_is_found_out(tmp_path: Path) -> None:
    keys = [make_home(tmp_path / str(number)).key() for number in range(4)]
    participants = [masks.participant(key) for key in keys]
    parts = [masks.mask(key, participants, "digest", 50) for key in keys]
    assert not np.sum(parts, axis=0, dtype=np.uint32).any()
    assert all(part.any() for part in parts)
    assert not np.array_equal(parts[0], masks.mask(keys[0], participants, "another", 50))
    swapped = participants[1].model_copy(update={"exchange_key": participants[2].exchange_key})
    others = [found.public_key for found in participants[1:]]
    masks.check_participants(participants, participants[0], others)
    with pytest.raises(Exception, match="not signed"):
        masks.check_participants([participants[0], swapped], participants[0], others)


def test_a_secure_sum_of_units_counts_each_unit_once(tmp_path: Path) -> None:
    """Two clients of 40 people with five images each, all images near one centroid: 80 votes, not 400."""
    homes = peers(
        [
            make_home(
                tmp_path / str(number),
                np.zeros((200, 8), np.float32),
                units=[str(row // 5) for row in range(200)],
                operations=["aggregate"],
                adjacency="unit",
            )
            for number in range(2)
        ]
    )
    centroids = np.stack([np.zeros(8), np.full(8, 9.0)])
    with ExitStack() as stack:
        connections = [
            stack.enter_context(connect(stack.enter_context(serving(home)), token_of(home))) for home in homes
        ]
        release = secure_sum_scores(
            connections, centroids, sigma=3, fingerprint=FINGERPRINT, adjacency="unit"
        )
    assert abs(release.counts[0] - 80) < 3 * 6 + 1
    assert abs(release.counts[1]) < 3 * 6 + 1
    one = epsilon_charged([histogram_event(3.0, Adjacency.UNIT)], release.delta)
    assert release.epsilon == pytest.approx(one, rel=0.02)


def test_only_trusted_noise_is_counted_on() -> None:
    assert masks.trusted_sigma(2, 9, dishonest=0) == 6.0
    assert masks.trusted_sigma(2, 9, dishonest=5) == 4.0
    assert masks.trusted_sigma(2, 9, dishonest=8) == masks.trusted_sigma(2, 9, dishonest=100) == 2.0


def test_a_sum_over_the_dishonest_costs_what_the_own_noise_alone_does(tmp_path: Path) -> None:
    """Nine peers, five of them dishonest, and an asker who sums over this client and just those five."""
    keys = [make_home(tmp_path / f"peer{number}").key() for number in range(9)]
    others = [masks.participant(key) for key in keys]
    rules = {"peers": [other.public_key for other in others], "honest_peers": 4, "operations": ["aggregate"]}
    home = make_home(tmp_path / "home", **rules)
    chosen = [masks.participant(home.key()), *others[:5]]
    with connect_to(home) as connection:
        everybody = connection.masked_scores(
            some_centroids(), [chosen[0], *others], sigma=20, fingerprint=FINGERPRINT
        )
        few = connection.masked_scores(some_centroids(), chosen, sigma=20, fingerprint=FINGERPRINT)
    assert everybody.receipt.events[0].sigma == pytest.approx(20 / 10**0.5 * 5**0.5)
    assert few.receipt.events[0].sigma == pytest.approx(20 / 6**0.5)


@pytest.mark.parametrize(
    ("written", "peers", "honest"),
    [(0.5, 0, 0), (0.5, 1, 0), (0.5, 8, 3), (0.9, 9, 8), (1.0, 4, 1), (1, 0, 1), (3, 4, 3)],
)
def test_a_share_of_an_older_policy_becomes_a_number_that_trusts_no_more(
    written: float, peers: int, honest: int
) -> None:
    keys = [f"{number:064x}" for number in range(peers)]
    policy = Policy.model_validate({"epsilon": 1, "delta": 1e-5, "peers": keys, "honest_peers": written})
    assert policy.honest_peers == honest
    trusted = max(1, peers + 1 - policy.dishonest_peers)
    assert isinstance(written, int) or trusted <= max(1, int(written * (peers + 1)))


def test_more_honest_peers_than_peers_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="honest_peers is 3, and peers lists 2"):
        Policy(epsilon=1, delta=1e-5, peers=["0" * 64, "1" * 64], honest_peers=3)
