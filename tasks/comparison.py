"""A comparison in MLflow and on the run's page; its statistics and files are ``ecos_core.stages.comparing``'s."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import OutsourceConfig
from ecos_core.stages.account import Account
from ecos_core.stages.comparing import (
    REPORT_NAME,
    RESULTS_NAME,
    Cell,
    Compared,
    Row,
    best_of_its_use,
    earlier_comparison,
    last_account,
    nearness_of,
    report_page,
    summarise,
    write_comparison,
)
from ecos_core.stages.indexing import lake_facts
from ecos_core.storage import Location
from tasks.artifacts import show_link, show_table, show_text
from tasks.models import accuracy_metrics, log_onnx_model, log_seed_figures, register, training_inputs
from tasks.timing import core_work
from tasks.tracking import Run, privacy_metrics, run_address, tracked_run


@task(name="compare", cache_policy=NO_CACHE)
def compare_and_report(config: OutsourceConfig, cells: Sequence[Cell]) -> Compared:
    """Log every cell to MLflow, write the results table and the report; a finished comparison is found and reused."""
    with core_work():
        earlier = earlier_comparison(config, cells)
        if earlier is not None:
            return earlier
        rows = summarise(cells, client=config.client.name)
        with tracked_run(config.tracking, name="outsource", tags={"ecos.kind": "outsourcing"}) as run:
            facts = lake_facts(config.index.lake, cells[-1].clustering, config.test)
            run.metrics(facts)
            log_parent(run, config, cells)
            for row in rows:
                log_row(config, run, row, cells, best=best_of_its_use(row, rows))
            address = run_address(run)
            page = report_page(config, cells, rows, address, facts)
            compared = write_comparison(config, cells, rows, page, run.id, run.experiment)
            run.folder(Location.of(config.out), [REPORT_NAME, RESULTS_NAME])
    show_comparison(config, compared, last_account(cells), address)
    return compared


def show_comparison(
    config: OutsourceConfig, compared: Compared, account: Account | None, address: str
) -> None:
    """The results, what the client paid and a link, on the run's page."""
    several = len(config.compared_uses) > 1
    show_table(
        "results",
        [{name: value for name, value in row.items() if several or name != "use"} for row in compared.rows],
        f"Accuracy by sampler{', use' if several else ''} and budget",
    )
    show_text("privacy", privacy_text(account), "What the client's data paid")
    if address.startswith("http"):
        show_link("mlflow-run", address, "MLflow run")


def log_parent(run: Run, config: OutsourceConfig, cells: Sequence[Cell]) -> None:
    """Parameters of the whole, and the data sets it stands on."""
    run.params(config.model_dump(mode="json"))
    run.inputs({"lake": (config.index.lake, cells[0].clustering.id)})
    run.metrics(privacy_metrics(last_account(cells)))


def log_row(config: OutsourceConfig, parent: Run, row: Row, cells: Sequence[Cell], *, best: bool) -> None:
    """A nested run: accuracy of every seed as steps, their mean and spread, every epoch, each class, the account,
    receipts, picks and the first seed's model, which is registered when the row is the best of its use."""
    figures, first = row.figures, row.cells[0]
    name = f"{figures.sampler} {figures.budget}"
    if len(config.compared_uses) > 1:
        name += f" {figures.use}"
    tags = {
        "ecos.kind": "cell",
        "ecos.sampler": figures.sampler,
        "ecos.budget": str(figures.budget),
        "ecos.use": figures.use,
    }
    with tracked_run(config.tracking, name, parent=parent.id, tags=tags) as run:
        run.params(
            {
                "sampler": figures.sampler,
                "budget": figures.budget,
                "pool": figures.pool,
                "use": figures.use,
                "sampling": config.sampling.parameters(),
                "seeds": list(figures.seeds),
            }
        )
        run.metrics(accuracy_metrics([cell.trained.accuracy for cell in row.cells]))
        run.inputs(
            {
                f"selection-seed{cell.seed}": (str(cell.selection), cell.sampled.selection.digest)
                for cell in row.cells
            }
        )
        for cell in row.cells:
            log_cell(run, cell)
        for seed, nats in nearness_of(row, cells).items():
            run.metrics({"proximity/kl_reduction": nats}, step=seed)
        if log_onnx_model(run, first.trained.model, first.seed) and best:
            register(
                run,
                f"{config.tracking.experiment}-{figures.use}",
                accuracy=figures.accuracy_mean,
                test_digest=training_inputs(first.trained.model, {})["test"][1],
                tags={"sampler": figures.sampler, "selection": first.sampled.selection.digest},
            )


def log_cell(run: Run, cell: Cell) -> None:
    """One seed's figures, account, picks, receipt and training in its row's run."""
    seed, scores = f"seed{cell.seed}", cell.sampled.scores
    if math.isfinite(cell.trained.accuracy):
        run.metrics({"accuracy": cell.trained.accuracy}, step=cell.seed)
    run.metrics(privacy_metrics(cell.account), step=cell.seed)
    run.folder(cell.selection, ["selection.parquet", "manifest.json"], f"selection/{seed}")
    if scores is not None:
        run.folder(scores.folder, ["manifest.json"], f"receipt/{seed}")
    run.folder(Location.of(cell.trained.model), cell.trained.files, f"training/{seed}")
    log_seed_figures(run, cell.trained.seeds)


def privacy_text(account: Account | None) -> str:
    """The account in words, as Markdown."""
    if account is None:
        return "No client was asked: no privacy was spent."
    return (
        f"The client's data has paid **epsilon {account.epsilon:.4g}** in all so far "
        f"(autodp: {account.epsilon_autodp:.4g}) at delta {account.delta:g}, adjacency {account.adjacency}."
    )
