"""A client made by an older version opens, and what it spent on operations that are gone stays spent."""

from __future__ import annotations

from pathlib import Path

import yaml

from ecos_core.client import wire
from ecos_core.client.engine import Engine
from ecos_core.client.home import open_home
from ecos_core.client.operations.score import score_request
from ecos_core.privacy.events import Adjacency, GaussianEvent
from tests.client_support import FINGERPRINT, make_home, some_centroids

MOMENTS = GaussianEvent(6.0 * 1024, 1024.0, Adjacency.ADD_REMOVE)  # as a release of moments was written


def test_a_release_of_an_operation_that_is_gone_stays_accounted(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    home.open_ledger().spend(
        "0" * 64, "first", home.identity.data_version, "moments", [MOMENTS], lambda _: b"x"
    )
    policy = home.path / "policy.yaml"
    rules = yaml.safe_load(policy.read_text())
    policy.write_text(yaml.safe_dump({**rules, "operations": ["moments", "score"]}))
    opened = open_home(home.path)
    assert opened.policy.operations == ["score"]
    engine = Engine(opened)
    before = engine.info("first")
    assert before.operations == ("score",) and 0.5 < before.epsilon_spent < 0.6
    request = score_request(some_centroids(), sigma=6.0, fingerprint=FINGERPRINT)
    header, _ = wire.decode(engine.answer(request.encode(), "first"))
    assert header["receipt"]["epsilon"] > before.epsilon_spent
    assert opened.open_ledger().verify().releases == 2
