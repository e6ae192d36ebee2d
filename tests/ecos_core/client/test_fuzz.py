"""Whatever comes in: no 500, nothing spent on what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ecos_core.client import wire
from ecos_core.client.engine import Engine
from ecos_core.client.home import Home
from ecos_core.client.service import create_app
from tests.client_support import DIMENSION, FINGERPRINT, make_home, serving, token_of

pytestmark = pytest.mark.integration
OPERATIONS = ["score", "label", "label-histogram", "evaluate", "aggregate"]
ODD = st.sampled_from([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e30, 1e-40, 3.4e38])
POINTS = hnp.arrays(
    np.float32,
    st.one_of(
        st.tuples(st.integers(0, 4), st.just(DIMENSION)), hnp.array_shapes(min_dims=1, max_dims=3, min_side=0)
    ),
    elements=ODD.map(np.float32) | st.floats(-2, 2, width=32),
)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**6)
    | st.floats()
    | st.text(max_size=5)
    | st.just(FINGERPRINT)
)
FIELDS = st.sampled_from(
    ["sigma", "adjacency", "gamma", "fingerprint", "classes", "neighbours", "threshold", "participants", "x"]
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, httpx.Client]]:
    home = make_home(
        tmp_path_factory.mktemp("fuzz") / "home", operations=OPERATIONS, epsilon=50.0, smallest_sigma=5.0
    )
    headers = {"authorization": f"Bearer {token_of(home)}"}
    with serving(home) as url, httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        yield home, http


def releases(home: Home) -> int:
    return len(home.open_ledger().statement(None, home.identity.data_version).events)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    operation=st.sampled_from(OPERATIONS),
    name=st.sampled_from(["centroids", "points", "model", "x"]),
    points=POINTS,
    changes=st.dictionaries(FIELDS, VALUES, max_size=3),
    cut=st.none() | st.integers(0, 400),
)
def test_arrays_and_headers_of_every_kind(
    fuzzed: tuple[Home, httpx.Client],
    operation: str,
    name: str,
    points: np.ndarray,
    changes: dict,
    cut: int | None,
) -> None:
    home, http = fuzzed
    usual = {"operation": operation, "sigma": 9.0, "adjacency": "add-remove", "fingerprint": FINGERPRINT}
    clean = {field: value for field, value in changes.items() if value == value and abs_finite(value)}
    before = releases(home)
    response = http.post(f"/v1/{operation}", content=wire.encode({**usual, **clean}, {name: points})[:cut])
    assert response.status_code in (200, 400, 403)
    if response.status_code != 200:
        assert set(response.json()) >= {"error", "message"}
        assert releases(home) == before


def abs_finite(value: object) -> bool:
    return not isinstance(value, float) or bool(np.isfinite(value))


def test_a_million_centroids_are_refused_in_bounded_memory(fuzzed: tuple[Home, httpx.Client]) -> None:
    import resource

    home, http = fuzzed
    before, spent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, releases(home)
    header = {"operation": "score", "sigma": 9.0, "adjacency": "add-remove", "fingerprint": FINGERPRINT}
    message = wire.encode(header, {"centroids": np.zeros((10**6, DIMENSION), np.float32)})
    assert http.post("/v1/score", content=message).status_code == 403
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000
    assert releases(home) == spent


def test_the_openapi_schema_holds(tmp_path: Path) -> None:
    """Every operation of the schema, with what schemathesis makes of it: answered as it says, never 500."""
    home = make_home(tmp_path / "home")
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(Engine(home)))
    token = {"authorization": f"Bearer {token_of(home)}"}
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(), known=st.booleans())
        def check(case: schemathesis.Case, known: bool) -> None:
            response = case.call(headers=token if known else {})
            assert response.status_code < 500
            # A schema cannot say what a frame is, so most bytes that fit it are rightly refused.
            case.validate_response(response, excluded_checks=[positive_data_acceptance])
            seen.add(response.status_code)

        check()
    assert seen >= {200, 400, 401}
    assert releases(home) == 0
