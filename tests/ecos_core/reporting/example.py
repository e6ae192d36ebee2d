"""A report's data from real digits (scikit-learn's optdigits): an example to render and to test on."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from ecos_core.reporting import (
    ClusteringSummary,
    LakeMap,
    LakeSummary,
    Link,
    Montage,
    PrivacyStatement,
    Quotas,
    ReportData,
    ResultRow,
    Scores,
    coverage_curve,
    principal_plane,
)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(255 - 15 * pixels, dtype=np.uint8)).resize((32, 32)).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(digits: Any, rows: np.ndarray) -> tuple[bytes, ...]:
    return tuple(png(digits.images[row]) for row in rows)


def example(seed: int = 0) -> ReportData:
    """Thirty clusters of real digits, scores of a client that holds the threes and eights."""
    random = np.random.default_rng(seed)
    digits = load_digits()
    features = digits.data.astype(np.float32)
    fit = KMeans(30, n_init=1, random_state=0).fit(features)
    sizes = np.bincount(fit.labels_, minlength=30)
    wanted = np.isin(digits.target, (3, 8))
    counts = np.bincount(fit.labels_[wanted], minlength=30)
    noisy = counts + np.rint(random.normal(0, 6, 30)).astype(np.int64)
    denoised = np.where(noisy > 6, noisy, 0).astype(np.float64)
    quota = np.minimum(np.floor(denoised / denoised.sum() * 150), sizes).astype(np.int64)
    picks = np.concatenate(
        [np.flatnonzero(fit.labels_ == cluster)[: quota[cluster]] for cluster in range(30)]
    )
    random_picks = random.permutation(len(features))[: len(picks)]
    selected = np.zeros(len(features), dtype=bool)
    selected[picks] = True
    parity = tuple("odd" if digit % 2 else "even" for digit in digits.target)
    rows = tuple(
        ResultRow(
            "id+ood",
            "optdigits",
            sampler,
            budget,
            mean + 0.03 * np.log10(budget / 100),
            0.012,
            (1, 2, 3),
            epsilon,
            delta,
        )
        for budget in (100, 300, 1000)
        for sampler, mean, epsilon, delta in (
            ("ecos", 0.81, 0.582, 1e-5),
            ("ecos_paper", 0.79, 0.582, 1e-5),
            ("ecos_noise_free", 0.82, None, None),
            ("random", 0.69, None, None),
            ("k_center", 0.65, None, None),
        )
    )
    return ReportData(
        title="Which digits of the lake stand in for the client's",
        subtitle="ECOS on optdigits, budget 150",
        lake=LakeSummary(
            images=len(features),
            domains={"optdigits": 1200, "mnist": 500, "a long name that must break somewhere": 97},
            licences={"CC BY 4.0": 1700, "unknown": 97},
            sources={"scikit-learn": 1797},
            quarantined={"truncated": 2, "not an image": 1},
            snapshot="ab" * 32,
        ),
        clustering=ClusteringSummary(
            clusters=30, extractor="efficientnet_lite0@128", dimension=64, backend="faiss (CPU)",
            mean_squared_distance=0.246, sizes=sizes,
            montages=tuple(
                Montage(f"Cluster {c}", pictures(digits, np.flatnonzero(fit.labels_ == c)[:12]))
                for c in np.argsort(-noisy)[:4]
            ),
        ),
        results=rows,
        privacy=PrivacyStatement(
            epsilon_release=0.582, epsilon_total=0.83, epsilon_autodp=0.86, delta=1e-5,
            adjacency="add-remove", sigma=6.12, epsilon_limit=2.0, receipt="cd" * 32,
        ),
        scores=Scores(noisy, 6.12, denoised),
        quotas=Quotas(quota, sizes),
        coverage={"ecos": coverage_curve(features, picks), "random": coverage_curve(features, random_picks)},
        lake_map=LakeMap(principal_plane(features), selected, parity),
        montages=(
            Montage("Chosen by ECOS", pictures(digits, picks[:60]), "in the order picked"),
            Montage("Chosen at random", pictures(digits, random_picks[:60])),
        ),
        omitted={"same content as a picked image": 3, "feature closer than the radius": 12},
        parameters={"budget": 150, "seed": 1, "sampler": "ecos"},
        digests={"lake": "ab" * 32, "features": "12" * 32, "clusters": "fe" * 32},
        links=(Link("MLflow run", "http://127.0.0.1:5000/#/experiments/1"), Link("Prefect run", "http://127.0.0.1:4200/runs")),
    )  # fmt: skip
