import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecos_core.clustering import backends, kmeans
from ecos_core.clustering.assignment import nearest
from ecos_core.clustering.backends import choose_backend
from ecos_core.clustering.kmeans import fit_kmeans
from ecos_core.errors import InputError, MissingDependencyError

BACKENDS = ["faiss", "torch"]


def blobs(count: int = 3000, groups: int = 10, width: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, width)) * 5
    return (centres[rng.integers(0, groups, count)] + 0.3 * rng.normal(size=(count, width))).astype(
        np.float32
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_inertia_is_a_local_optimum_of_lloyds_algorithm(backend: str) -> None:
    sample = blobs()
    fitted = fit_kmeans(sample, 25, seed=0, backend=backend, iterations=60)  # type: ignore[arg-type]
    ids, distances = nearest(sample, fitted.vectors)
    assert fitted.inertia == pytest.approx(float((distances.astype(np.float64) ** 2).mean()), rel=1e-3)
    means = np.stack([sample[ids == cluster].mean(axis=0) for cluster in range(25)])
    np.testing.assert_allclose(fitted.vectors, means, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_close_to_scikit_learn(backend: str) -> None:
    from sklearn.cluster import KMeans

    sample = blobs(groups=40, width=4)
    peer = np.median(
        [KMeans(30, init="k-means++", n_init=1, random_state=s).fit(sample).inertia_ for s in range(5)]
    )
    ours = np.median(
        [fit_kmeans(sample, 30, seed=s, backend=backend).inertia * len(sample) for s in range(5)]  # type: ignore[arg-type]
    )
    assert ours < 1.05 * peer


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_seed_gives_the_same_bytes(backend: str) -> None:
    sample = blobs()
    digests = [fit_kmeans(sample, 20, seed=seed, backend=backend).digest for seed in (1, 1, 2)]  # type: ignore[arg-type]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("clusters", [1, 97, 100])
def test_no_cluster_is_empty_even_with_as_many_as_points(backend: str, clusters: int) -> None:
    sample = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    sample[:40] *= 0.01
    fitted = fit_kmeans(sample, clusters, seed=0, backend=backend)  # type: ignore[arg-type]
    ids, _ = nearest(sample, fitted.vectors)
    assert len(np.unique(ids)) == clusters == len(fitted)


@pytest.mark.parametrize("backend", BACKENDS)
def test_spherical_centroids_have_norm_one(backend: str) -> None:
    sample = blobs()
    with pytest.raises(InputError, match="norm 1"):
        fit_kmeans(sample, 5, seed=0, backend=backend, spherical=True)  # type: ignore[arg-type]
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    fitted = fit_kmeans(sample, 5, seed=0, backend=backend, spherical=True)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.linalg.norm(fitted.vectors, axis=1), 1, atol=1e-5)


def test_impossible_requests_are_refused() -> None:
    sample = blobs(50)
    for clusters, message in ((51, "more clusters than images"), (0, "1 or more")):
        with pytest.raises(InputError, match=message):
            fit_kmeans(sample, clusters, seed=0)
    sample[7, 2] = np.nan
    with pytest.raises(InputError, match="NaN"):
        fit_kmeans(sample, 5, seed=0)


def test_too_few_different_images_are_refused() -> None:
    sample = np.repeat(blobs(4), 20, axis=0)
    with pytest.raises(InputError, match="too few or too alike"):
        fit_kmeans(sample, 10, seed=0)


class _Faiss:
    def __init__(self, gpus: int) -> None:
        self.get_num_gpus = lambda: gpus


@pytest.mark.parametrize(
    ("faiss", "torch_sees_gpu", "expected"),
    [
        (_Faiss(1), True, ("faiss", "cuda")),
        (_Faiss(0), True, ("torch", "cuda")),
        (_Faiss(0), False, ("faiss", "cpu")),
        (None, False, ("torch", "cpu")),
        (None, True, ("torch", "cuda")),
    ],
)
def test_the_backend_is_decided_by_what_is_really_there(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    faiss: object,
    torch_sees_gpu: bool,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(backends, "_installed", {"faiss": faiss, "torch": object()}.get)
    monkeypatch.setattr(backends, "sees_gpu", lambda: torch_sees_gpu)
    with caplog.at_level(logging.INFO):
        chosen = choose_backend()
    assert (chosen.name, chosen.device) == expected
    assert chosen.reason in caplog.text


def test_nothing_installed_and_unknown_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="unknown k-means backend 'cuml'"):
        choose_backend("cuml")  # type: ignore[arg-type]
    monkeypatch.setattr(backends, "_installed", lambda package: None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        choose_backend()


def test_a_gpu_that_is_gone_is_an_error_not_a_slow_run() -> None:
    faiss = pytest.importorskip("faiss")
    if faiss.get_num_gpus():
        pytest.skip("FAISS sees a GPU here")
    from ecos_core.clustering.faiss_backend import fit
    from ecos_core.clustering.fitting import FitOptions

    with pytest.raises(InputError, match="no GPU"):
        fit(blobs(100), blobs(5), FitOptions(5, 0), "cuda")


def test_a_large_sample_is_fitted_on_a_quarter_first(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = blobs(12_000, groups=60)
    warm = fit_kmeans(sample, 60, seed=0, iterations=8)
    monkeypatch.setattr(backends, "WARM_UP_POINTS_PER_CENTROID", 10_000)
    assert warm.inertia < 1.02 * fit_kmeans(sample, 60, seed=0, iterations=8).inertia


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_clusters_are_fitted_in_two_levels(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32)
    flat = fit_kmeans(sample, 100, seed=0, backend=backend)  # type: ignore[arg-type]
    monkeypatch.setattr(kmeans, "FLAT_CLUSTERS", 50)
    nested = fit_kmeans(sample, 100, seed=0, backend=backend)  # type: ignore[arg-type]
    ids, distances = nearest(sample, nested.vectors)
    assert len(np.unique(ids)) == len(nested) == 100
    assert (distances.astype(np.float64) ** 2).mean() < 1.2 * flat.inertia
    assert nested.digest == fit_kmeans(sample, 100, seed=0, backend=backend).digest  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.data())
def test_shares_sum_and_stay_in_bounds(sizes: list[int], data: st.DataObject) -> None:
    array = np.array([*sizes, 1])
    total = data.draw(st.integers(int((array > 0).sum()), int(array.sum())))
    shares = kmeans._shares(array, total)
    assert shares.sum() == total
    assert (shares <= array).all() and (shares[array > 0] >= 1).all() and (shares[array == 0] == 0).all()
