"""What an outsourcing compares: its clusterings' number, its samplings, and the paper's own mechanism beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ecos_core.clustering.clustering import Clustering
from ecos_core.config import IndexConfig, OutsourceConfig, PrivacyConfig
from ecos_core.lake.lake import Lake
from ecos_core.privacy.planner import PAPER_GAMMA
from ecos_core.progress import ProgressSink, silent
from ecos_core.stages.indexing import how_many_clusters
from ecos_core.stages.selecting import Choice, Selecting
from ecos_core.storage import Location

# The paper's own mechanism: Gaussian noise of sigma 10 on a fresh 80 % of the records.
PAPER_MECHANISM = {"epsilon": None, "sigma": 10.0, "gamma": PAPER_GAMMA}
# Rows of the table that are another's algorithm on other scores.
ALGORITHMS = {"ecos_noise_free": "ecos"}


def paper_mode(privacy: PrivacyConfig) -> PrivacyConfig:
    """``privacy`` with the paper's mechanism."""
    return privacy.model_copy(update=PAPER_MECHANISM)


def privacy_of(config: OutsourceConfig, sampler: str) -> PrivacyConfig:
    """How ``sampler`` asks the client."""
    return paper_mode(config.privacy) if sampler == "ecos_paper" else config.privacy


def questions(config: OutsourceConfig, samplings: Mapping[str, Selecting]) -> list[PrivacyConfig]:
    """The different questions that each seed pays for: samplers that ask the same share the answer."""
    asked = [
        (
            privacy_of(config, name),
            selecting.choice.sampler == "ecos",
        )  # ECOS asks for the outside share with it
        for name, selecting in samplings.items()
        if selecting.needs_scores
    ]
    return [privacy for privacy, _ in dict.fromkeys(asked)]


def index_for_comparison(config: OutsourceConfig, images: int) -> IndexConfig:
    """The index whose number of clusters is settled once, by what the client states and the planned noise: all seeds
    are compared at the same number. ``images``: those with features."""
    index = config.index.model_copy(
        update={
            "client": config.index.client or config.client,
            "privacy": config.index.privacy or config.privacy,
        }
    )
    number = how_many_clusters(index, images).clusters
    return config.index.model_copy(update={"clusters": number})


def compared_samplings(
    config: OutsourceConfig,
    clustering: Clustering,
    seed: int,
    samplers: Sequence[str],
    progress: ProgressSink = silent,
) -> dict[str, Selecting]:
    """One choice a sampler, of the largest budget: its prefixes are the answers for the smaller ones."""
    lake = Lake.open(config.index.lake)
    return {
        sampler: Selecting(
            lake,
            clustering,
            Choice(max(config.budgets), ALGORITHMS.get(sampler, sampler), config.sampling, seed),
            Location.of(config.out) / "selections",
            named=True,
            engine=config.index.engine,
            progress=progress,
        )
        for sampler in samplers
    }
