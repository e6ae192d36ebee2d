"""Two data sets that differ in one record must look alike in everything but the noised numbers."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from scipy import stats

from ecos_core.client import wire
from ecos_core.client.engine import Engine
from ecos_core.client.operations.score import score_request
from tests.client_support import (
    DIMENSION,
    FINGERPRINT,
    make_home,
    serving,
    some_centroids,
    some_features,
    token_of,
)

pytestmark = pytest.mark.integration

# What a server may try, the last of it over budget.
TRIED = [
    *(
        score_request(some_centroids(5, seed), sigma=6.0, fingerprint=FINGERPRINT).encode()
        for seed in range(3)
    ),
    score_request(some_centroids(5, 0), sigma=6.0, fingerprint=FINGERPRINT).encode(),
    score_request(np.full((1, DIMENSION), 1e3), sigma=5.0, fingerprint=FINGERPRINT).encode(),
    score_request(some_centroids(900), sigma=5.0, fingerprint=FINGERPRINT).encode(),
    score_request(some_centroids(5), sigma=5.0, gamma=0.5, fingerprint=FINGERPRINT).encode(),
    score_request(some_centroids(5), sigma=5.0, fingerprint="another").encode(),
    b"junk",
    *(
        score_request(some_centroids(5, seed), sigma=1.0, fingerprint=FINGERPRINT).encode()
        for seed in range(9)
    ),
]


def neighbours() -> list[np.ndarray]:
    """A hundred and one records one of which lies far off, and the same without it."""
    features = some_features(101)
    features[50] = 1e6
    return [features, np.delete(features, 50, axis=0)]


def observed(path: Path, features: np.ndarray, caplog: pytest.LogCaptureFixture) -> list[object]:
    """All that a server sees but the numbers: status, size, headers, error text, the answer's shape."""
    home = make_home(path, features, epsilon=4.0)
    seen: list[object] = []
    caplog.clear()
    with (
        caplog.at_level(logging.DEBUG),
        serving(home) as url,
        httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {token_of(home)}"}, trust_env=False
        ) as http,
    ):
        seen.append(http.get("/v1/info").json()["epsilon_spent"])
        for message in TRIED:
            response = http.post("/v1/score", content=message)
            headers = sorted(set(response.headers) - {"date"})
            seen.append((response.status_code, len(response.content), headers))
            if response.status_code == 200:
                header, arrays = wire.decode(response.content)
                seen.append({name: array.shape for name, array in arrays.items()})
                seen.append({**header["receipt"], **dict.fromkeys(DIFFERS, "")})
            else:
                seen.append(response.json())
    seen.append([record.getMessage() for record in caplog.records if record.name.startswith("ecos")])
    return json.loads(json.dumps(seen))


# Keys, random labels and digests of noised numbers: different on every run, also on the same data.
DIFFERS = ("client_id", "public_key", "data_version", "answer_digest", "chain_hash", "signature")


def test_control_flow_logs_status_and_sizes_are_identical(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (
        observed(tmp_path / str(number), features, caplog) for number, features in enumerate(neighbours())
    )
    assert first == second
    assert {
        entry[0] for entry in first if isinstance(entry, list) and entry and isinstance(entry[0], int)
    } == {
        200,
        400,
        403,
    }


def test_new_answers_leave_on_a_deadline(tmp_path: Path) -> None:
    """Little data and much, quick work and slow: the same moment, told by a test on ranks."""
    times: list[list[int]] = []
    for number, records in enumerate([100, 100, 20_000]):  # the first fills the accountants' caches
        rules = {"epsilon": 1000, "answer_after_seconds": 0.15}
        engine = Engine(make_home(tmp_path / str(number), some_features(records), **rules))
        taken = []
        for seed in range(10):
            message = score_request(some_centroids(5, seed), sigma=20.0, fingerprint=FINGERPRINT).encode()
            began = time.perf_counter()
            engine.answer(message, "first")
            taken.append(round((time.perf_counter() - began) / 0.15))
        times.append(taken)
    assert stats.ks_2samp(*times[1:]).pvalue > 0.01


def test_unexpected_failures_tell_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecos_core.client import contributions

    def explode(*arguments: object) -> None:
        raise ValueError("secret of a patient")

    monkeypatch.setattr(contributions, "nearest_centroids", explode)
    home = make_home(tmp_path / "home")
    with serving(home) as url:
        response = httpx.post(
            f"{url}/v1/score",
            content=TRIED[0],
            headers={"authorization": f"Bearer {token_of(home)}"},
            trust_env=False,
        )
    assert response.status_code == 500
    assert "secret" not in response.text
    assert home.open_ledger().verify().releases == 0
