"""Compare the cells of an outsourcing: one row a (sampler, budget, use), MLflow runs, figures and the report."""

from __future__ import annotations

import json
import math
import statistics
import time
from itertools import groupby
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ecos_core.config import OutsourceConfig
from ecos_core.privacy.accounting import epsilon_paper
from ecos_core.privacy.events import HISTOGRAM_SENSITIVITY, Adjacency, GaussianEvent
from ecos_core.reporting.data import Link
from ecos_core.reporting.report import render_report
from ecos_core.stages.indexing import lake_facts
from ecos_core.stages.reporting import outsourcing_report
from ecos_core.stages.selecting import proximity_of
from ecos_core.storage import Location, canonical_json, sha256_hex
from tasks.artifacts import show_link, show_table, show_text
from tasks.models import (
    REFERENCES,
    accuracy_metrics,
    log_onnx_model,
    log_seed_figures,
    register,
    training_inputs,
)
from tasks.tracking import Run, privacy_metrics, run_address, tracked_run

COMPARISON_NAME = "comparison.json"


@task(name="compare", cache_policy=NO_CACHE)
def compare_and_report(
    config: OutsourceConfig, cells: list[dict[str, Any]], pool: str = "id+ood"
) -> dict[str, Any]:
    """Log every cell to MLflow, write the results table and the report. Returns rows, report and run."""
    began = time.perf_counter()
    digest = comparison_digest(config, cells)
    earlier = earlier_comparison(Location.of(config.out), digest)
    if earlier is not None:
        return {**earlier, "seconds": time.perf_counter() - began}
    rows = summarise(cells, client=config.client.name, pool=pool)
    out = Location.of(config.out)
    with tracked_run(config.tracking, name="outsource", tags={"ecos.kind": "outsourcing"}) as run:
        facts = lake_facts(config.index.lake, cells[-1]["clustering"], config.test)
        run.metrics(facts)
        log_parent(run, config, cells)
        for row in rows:
            own = cells_of(cells, row)
            best = row is best_row([other for other in rows if other["use"] == row["use"]])
            log_cell(config, run, row, own, best=best, nearness=nearness_of(own, cells))
        page = report_page(config, cells, rows, run_address(run), facts)
        report = out / "report.html"
        report.write_bytes(page.encode())
        (out / "results.json").write_bytes(json.dumps(rows, indent=1).encode())
        run.folder(out, ["report.html", "results.json"])
        address = run_address(run)
    several = len(config.compared_uses) > 1
    show_table(
        "results",
        [{name: value for name, value in row.items() if several or name != "use"} for row in rows],
        f"Accuracy by sampler{', use' if several else ''} and budget",
    )
    show_text("privacy", privacy_text(last_account(cells)), "What the client's data paid")
    if address.startswith("http"):
        show_link("mlflow-run", address, "MLflow run")
    compared = {
        "rows": rows,
        "report": str(report),
        "privacy": last_account(cells),
        "mlflow_run": run.id,
        "mlflow_experiment": run.experiment,
    }
    (out / COMPARISON_NAME).write_bytes(json.dumps({"digest": digest, "result": compared}, indent=1).encode())
    return {**compared, "seconds": time.perf_counter() - began}


def comparison_digest(config: OutsourceConfig, cells: list[dict[str, Any]]) -> str:
    """Of all that the comparison is made from; where the client listens is no part of it."""
    settings = config.model_dump(mode="json", exclude={"client": {"url", "timeout_s"}})
    made_from = [
        [
            cell["sampler"],
            cell["budget"],
            cell["use"],
            cell["seed"],
            cell["selection"]["digest"],
            cell["trained"]["digest"],
        ]
        for cell in cells
    ]
    return sha256_hex(canonical_json([settings, made_from]))


def earlier_comparison(out: Location, digest: str) -> dict[str, Any] | None:
    """The result of a finished comparison of the same cells, its MLflow run and report; None when there is none."""
    try:
        found: dict[str, Any] = json.loads((out / COMPARISON_NAME).read_bytes())
    except FileNotFoundError:
        return None
    return dict(found["result"]) if found["digest"] == digest else None


def report_page(
    config: OutsourceConfig,
    cells: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    address: str,
    facts: dict[str, int],
) -> str:
    """The report of the last seed's selections at the largest budget."""
    shown = [
        cell for cell in cells if cell["seed"] == config.seeds[-1] and cell["budget"] == max(config.budgets)
    ]
    asked = [cell["scored"]["privacy"] for cell in shown if cell["sampler"] == "ecos" and cell["scored"]]
    gathered = outsourcing_report(
        config.index.lake,
        next((cell for cell in shown if cell["sampler"] == "ecos"), shown[0])["clustering"],
        {cell["sampler"]: cell["selection"]["selection"] for cell in shown},
        title=f"Outsourced training: {config.tracking.experiment}",
        rows=rows,
        privacy=asked[0] if asked else None,
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
        digests={f"selection, {cell['sampler']}": cell["selection"]["digest"] for cell in shown},
        links=[Link("MLflow run", address)] if address.startswith("http") else [],
    )
    return render_report(gathered)


def last_account(cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The client's account after the last of its releases; None when no client was asked."""
    charged = [
        cell["scored"]["privacy"]
        for cell in cells
        if cell["scored"] and cell["scored"]["privacy"]["sigma"] > 0
    ]
    return max(charged, key=lambda account: account["epsilon"], default=None)


def summarise(cells: list[dict[str, Any]], *, client: str, pool: str) -> list[dict[str, Any]]:
    """One row a (budget, use, sampler), the latter two in the order first seen; accuracies are fractions, spread over
    the seeds."""
    rows = []
    samplers, uses = (list(dict.fromkeys(cell[name] for cell in cells)) for name in ("sampler", "use"))

    def place(cell: dict[str, Any]) -> tuple[int, int, int]:
        return cell["budget"], uses.index(cell["use"]), samplers.index(cell["sampler"])

    ordered = sorted(cells, key=lambda cell: (place(cell), cell["seed"]))
    for (budget, use, sampler), group in groupby(ordered, key=place):
        same = list(group)
        accuracies = [accuracy_of(cell) for cell in same]
        account = same[0]["scored"]["privacy"] if same[0]["scored"] else None
        charged = account is not None and account["sigma"] > 0
        rows.append(
            {
                "pool": pool,
                "client": client,
                "sampler": samplers[sampler],
                "use": uses[use],
                "budget": budget,
                "epsilon": account["epsilon_release"] if charged and account else None,
                "epsilon_paper": paper_claim(account)
                if samplers[sampler] == "ecos_paper" and account
                else None,
                "delta": account["delta"] if charged and account else None,
                "accuracy_mean": statistics.fmean(accuracies),
                "accuracy_std": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
                "seeds": [cell["seed"] for cell in same],
            }
        )
    return rows


def paper_claim(account: dict[str, Any]) -> float:
    """The epsilon that the paper's own (looser) accounting states for this mechanism."""
    adjacency = Adjacency.REPLACE
    event = GaussianEvent(account["sigma"], HISTOGRAM_SENSITIVITY[adjacency], adjacency, account["gamma"])
    return epsilon_paper([event], account["delta"])


def cells_of(cells: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("sampler", "budget", "use")
    return [cell for cell in cells if all(cell[name] == row[name] for name in names)]


def log_parent(run: Run, config: OutsourceConfig, cells: list[dict[str, Any]]) -> None:
    """Parameters of the whole, and the data sets it stands on."""
    run.params(config.model_dump(mode="json"))
    first = cells[0]
    run.inputs({"lake": (config.index.lake, first["clustering"])})
    account = last_account(cells)
    if account is not None:
        run.metrics(privacy_metrics(account))


def best_row(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The row of the highest mean accuracy among the samplers that may be used; None without a test set."""
    known = [row for row in rows if row["sampler"] not in REFERENCES and math.isfinite(row["accuracy_mean"])]
    return max(known, key=lambda row: row["accuracy_mean"], default=None)


def log_cell(
    config: OutsourceConfig,
    parent: Run,
    row: dict[str, Any],
    cells: list[dict[str, Any]],
    *,
    best: bool = False,
    nearness: dict[int, float] | None = None,
) -> None:
    """A nested run: accuracy of every seed as steps, their mean and spread, every epoch, each class, the account,
    receipts, picks and the first seed's model, which is registered when the row is the best of its use."""
    use = row["use"]
    name = f"{row['sampler']} {row['budget']}"
    if len(config.compared_uses) > 1:
        name += f" {use}"
    with tracked_run(
        config.tracking,
        name,
        parent=parent.id,
        tags={
            "ecos.kind": "cell",
            "ecos.sampler": row["sampler"],
            "ecos.budget": str(row["budget"]),
            "ecos.use": use,
        },
    ) as run:
        run.params(
            {
                "sampler": row["sampler"],
                "budget": row["budget"],
                "pool": row["pool"],
                "use": use,
                "sampling": config.sampling.parameters(),
                "seeds": row["seeds"],
            }
        )
        run.metrics(accuracy_metrics([accuracy_of(cell) for cell in cells]))
        run.inputs(
            {
                f"selection-seed{cell['seed']}": (cell["selection"]["selection"], cell["selection"]["digest"])
                for cell in cells
            }
        )
        for cell in cells:
            log_seed(run, cell)
        for seed, nats in (nearness or {}).items():
            run.metrics({"proximity/kl_reduction": nats}, step=seed)
        first = cells[0]
        if log_onnx_model(run, first["trained"]["model"], first["seed"]) and best:
            register(
                run,
                f"{config.tracking.experiment}-{use}",
                accuracy=row["accuracy_mean"],
                test_digest=training_inputs(first["trained"]["model"], {})["test"][1],
                tags={"sampler": row["sampler"], "selection": first["selection"]["digest"]},
            )


def nearness_of(own: list[dict[str, Any]], cells: list[dict[str, Any]]) -> dict[int, float]:
    """Seed -> KL reduction of the picks towards the client's answer of that seed, where ``ecos`` asked for one."""
    answers = {cell["seed"]: cell["selection"]["selection"] for cell in cells if cell["sampler"] == "ecos"}
    found: dict[int, float] = {}
    for cell in own:
        if cell["seed"] in answers:
            nats = proximity_of(
                cell["selection"]["selection"], budget=cell["budget"], answer=answers[cell["seed"]]
            )
            found |= {} if nats is None else {cell["seed"]: nats}
    return found


def accuracy_of(cell: dict[str, Any]) -> float:
    """On the public test set; NaN without one."""
    return float(cell["trained"]["metrics"].get("accuracy_mean", math.nan))


def log_seed(run: Run, cell: dict[str, Any]) -> None:
    """One seed's figures, account, picks, receipt and training in its cell's run."""
    seed = f"seed{cell['seed']}"
    accuracy, scored = accuracy_of(cell), cell["scored"]
    if math.isfinite(accuracy):
        run.metrics({"accuracy": accuracy}, step=cell["seed"])
    if scored and scored["privacy"]["sigma"] > 0:
        run.metrics(privacy_metrics(scored["privacy"]), step=cell["seed"])
    picks = Location.of(cell["selection"]["selection"])
    run.folder(picks, ["selection.parquet", "manifest.json"], f"selection/{seed}")
    if scored:
        run.folder(Location.of(scored["scores"]), ["manifest.json"], f"receipt/{seed}")
    model = Location.of(cell["trained"]["model"])
    run.folder(model, [name for name in model.names() if not name.startswith("scratch")], f"training/{seed}")
    log_seed_figures(run, cell["trained"]["metrics"]["seeds"])


def privacy_text(account: dict[str, Any] | None) -> str:
    """The account in words, as Markdown."""
    if account is None:
        return "No client was asked: no privacy was spent."
    return (
        f"The client's data has paid **epsilon {account['epsilon']:.4g}** in all so far "
        f"(autodp: {account['epsilon_autodp']:.4g}) at delta {account['delta']:g}, adjacency {account['adjacency']}."
    )
