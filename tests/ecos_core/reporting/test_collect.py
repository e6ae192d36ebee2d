"""The report of a real small run: a lake of digits, features, clusters, scores, selections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ecos_core.clustering.clustering import Clustering, cluster_lake
from ecos_core.clustering.pool import LakePool
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import load_extractor
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.sources import open_source
from ecos_core.reporting import Link, render_report
from ecos_core.reporting.collect import Source, collect
from ecos_core.sampling.config import SamplerConfig, Scores
from ecos_core.sampling.samplers import SAMPLERS
from ecos_core.sampling.store import write_selection
from ecos_core.storage import Location, Manifest, write_manifest, write_shard

ACCOUNT = {
    "sigma": 2.0,
    "sensitivity": 1.0,
    "adjacency": "add-remove",
    "gamma": 1.0,
    "delta": 1e-5,
    "epsilon": 2.9,
    "epsilon_autodp": 3.1,
    "epsilon_release": 1.9,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run")
    digits = load_digits()
    for row in range(90):
        where = folder / "images" / ("odd" if row % 2 else "even") / str(digits.target[row])
        where.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((255 - 15 * digits.images[row]).astype(np.uint8)).resize((32, 32))
        picture.save(where / f"{row}.png")
    (folder / "images" / "even" / "0" / "broken.png").write_bytes(b"not a picture")
    lake = Lake.create(folder / "lake")
    ingest(open_source(str(folder / "images"), None), lake, licence="CC-BY-4.0")
    clustering = cluster_lake(lake, extract_lake(lake, load_extractor(image_size=32)), clusters=6)
    noisy = np.array([30, 12, -3, 1, 0, 20])
    scores = Location.of(folder / "scores")
    shard = write_shard(scores, "scores.parquet", pa.table({"cluster": range(6), "noisy_score": noisy}))
    summary = {"privacy": ACCOUNT, "receipt": {"answer_digest": "77" * 32}}
    write_manifest(scores, Manifest(kind="scores", shards=[shard], summary=summary))
    sources = []
    for sampler in ("ecos", "random"):
        values = Scores(noisy, 2.0) if sampler == "ecos" else None
        pool = LakePool(lake, clustering)
        chosen = SAMPLERS[sampler](pool, 20, scores=values, config=SamplerConfig(), seed=1)
        write_selection(folder / sampler, chosen, parameters={}, inputs={"clustering": clustering.id})
        sources.append(Source(sampler, str(folder / sampler), str(scores) if values else None))
    return {"lake": lake, "clustering": clustering, "sources": sources, "folder": folder}


def test_everything_on_disk_reaches_the_page(run: dict[str, Any], tmp_path: Path) -> None:
    row = {
        "pool": "id+ood", "client": "odd", "sampler": "ecos", "budget": 20, "epsilon": 1.9, "delta": 1e-5,
        "accuracy_mean": 0.8, "accuracy_std": 0.01, "seeds": [1, 2, 3],
    }  # fmt: skip
    data = collect(
        run["lake"],
        run["clustering"],
        run["sources"],
        title="A run",
        rows=[row],
        links=[Link("here", "http://x")],
    )
    assert data.lake is not None
    assert (dict(data.lake.domains), dict(data.lake.licences)) == ({"odd": 45, "even": 45}, {"CC-BY-4.0": 90})
    assert sum(data.lake.quarantined.values()) == 1
    assert data.privacy is not None
    assert (data.privacy.epsilon_release, data.privacy.epsilon_total) == (1.9, 2.9)
    assert data.quotas is not None
    assert int(np.sum(data.quotas.quota)) == 20
    assert data.lake_map is not None
    assert (len(data.lake_map.points), int(data.lake_map.selected.sum())) == (90, 20)
    assert set(data.coverage) == {"ecos", "random"}
    assert [len(montage.images) for montage in data.montages] == [20, 20]
    assert run["lake"].snapshot().id in data.digests.values()
    page = render_report(data)
    assert "77" * 32 in page
    assert "No clustering" not in page


def test_a_run_without_a_client_reports_no_privacy(run: dict[str, Any]) -> None:
    clustering = Clustering.open(run["lake"], run["clustering"].id)
    data = collect(run["lake"], clustering, run["sources"][1:], title="Random only")
    assert data.privacy is None
    assert data.scores is None
    assert "nothing was spent" in render_report(data)
