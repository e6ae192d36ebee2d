"""What one class-by-cluster release gives: scores, and a classifier that tells the classes of a cluster apart."""

import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.labelling.class_histogram import SCORE_SCALE, ClassHistogram

COUNTS = np.array([[90, 0], [30, 25], [0, 80], [0, 0]])
CENTROIDS = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1.0, 0], [0, 0, 1.0]])


def test_without_noise_the_scores_are_the_counts():
    found = ClassHistogram(COUNTS, ("a", "b"), 0.0)
    assert found.scores().noisy.tolist() == [90 * SCORE_SCALE, 55 * SCORE_SCALE, 80 * SCORE_SCALE, 0]
    assert found.scores().sigma == 0
    assert found.majority().tolist() == ["a", "a", "b", "a"]


def test_samples_of_a_mixed_cluster_get_the_class_of_their_own_side():
    probe = ClassHistogram(COUNTS, ("a", "b"), 0.0).classifier(CENTROIDS, c=10.0)
    mixed = np.array([[0.6, 0.4, 0], [0.4, 0.6, 0]])
    assert probe.predict(mixed).tolist() == ["a", "b"]


def test_cells_of_noise_do_not_add_up_to_a_score():
    rng = np.random.default_rng(0)
    counts = np.zeros((50, 7), int)
    counts[0] = 100
    noisy = counts + np.rint(rng.normal(0, 10, counts.shape)).astype(int)
    scores = ClassHistogram(noisy, tuple("abcdefg"), 10.0).scores().noisy
    assert scores[0] > 600 * SCORE_SCALE
    assert scores[1:].mean() < 20 * SCORE_SCALE


def test_a_label_weighs_the_cluster_against_the_samples_features():
    found = ClassHistogram(COUNTS, ("a", "b"), 0.0)
    between = np.array([[0.5, 0.5, 0], [0.5, 0.5, 0]])
    assert found.labels(between, np.array([0, 2]), CENTROIDS).tolist() == ["a", "b"]


def test_a_class_that_nobody_has_is_never_given():
    counts = np.array([[0, 90, 0], [0, 0, 80]])
    found = ClassHistogram(counts, ("none", "a", "b"), 0.0)
    labels = found.labels(CENTROIDS[[0, 2]], np.array([0, 1]), CENTROIDS[[0, 2]])
    assert labels.tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "counts, classes", [(np.zeros(4, int), ("a", "b")), (COUNTS, ("a",)), (COUNTS, ("a", "b", "c"))]
)
def test_shapes_that_do_not_fit_are_refused(counts, classes):
    with pytest.raises(InputError, match="one column a class"):
        ClassHistogram(counts, classes, 1.0)


def test_another_clusterings_centroids_are_refused_and_so_is_nothing_but_noise():
    found = ClassHistogram(COUNTS, ("a", "b"), 0.0)
    with pytest.raises(InputError, match="3 centroids for 4 clusters"):
        found.classifier(CENTROIDS[:3])
    with pytest.raises(InputError, match="all counts are noise"):
        ClassHistogram(np.zeros((4, 2), int), ("a", "b"), 0.0).classifier(CENTROIDS)
