"""What commit 3a00d86 wrote still opens: a lake, a client's home, selections, scores and a training."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from ecos_core.client.home import open_home
from ecos_core.clustering.clustering import Clustering
from ecos_core.clustering.duplicates import stored_duplicates
from ecos_core.clustering.pool import LakePool
from ecos_core.config import SampleConfig, validated
from ecos_core.errors import InputError
from ecos_core.features.feature_set import FeatureSet
from ecos_core.lake.lake import Lake
from ecos_core.sampling.store import read_selection
from ecos_core.stages.sampling import sample, selecting_of
from ecos_core.stages.scoring import read_scores
from ecos_core.stages.training import train
from ecos_core.storage import verify_shards
from ecos_core.training.config import TrainConfig
from tests.tiny_support import ecos_json

ARCHIVE = Path(__file__).resolve().parent.parent / "fixtures" / "of_3a00d86.zip"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("before")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    for secret in ("token", "key.pem", "tokens.json"):
        (folder / "home" / secret).chmod(0o600)
    return folder


def test_a_lake_opens_with_its_features_clusters_and_near_duplicates(before: Path) -> None:
    lake = Lake.open(before / "lake")
    snapshot = lake.snapshot()
    assert snapshot.rows == 30
    clustering = Clustering.open(lake)
    assert (clustering.clusters, clustering.rows, clustering.snapshot_id) == (3, 30, snapshot.id)
    verify_shards(clustering.root, clustering.manifest)
    features = FeatureSet.open(lake, clustering.fingerprint)
    assert features.load()[1].shape == (30, 4)
    assert stored_duplicates(clustering) is not None
    assert sum(len(LakePool(lake, clustering).members(cluster)) for cluster in range(3)) == 30


def test_a_client_s_home_opens_and_its_ledger_is_whole(before: Path) -> None:
    home = open_home(before / "home")
    (fingerprint,) = [path.name for path in (before / "lake" / "features").iterdir()]
    assert home.features(fingerprint).features.shape == (100, 4)
    told = ecos_json("client", "ledger", "--home", str(before / "home"))
    # Stated as 1 when it was made; the bound that is charged today is at most 0.2 % above, and never below.
    assert told["events"] == 1 and 1 <= told["epsilon_spent"] <= 1.002
    ecos_json("client", "verify", "--home", str(before / "home"))


def test_selections_and_the_answer_behind_one_are_read(before: Path) -> None:
    chosen, manifest = read_selection(before / "selection")
    assert len(chosen) == 8 and not np.isnan(chosen.cluster_noisy).any()
    lake = Lake.open(before / "lake")
    (answer,) = lake.folder("scores").names()
    stored, scores = read_scores(lake.folder("scores") / answer)
    assert manifest.inputs["scores"] == stored.manifest.digest
    assert stored.account is not None and 0.9 < stored.account.epsilon_release <= 1
    assert scores.noisy.tolist() == chosen.cluster_noisy.tolist()


def test_a_selection_of_before_is_found_for_the_same_question_alone(before: Path) -> None:
    values = {"lake": str(before / "lake"), "out": str(before / "random"), "budget": 6, "sampler": "random"}
    old = {"power": 1.0, "threshold": 2.0, "weighting": "score"}
    config = validated({**values, "sampling": old}, SampleConfig, "old settings")
    selecting = selecting_of(config)
    sampled = sample(selecting, None, config.privacy, selecting.lake.folder("scores"))
    assert sampled is not None and sampled.selection.digest == read_selection(before / "random")[1].digest
    other = selecting_of(config.model_copy(update={"seed": 1}))
    with pytest.raises(InputError, match=r"holds another selection, .*of another seed"):
        other.check()


def test_a_training_of_before_is_found(before: Path) -> None:
    lake, picks, out = (str(before / name) for name in ("lake", "selection", "model"))
    assert train(lake, picks, out, TrainConfig(seeds=(1,))).reused
