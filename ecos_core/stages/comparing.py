"""Compare the cells of an outsourcing: statistics over the seeds, the report and the record of a comparison."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from ecos_core.clustering.clustering import Clustering
from ecos_core.config import OutsourceConfig
from ecos_core.lake.lake import Lake
from ecos_core.privacy.accounting import epsilon_paper
from ecos_core.privacy.events import HISTOGRAM_SENSITIVITY, Adjacency, GaussianEvent
from ecos_core.reporting.data import Link, ResultRow
from ecos_core.reporting.report import render_report
from ecos_core.stages.account import Account
from ecos_core.stages.reporting import outsourcing_report
from ecos_core.stages.sampling import Sampled
from ecos_core.stages.selecting import proximity_of
from ecos_core.stages.training import Trained
from ecos_core.storage import Location, Manifest, ShardRecord, held, sha256_hex, write_manifest
from ecos_core.training.config import Use

KIND = "comparison"
MANIFEST_NAME = "comparison.json"
RESULTS_NAME = "results.json"
REPORT_NAME = "report.html"
ALL_DATA = "id+ood"
# The method itself: its answer and its first selection explain a report.
MAIN_SAMPLER = "ecos"
# Samplers that know what nobody may know: they are for comparison, and no model of theirs is ever registered.
REFERENCES = frozenset({"oracle", "ecos_noise_free"})


@dataclass(frozen=True)
class Cell:
    """One training of a comparison: a sampler's selection of a seed, its first ``budget`` picks put to one use."""

    sampler: str
    budget: int
    use: Use
    seed: int
    clustering: Clustering
    sampled: Sampled
    trained: Trained

    @property
    def account(self) -> Account | None:
        """The client's, after its answer; None where no client was asked."""
        return None if self.sampled.scores is None else self.sampled.scores.account

    @property
    def selection(self) -> Location:
        """The selection's folder."""
        return self.sampled.selection.folder


@dataclass(frozen=True)
class Row:
    """A line of the results with the cells it is the mean of."""

    figures: ResultRow
    cells: tuple[Cell, ...]

    def told(self) -> dict[str, Any]:
        """As JSON: what ``results.json``, tables and callers see."""
        values = asdict(self.figures)
        return {**{name: values[name] for name in ("pool", "client", "sampler", "use")}, **values}


@dataclass(frozen=True)
class Compared:
    """A finished comparison. ``run`` and ``experiment``: its record in the tracker."""

    rows: list[dict[str, Any]]
    report: str
    privacy: dict[str, Any] | None
    run: str
    experiment: str

    def told(self) -> dict[str, Any]:
        """As JSON, for who called from outside."""
        named = {"mlflow_run": self.run, "mlflow_experiment": self.experiment}
        return {"rows": self.rows, "report": self.report, "privacy": self.privacy, **named}


def summarise(cells: Sequence[Cell], *, client: str, pool: str = ALL_DATA) -> list[Row]:
    """One row a (budget, use, sampler), the latter two in the order first seen; accuracies are fractions, spread over
    the seeds."""
    samplers = list(dict.fromkeys(cell.sampler for cell in cells))
    uses = list(dict.fromkeys(cell.use for cell in cells))

    def place(cell: Cell) -> tuple[int, int, int]:
        return cell.budget, uses.index(cell.use), samplers.index(cell.sampler)

    ordered = sorted(cells, key=lambda cell: (place(cell), cell.seed))
    return [_row(tuple(same), client, pool) for _, same in groupby(ordered, key=place)]


def _row(cells: tuple[Cell, ...], client: str, pool: str) -> Row:
    first, account = cells[0], cells[0].account
    accuracies = [cell.trained.accuracy for cell in cells]
    figures = ResultRow(
        pool=pool,
        client=client,
        sampler=first.sampler,
        budget=first.budget,
        accuracy_mean=statistics.fmean(accuracies),
        accuracy_std=statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        seeds=tuple(cell.seed for cell in cells),
        epsilon=account.epsilon_release if account else None,
        delta=account.delta if account else None,
        use=first.use.value,
        epsilon_paper=paper_claim(account) if account and first.sampler == "ecos_paper" else None,
    )
    return Row(figures, cells)


def paper_claim(account: Account) -> float:
    """The epsilon that the paper's own (looser) accounting states for this mechanism."""
    adjacency = Adjacency.REPLACE
    event = GaussianEvent(account.sigma, HISTOGRAM_SENSITIVITY[adjacency], adjacency, account.gamma)
    return epsilon_paper([event], account.delta)


def best_of_its_use(row: Row, rows: Sequence[Row]) -> bool:
    """Whether the row has the highest mean accuracy among the samplers that may be used."""
    able = [
        other
        for other in rows
        if other.figures.use == row.figures.use
        and other.figures.sampler not in REFERENCES
        and math.isfinite(other.figures.accuracy_mean)
    ]
    return row is max(able, key=lambda other: other.figures.accuracy_mean, default=None)


def last_account(cells: Sequence[Cell]) -> Account | None:
    """The client's account after the last of its releases; None when no client was asked."""
    return max((cell.account for cell in cells if cell.account), key=lambda one: one.epsilon, default=None)


def nearness_of(row: Row, cells: Sequence[Cell]) -> dict[int, float]:
    """Seed -> KL reduction of the picks towards the client's answer of that seed, where ``ecos`` asked for one."""
    answers = {cell.seed: str(cell.selection) for cell in cells if cell.sampler == MAIN_SAMPLER}
    found = {
        cell.seed: proximity_of(str(cell.selection), budget=cell.budget, answer=answers[cell.seed])
        for cell in row.cells
        if cell.seed in answers
    }
    return {seed: nats for seed, nats in found.items() if nats is not None}


def identity_of(config: OutsourceConfig, cells: Sequence[Cell]) -> tuple[dict[str, str], dict[str, Any]]:
    """(inputs, parameters) of a comparison; where the client listens is no part of it."""
    inputs: dict[str, str] = {}
    for cell in cells:
        name = f"{cell.sampler} {cell.budget} {cell.use.value} seed {cell.seed}"
        inputs |= {f"{name}: selection": cell.sampled.selection.digest, f"{name}: model": cell.trained.digest}
    return inputs, config.model_dump(mode="json", exclude={"client": {"url", "timeout_s"}})


def earlier_comparison(config: OutsourceConfig, cells: Sequence[Cell]) -> Compared | None:
    """The finished comparison of the same cells, with its run and report; None where there is none. Another one in the
    same folder is replaced: a comparison's selections and models are what is kept."""
    out = Location.of(config.out)
    if is_of_an_earlier_version(out):
        return None
    found = held(out, KIND, *identity_of(config, cells), replace=True, name=MANIFEST_NAME)
    return None if found is None else Compared(**found.summary)


def is_of_an_earlier_version(out: Location) -> bool:
    """Whether the record there is one of before comparisons had a manifest: it can be read by nobody any more."""
    try:
        return "digest" in json.loads((out / MANIFEST_NAME).read_bytes())
    except FileNotFoundError:
        return False


def write_comparison(
    config: OutsourceConfig, cells: Sequence[Cell], rows: Sequence[Row], page: str, run: str, experiment: str
) -> Compared:
    """Write the report, the results and, last, the comparison's record."""
    out, account = Location.of(config.out), last_account(cells)
    told = json.loads(json.dumps([row.told() for row in rows]))
    files = {REPORT_NAME: page.encode(), RESULTS_NAME: json.dumps(told, indent=1).encode()}
    shards = []
    for name, content in files.items():
        (out / name).write_bytes(content)
        shards.append(ShardRecord(name=name, rows=0, bytes=len(content), sha256=sha256_hex(content)))
    compared = Compared(
        told, str(out / REPORT_NAME), None if account is None else asdict(account), run, experiment
    )
    inputs, parameters = identity_of(config, cells)
    manifest = Manifest(
        kind=KIND, inputs=inputs, parameters=parameters, shards=shards, summary=asdict(compared)
    )
    write_manifest(out, manifest, MANIFEST_NAME)
    return compared


def report_page(
    config: OutsourceConfig,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    address: str,
    facts: Mapping[str, int],
) -> str:
    """The report of the last seed's selections at the largest budget, as one HTML page."""
    shown = [cell for cell in cells if cell.seed == config.seeds[-1] and cell.budget == max(config.budgets)]
    main = next((cell for cell in shown if cell.sampler == MAIN_SAMPLER), shown[0])
    gathered = outsourcing_report(
        Lake.open(config.index.lake),
        main.clustering,
        {cell.sampler: str(cell.selection) for cell in shown},
        title=f"Outsourced training: {config.tracking.experiment}",
        rows=[row.figures for row in rows],
        account=main.account,
        parameters={
            "budgets": ", ".join(map(str, config.budgets)),
            "seeds": ", ".join(map(str, config.seeds)),
            "use": ", ".join(use.value for use in config.compared_uses),
            "denoising": config.sampling.denoise,
            "extractor": config.index.extractor.name,
            "image size (px)": config.index.extractor.image_size,
            "near-duplicates set aside": facts.get("lake/near_duplicates"),
            "test images that are, or nearly are, in the lake": facts.get("lake/test_images_inside"),
        },
        digests={f"selection, {cell.sampler}": cell.sampled.selection.digest for cell in shown},
        links=[Link("MLflow run", address)] if address.startswith("http") else [],
    )
    return render_report(gathered)
