"""The epoch loop that fine-tuning, FixMatch and distillation share: AdamW, cosine schedule, mixed
precision, averaged weights, checkpoint and resume, early stop.

Every epoch seeds its own randomness, so a run that was interrupted and resumed ends with the same numbers
as one that was not (on a CPU, exactly).
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ecos_core.errors import EcosError
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, identity
from ecos_core.training.config import TrainConfig
from ecos_core.training.precision import MixedPrecision, precision_of

CHECKPOINT_NAME = "checkpoint.pt"


class Diverged(EcosError):  # noqa: N818 - what happened
    """The loss, or the gradient in float16, became NaN or infinite."""

    def __init__(self, epoch: int, rate: float, precision: str) -> None:
        wide = ", or give precision bfloat16 or float32" if precision == "float16" else ""
        super().__init__(
            f"training: the loss is NaN or infinite in epoch {epoch + 1}; lower learning_rate ({rate:g}){wide}"
        )


@dataclass(frozen=True)
class Objective:
    """What is fitted. ``batches(rng)`` gives one epoch's batches; ``loss(network, batch)`` a scalar
    tensor and figures to average; ``validate(network)`` an accuracy in [0, 1], or None without a
    validation set; ``inputs`` the digests of all that it is made from: a checkpoint of others is not continued.
    """

    batches: Callable[[np.random.Generator], Iterable[Any]]
    steps: int
    loss: Callable[[Any, Any], tuple[Any, dict[str, float]]]
    validate: Callable[[Any], float] | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _State:
    network: Any
    average: Any
    optimiser: Any
    schedule: Any
    precision: MixedPrecision
    epoch: int = 0
    best: float = -1.0
    best_epoch: int = -1
    best_weights: dict[str, Any] | None = None
    history: list[dict[str, float]] = field(default_factory=list)


def choose_device(config: TrainConfig) -> str:
    """cpu or cuda, as configured or as there is."""
    from ecos_core.features.torch_engine import choose_device as choose

    return choose(None if config.device == "auto" else config.device)


def fit(
    network: Any,
    objective: Objective,
    config: TrainConfig,
    seed: int,
    scratch: Location,
    *,
    progress: ProgressSink = silent,
) -> tuple[Any, list[dict[str, float]]]:
    """Train ``network`` and return the one to use (averaged, and the best if validated) and one row an epoch.

    Continues from ``scratch`` where a run of the same configuration, seed and data left it. Raises Diverged.
    """
    device = choose_device(config)
    key = identity("checkpoint", objective.inputs, {**config.model_dump(mode="json"), "seed": seed})
    state = _start(
        network.to(device), objective, config, MixedPrecision(precision_of(config, device), device)
    )
    _resume(state, scratch, key, device)
    while state.epoch < config.epochs and not _is_stuck(state, config):
        _run_epoch(state, objective, config, seed)
        if state.epoch % config.checkpoint_every == 0 or state.epoch == config.epochs:
            _save(state, scratch, key)
        progress(Progress(f"{config.use.value} seed {seed}", state.epoch, config.epochs, "epochs"))
    answer = state.network if state.average is None else state.average.module
    if state.best_weights is not None:
        answer.load_state_dict(state.best_weights)
    return answer.eval(), state.history


def _start(network: Any, objective: Objective, config: TrainConfig, precision: MixedPrecision) -> _State:
    import torch
    from torch.optim.swa_utils import AveragedModel

    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
    warm, total = config.warmup_epochs * objective.steps, max(config.epochs * objective.steps, 1)

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(total - warm, 1))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    average = None
    if config.ema_decay > 0:
        average = AveragedModel(network, multi_avg_fn=warming_average(config.ema_decay))
    return _State(network, average, optimiser, schedule, precision)


def warming_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential average whose decay rises to ``decay`` as (1 + t) / (10 + t) over t updates.

    A few hundred labelled samples are a few dozen steps: with a fixed decay of 0.99 the average would end
    as mostly the weights it started from. The rule is TensorFlow's ``ExponentialMovingAverage``.
    """
    import torch

    def update(averaged: Any, current: Any, count: Any) -> None:
        done = int(count)
        keep = min(decay, (1 + done) / (10 + done))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, current, 1 - keep)

    return update


def _run_epoch(state: _State, objective: Objective, config: TrainConfig, seed: int) -> None:
    import torch

    torch.manual_seed(1_000_003 * seed + state.epoch)
    rng = np.random.default_rng([seed, state.epoch])
    state.network.eval()  # batch normalisation keeps its statistics; gradients flow all the same
    sums: dict[str, float] = {}
    steps = 0
    for batch in objective.batches(rng):
        with state.precision.forward():
            loss, figures = objective.loss(state.network, batch)
        value = float(loss.detach())
        _step(state, loss, value, config)
        steps += 1
        for name, figure in {"loss": value, **figures}.items():
            sums[name] = sums.get(name, 0.0) + figure
    state.epoch += 1
    row = {"epoch": float(state.epoch), **{name: total / steps for name, total in sums.items()}}
    if objective.validate is not None:
        row["validation"] = _validate(state, objective.validate)
    state.history.append(row)


def _step(state: _State, loss: Any, value: float, config: TrainConfig) -> None:
    """Raises Diverged. A step that overflowed in float16 moves nothing."""
    try:
        moved = math.isfinite(value) and state.precision.step(loss, state.optimiser)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise Diverged(state.epoch, config.learning_rate, state.precision.name)
    if not moved:
        return
    state.schedule.step()
    if state.average is not None:
        state.average.update_parameters(state.network)


def _validate(state: _State, validate: Callable[[Any], float]) -> float:
    judged = state.network if state.average is None else state.average.module
    accuracy = validate(judged)
    if accuracy > state.best:
        state.best, state.best_epoch = accuracy, state.epoch
        state.best_weights = copy.deepcopy(judged.state_dict())
    return accuracy


def _is_stuck(state: _State, config: TrainConfig) -> bool:
    return config.patience > 0 and state.best_epoch > 0 and state.epoch - state.best_epoch >= config.patience


def _save(state: _State, scratch: Location, key: str) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(
        {
            "key": key,
            "epoch": state.epoch,
            "best": state.best,
            "best_epoch": state.best_epoch,
            "best_weights": state.best_weights,
            "history": state.history,
            "network": state.network.state_dict(),
            "average": None if state.average is None else state.average.state_dict(),
            "optimiser": state.optimiser.state_dict(),
            "schedule": state.schedule.state_dict(),
            "precision": [state.precision.name, state.precision.state()],
        },
        buffer,
    )
    (scratch / CHECKPOINT_NAME).write_bytes(buffer.getvalue())


def _resume(state: _State, scratch: Location, key: str, device: str) -> None:
    import torch

    where = scratch / CHECKPOINT_NAME
    if not where.exists():
        return
    stored = torch.load(io.BytesIO(where.read_bytes()), map_location=device, weights_only=True)
    if stored["key"] != key or stored["precision"][0] != state.precision.name:
        return  # another run's, or that of another machine, where ``auto`` is another precision
    state.precision.resume(stored["precision"][1])
    state.epoch, state.history = stored["epoch"], stored["history"]
    state.best, state.best_epoch, state.best_weights = (
        stored["best"],
        stored["best_epoch"],
        stored["best_weights"],
    )
    state.network.load_state_dict(stored["network"])
    if state.average is not None:
        state.average.load_state_dict(stored["average"])
    state.optimiser.load_state_dict(stored["optimiser"])
    state.schedule.load_state_dict(stored["schedule"])
