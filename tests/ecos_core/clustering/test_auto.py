import pytest

from ecos_core.clustering.auto import choose_clusters
from ecos_core.errors import InputError
from ecos_core.privacy.planner import SIGNAL_TO_NOISE


@pytest.mark.parametrize(("records", "sigma"), [(1000, 6.12), (1000, 31.0), (100_000, 6.12), (10_000, 50.0)])
def test_signal_to_noise_is_as_wished_where_the_lake_allows(records: int, sigma: float) -> None:
    clusters = choose_clusters(10**7, records, sigma)
    assert records / (clusters * sigma) == pytest.approx(SIGNAL_TO_NOISE, rel=0.1) or clusters in (10, 10_000)


def test_bounds() -> None:
    assert choose_clusters(10**7, 10, 50) == 10
    assert choose_clusters(10**7, 10**9, 1) == 10_000
    assert choose_clusters(10**7, 100, 0) == 10_000
    assert choose_clusters(2_000, 10**6, 5) == 100
    assert choose_clusters(30, 1000, 5) == 1


@pytest.mark.parametrize(
    ("records", "sigma"), [(None, 5.0), (100, None), (0, 5.0), (100, -1.0), (100, float("nan"))]
)
def test_what_is_missing_or_impossible_is_refused(records: int | None, sigma: float | None) -> None:
    with pytest.raises(InputError, match="--clusters auto"):
        choose_clusters(1000, records, sigma)
