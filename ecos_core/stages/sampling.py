"""One sampling: check, quote, ask, select, publish. The one order, for `ecos sample` and every flow.

Everything that can be known to fail fails before privacy is spent. The steps are functions in ``Steps``: here they run
as they are, an orchestrator gives its own around the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ecos_core.clustering.auto import choose_clusters, is_far
from ecos_core.clustering.clustering import Clustering
from ecos_core.config import ClientConfig, PrivacyConfig, SampleConfig
from ecos_core.errors import InputError
from ecos_core.lake.lake import Lake
from ecos_core.progress import ProgressSink, silent
from ecos_core.stages.scoring import StoredScores, answers_at_once, connect, planned, request_scores
from ecos_core.stages.selecting import Choice, Selecting, StoredSelection, check_writable
from ecos_core.storage import Location


@dataclass(frozen=True)
class Sampled:
    """What a sampling came to; ``scores`` is None where no client was asked."""

    clustering: str
    selection: StoredSelection
    scores: StoredScores | None

    def told(self) -> dict[str, Any]:
        """As JSON, for who called from outside."""
        account = None if self.scores is None or self.scores.account is None else asdict(self.scores.account)
        return {
            "selection": str(self.selection.folder),
            "digest": self.selection.digest,
            "selected": self.selection.rows,
            "clustering": self.clustering,
            "scores": None if self.scores is None else str(self.scores.folder),
            "privacy": account,
            "outside": None if self.scores is None else self.scores.outside,
        }


def check(selecting: Selecting, answers: Location) -> None:
    """Raises InputError for what could not be chosen or kept."""
    selecting.check()
    check_writable(answers)


def ask(
    selecting: Selecting, client: ClientConfig, privacy: PrivacyConfig, answers: Location
) -> StoredScores:
    """The client's answer for the clustering that is chosen from; the samplers we compare with get the plain scores
    of their papers. Raises as the client answers."""
    outside = selecting.choice.sampler == "ecos"
    return request_scores(selecting.lake, selecting.clustering, client, privacy, answers, outside=outside)


def select(selecting: Selecting, scores: StoredScores | None) -> StoredSelection:
    """The selection, from the answer where the sampler works from one."""
    return selecting.select(None if scores is None else scores.folder)


@dataclass(frozen=True)
class Steps:
    """How each step of a sampling is done. ``approve``: whether what it costs may be spent; ``publish``: show it to
    whoever waits for it."""

    check: Callable[[Selecting, Location], None] = check
    approve: Callable[[ClientConfig, PrivacyConfig], bool] = lambda client, privacy: True
    ask: Callable[[Selecting, ClientConfig, PrivacyConfig, Location], StoredScores] = ask
    select: Callable[[Selecting, StoredScores | None], StoredSelection] = select
    publish: Callable[[Selecting, Sampled], None] = lambda selecting, sampled: None


HERE = Steps()


def sample(
    selecting: Selecting,
    client: ClientConfig | None,
    privacy: PrivacyConfig,
    answers: Location,
    steps: Steps = HERE,
) -> Sampled | None:
    """Check, quote, ask, select, publish; None where the cost was refused, and then nothing is spent.

    ``answers``: where the client's answer is kept. Raises InputError for what cannot be, before anyone is asked, and as
    the client answers.
    """
    steps.check(selecting, answers)
    scores = None
    if selecting.needs_scores:
        if client is None:
            raise InputError(
                f"sampler '{selecting.choice.sampler}' works from a client's scores: give the client's address and "
                "the file with its token (--client and --token-file)"
            )
        if not steps.approve(client, privacy):
            return None
        scores = steps.ask(selecting, client, privacy, answers)
    sampled = Sampled(selecting.clustering.id, steps.select(selecting, scores), scores)
    steps.publish(selecting, sampled)
    return sampled


def selecting_of(config: SampleConfig, *, named: bool = False, progress: ProgressSink = silent) -> Selecting:
    """The choice that ``config`` describes. Raises InputError where the lake has no such clustering."""
    lake = Lake.open(config.lake)
    return Selecting(
        lake,
        Clustering.open(lake, config.clustering),
        Choice(config.budget, config.sampler, config.sampling, config.seed, config.continue_from),
        Location.of(config.out),
        named=named,
        engine=config.engine,
        progress=progress,
    )


def coarser_or_finer(selecting: Selecting, client: ClientConfig, privacy: PrivacyConfig) -> str | None:
    """One line where the clustering is far from what this client and noise ask for; None where it is not, or where the
    client states no number of records, or reads a mailbox. Costs nothing. Raises as the client answers."""
    if not selecting.needs_scores or not answers_at_once(client):
        return None
    with connect(client) as connection:
        info = connection.info()
    if info.stated_records is None or selecting.clustering.fingerprint not in info.extractors:
        return None
    held, sigma = selecting.clustering.clusters, planned(privacy).sigma
    wanted = choose_clusters(selecting.clustering.rows, info.stated_records, sigma)
    if not is_far(held, wanted):
        return None
    noise = f"--epsilon {privacy.epsilon:g}" if privacy.sigma is None else f"--sigma {privacy.sigma:g}"
    return (
        f"this clustering has {held:,} clusters; about {wanted:,} suit a client of {info.stated_records:,} records at "
        f"noise sigma {sigma:.3g}:  ecos index --lake {selecting.lake.location} --client {client.url} "
        f"--token-file {client.token_file} {noise}"
    )
