"""Train on a selection and evaluate: reads references, writes an artefact, whatever the use.

The artefact is a folder: one ``model-seed<N>.safetensors`` and, where the use has them,
``model-seed<N>.onnx`` and ``model-seed<N>.pt2`` (``torch.export``) for each seed, ``metrics.json``, and
``manifest.json`` last. The same inputs and configuration find the finished folder and return at once; an
interrupted training continues from its checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ecos_core.errors import InputError
from ecos_core.features.lake_extractor import held_modality
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import (
    Location,
    Manifest,
    ShardRecord,
    held,
    sha256_hex,
    write_manifest,
)
from ecos_core.storage.artefacts import MANIFEST_NAME
from ecos_core.training import data
from ecos_core.training.check import check_use
from ecos_core.training.config import TrainConfig, Use
from ecos_core.training.evaluation import concerns, evaluate, spread
from ecos_core.training.job import Job, Outcome

if TYPE_CHECKING:
    from ecos_core.features.extractor import Extractor
    from ecos_core.lake.lake import Lake

KIND = "training"
METRICS_NAME = "metrics.json"


@dataclass(frozen=True)
class TrainResult:
    """A finished training: the folder, its manifest and ``metrics`` (the content of metrics.json)."""

    out: str
    manifest: Manifest
    metrics: dict[str, Any]
    reused: bool


def train_selection(
    selection: str | PathLike[str] | Location,
    lake: str | PathLike[str] | Location,
    out: str | PathLike[str] | Location,
    *,
    labels: str | PathLike[str] | Location | None = None,
    test: str | PathLike[str] | Location | None = None,
    config: TrainConfig | None = None,
    fingerprint: str | None = None,
    progress: ProgressSink = silent,
) -> TrainResult:
    """Run ``config.use`` on the picks of ``selection`` and write the artefact ``out``.

    ``labels``: a labels folder (default: the lake's own label column); ``test``: a public test set, a
    folder of class/file, on which accuracy is free (default: none, only the model is written);
    ``fingerprint``: the extractor, needed only where the lake has several and the selection does not say.
    Raises InputError.
    """
    from ecos_core.lake.lake import Lake

    config = config or TrainConfig()
    where = Location.of(out)
    opened = Lake.open(lake)
    picks = data.read_picks(Location.of(selection), config.budget)
    snapshot = opened.snapshot(picks.manifest.inputs.get("lake"))
    given = None if labels is None else data.read_labels(Location.of(labels))
    train = data.labelled_images(opened, snapshot, picks.sample_ids, given)
    modality = held_modality(opened, snapshot)
    check_use(config.use, modality)
    test_set = None if test is None else data.read_test_set(Location.of(test), modality)
    train, test_set = _within_label_set(train, test_set, config)
    fingerprint = fingerprint or _fingerprint_of(opened, picks.manifest)
    inputs = {
        "selection": picks.manifest.digest,
        "lake": snapshot.id,
        "extractor": fingerprint,
        "train": data.digest_of(train),
    } | ({} if test_set is None else {"test": data.digest_of(test_set)})
    finished = _finished(where, inputs, config)
    if finished is not None:
        return finished
    (where / MANIFEST_NAME).remove()
    load = _extractor_loader(opened, fingerprint)
    jobs = [
        Job(
            config,
            seed,
            train,
            test_set,
            opened,
            snapshot,
            load,
            fingerprint,
            where / f"scratch-seed{seed}",
            {role: inputs[role] for role in ("lake", "extractor", "train")},
            progress,
        )
        for seed in _seeds(config)
    ]
    return _run(jobs, where, inputs)


def _within_label_set(
    train: data.LabelledImages, test: data.LabelledImages | None, config: TrainConfig
) -> tuple[data.LabelledImages, data.LabelledImages | None]:
    """Both without the classes that the task does not know. Raises InputError when nothing is left of one."""
    parts = [part and part.within(config.label_set, config.other_classes) for part in (train, test)]
    for name, part in zip(("selected", "test"), parts, strict=True):
        if part is not None and not len(part):
            raise InputError(
                f"label_set: no {name} sample is of {', '.join(config.label_set)}; correct the names"
            )
    assert parts[0] is not None
    return parts[0], parts[1]


def _run(jobs: list[Job], out: Location, inputs: dict[str, str]) -> TrainResult:
    config = jobs[0].config
    use = _runner(config.use)
    shards: list[ShardRecord] = []
    rows: list[dict[str, Any]] = []
    for done, job in enumerate(jobs):
        job.progress(Progress("train", done, len(jobs), "seeds"))
        outcome = use(job)
        shards += _write_model(out, job, outcome)
        rows.append(_seed_row(job, outcome))
    jobs[0].progress(Progress("train", len(jobs), len(jobs), "seeds"))
    metrics = _summarise(jobs[0], rows)
    shards.append(
        _write(out, METRICS_NAME, json.dumps(metrics, indent=1, sort_keys=True, allow_nan=False).encode())
    )
    summary = {
        name: metrics[name] for name in ("accuracy_mean", "accuracy_std", "trained_on") if name in metrics
    }
    manifest = Manifest(
        kind=KIND, inputs=inputs, parameters=config.model_dump(mode="json"), shards=shards, summary=summary
    )
    write_manifest(out, manifest)
    return TrainResult(str(out), manifest, metrics, reused=False)


def train_probe(job: Job) -> Outcome:
    """The linear probe on stored features; its ONNX takes features, so a client can ``evaluate`` it."""
    from ecos_core.training.linear_probe import train_linear_probe

    features = data.lake_features(job.lake, job.snapshot, job.fingerprint, job.train.sample_ids)
    probe = train_linear_probe(features, job.train.labels, c=job.config.c, seed=job.seed)
    probabilities = None
    if job.test is not None:
        probabilities = probe.predict_proba(job.test_features(job.test))
    return Outcome(
        dict(probe.to_arrays()),
        probe.classes,
        {"model": "linear_probe"},
        probabilities,
        onnx=probe.to_onnx(fingerprint=job.fingerprint),
    )


def _runner(use: Use) -> Callable[[Job], Outcome]:
    if use is Use.LINEAR_PROBE:
        return train_probe
    if use is Use.FINE_TUNE:
        from ecos_core.training.fine_tune import fine_tune

        return fine_tune
    if use is Use.FIXMATCH:
        from ecos_core.training.fixmatch import fixmatch

        return fixmatch
    from ecos_core.training.distil import distil

    return distil


def _seeds(config: TrainConfig) -> tuple[int, ...]:
    """The probe's fit is convex: every seed gives the same model, so one is enough."""
    return config.seeds[:1] if config.use is Use.LINEAR_PROBE else config.seeds


def _seed_row(job: Job, outcome: Outcome) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": job.seed, "figures": outcome.figures, "history": outcome.history}
    if job.test is not None and outcome.probabilities is not None:
        row["test"] = evaluate(outcome.probabilities, job.test.labels, outcome.classes).to_dict()
    return row


def _summarise(job: Job, rows: list[dict[str, Any]]) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "use": job.config.use.value,
        "trained_on": len(job.train),
        "left_out": job.train.left_out,
        "concerns": concerns(job.train.labels, job.test.labels if job.test else ()),
        "extractor": job.fingerprint,
        "seeds": rows,
    }
    if job.config.label_set:
        metrics |= {"label_set": [*job.config.label_set], "other_classes": job.config.other_classes}
    if job.test is None:
        return metrics
    accuracy = spread([row["test"]["accuracy"] for row in rows])
    return metrics | {
        "test_set": "public",
        "tested_on": len(job.test),
        "test_left_out": job.test.left_out,
        "accuracy_mean": accuracy.mean,
        "accuracy_std": accuracy.std,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
    }


def _write_model(out: Location, job: Job, outcome: Outcome) -> list[ShardRecord]:
    from safetensors.numpy import save

    metadata = {
        "classes": json.dumps(list(outcome.classes)),
        "extractor": job.fingerprint,
        "use": job.config.use.value,
        **outcome.metadata,
    }
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in outcome.tensors.items()}
    records = [_write(out, f"model-seed{job.seed}.safetensors", save(tensors, metadata=metadata))]
    if outcome.onnx is not None:
        records.append(_write(out, f"model-seed{job.seed}.onnx", outcome.onnx))
    if outcome.program is not None:
        records.append(_write(out, f"model-seed{job.seed}.pt2", outcome.program))
    return records


def _write(out: Location, name: str, content: bytes) -> ShardRecord:
    (out / name).write_bytes(content)
    return ShardRecord(name=name, rows=0, bytes=len(content), sha256=sha256_hex(content))


def _finished(out: Location, inputs: dict[str, str], config: TrainConfig) -> TrainResult | None:
    """The result in ``out``, when it is of the same inputs and configuration."""
    manifest = held(
        out, KIND, inputs, config.model_dump(mode="json"), replace=True, read_old=_in_words_of_today
    )
    if manifest is None:
        return None
    return TrainResult(str(out), manifest, json.loads((out / METRICS_NAME).read_bytes()), reused=True)


def _in_words_of_today(parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Stored parameters of an earlier version; None where they mean no configuration any more."""
    try:
        return TrainConfig.model_validate(parameters).model_dump(mode="json")
    except ValidationError:
        return None


def _fingerprint_of(lake: Lake, selection: Manifest) -> str:
    said = selection.parameters.get("fingerprint") or selection.inputs.get("extractor")
    known = lake.folder("features").names()
    if said is None and len(known) == 1:
        return known[0]
    if said in known:
        return str(said)
    if said is not None:
        raise InputError(
            f"{lake.location}: the selection was made with extractor {said[:12]}, whose features are not here"
        )
    raise InputError(
        f"{lake.location}: features of {len(known)} extractors here; name one or run  ecos index"
    )


def _extractor_loader(lake: Lake, fingerprint: str) -> Callable[[], Extractor]:
    from functools import lru_cache

    @lru_cache(maxsize=1)
    def load() -> Extractor:
        from ecos_core.features.extractor import load_saved

        return load_saved(lake.folder("features") / fingerprint)

    return load
