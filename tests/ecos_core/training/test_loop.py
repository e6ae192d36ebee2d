"""The epoch loop on a network of two weights: exact resume, early stop, averaging, divergence."""

import numpy as np
import pytest
import torch

from ecos_core.storage import Location
from ecos_core.training import loop
from ecos_core.training.config import TrainConfig
from ecos_core.training.precision import FIRST_SCALE, precision_of

X = torch.linspace(-1, 1, 32).unsqueeze(1)
Y = 3 * X + 1
CONFIG = TrainConfig(use="fine_tune", epochs=6, learning_rate=0.1, device="cpu", ema_decay=0.5)
PRECISIONS = ("float32", "bfloat16", "float16")


def computing_in(precision):
    return CONFIG.model_copy(update={"precision": precision})


def task(**changes):
    def loss(network, rows):
        noise = torch.randn(len(rows), 1) * 0.01
        return ((network(X[rows]) - Y[rows] + noise) ** 2).mean(), {"rows": float(len(rows))}

    def batches(rng):
        return np.split(rng.permutation(32), 4)

    return loop.Objective(
        **({"batches": batches, "steps": 4, "loss": loss, "inputs": {"train": "line"}} | changes)
    )


def fit(scratch, config=CONFIG, seed=1, **changes):
    torch.manual_seed(0)
    return loop.fit(torch.nn.Linear(1, 1), task(**changes), config, seed, Location.of(scratch))


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, monkeypatch, precision):
    config = computing_in(precision)
    whole, history = fit(tmp_path / "whole", config)
    save = loop._save

    def save_then_stop(state, scratch, key):
        save(state, scratch, key)
        if state.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", config)
    monkeypatch.setattr(loop, "_save", save)
    resumed, resumed_history = fit(tmp_path / "cut", config)
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed_history == history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_another_seed_or_configuration_is_not_continued(tmp_path):
    fit(tmp_path)
    other, history = fit(tmp_path, seed=2)
    assert len(history) == 6
    assert not torch.equal(weights(other), weights(fit(tmp_path / "fresh")[0]))


def test_early_stop_keeps_the_best(tmp_path):
    seen = []

    def validate(network):
        seen.append(weights(network).clone())
        return {0: 0.5, 1: 0.9}.get(len(seen) - 1, 0.1)

    network, history = fit(tmp_path, CONFIG.model_copy(update={"patience": 2}), validate=validate)
    assert len(history) == 4
    assert torch.equal(weights(network), seen[1])


def test_no_averaging_gives_the_last_weights(tmp_path):
    plain, _ = fit(tmp_path / "plain", CONFIG.model_copy(update={"ema_decay": 0.0}))
    averaged, _ = fit(tmp_path / "averaged")
    assert not torch.equal(weights(plain), weights(averaged))


def test_the_average_forgets_its_start_within_a_few_dozen_steps():
    averaged, current = [torch.zeros(1)], [torch.ones(1)]
    update = loop.warming_average(0.99)
    for step in range(60):
        update(averaged, current, step)
    assert averaged[0].item() > 0.999  # a fixed decay of 0.99 would have reached 0.45
    steady = [torch.zeros(1)]
    update(steady, current, 10_000)
    assert steady[0].item() == pytest.approx(0.01)


def test_a_loss_that_is_nan_is_an_error_that_says_what_to_do(tmp_path):
    def loss(network, rows):
        return network(X[rows]).mean() * float("nan"), {}

    with pytest.raises(loop.Diverged, match="lower learning_rate"):
        fit(tmp_path, loss=loss)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_loss_falls_in_every_precision(tmp_path, precision):
    network, history = fit(tmp_path, computing_in(precision).model_copy(update={"epochs": 20}))
    assert history[-1]["loss"] < history[0]["loss"] / 50
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert weights(network).numpy() == pytest.approx([3, 1], abs=0.2)


def test_the_forward_pass_is_in_the_precision_asked_for(tmp_path):
    seen = set()

    def loss(network, rows):
        answer = network(X[rows])
        seen.add(answer.dtype)
        return ((answer.float() - Y[rows]) ** 2).mean(), {}

    for precision in PRECISIONS:
        fit(tmp_path, computing_in(precision), loss=loss)
    assert seen == {torch.float32, torch.bfloat16, torch.float16}


def test_a_step_that_overflows_moves_nothing_and_its_scale_is_kept_in_the_checkpoint(tmp_path, monkeypatch):
    """float16 ends at 65,504: the first steps overflow, the scale is halved until one does not."""
    scales, moves = [], []

    def loss(network, rows):
        scales.append(state[0].precision._scaler.get_scale())
        moves.append(weights(network).clone())
        return (network(X[rows]) * 1000.0).mean(), {}

    start, state = loop._start, []

    def started(*arguments):
        state[:] = [start(*arguments)]
        return state[0]

    monkeypatch.setattr(loop, "_start", started)
    config = computing_in("float16").model_copy(update={"ema_decay": 0.0, "epochs": 2, "learning_rate": 1e-3})
    fit(tmp_path, config, loss=loss)
    halved = next(place for place, scale in enumerate(scales) if scale == scales[-1])
    assert scales[0] == FIRST_SCALE > scales[-1] and halved > 0
    assert all(torch.equal(moves[0], seen) for seen in moves[: halved + 1]), "no weight moved before"
    assert not torch.equal(moves[0], moves[halved + 1])
    assert state[0].schedule.last_epoch == len(scales) - halved, "nor did the schedule"
    fit(tmp_path, config, loss=loss)
    assert state[0].precision._scaler.get_scale() == scales[-1]


def test_gradients_that_overflow_at_any_scale_are_an_error_that_names_the_precision(tmp_path):
    def loss(network, rows):
        return torch.sqrt((network.weight * 0).abs().sum()), {}  # 0, of slope infinite

    with pytest.raises(loop.Diverged, match="or give precision bfloat16 or float32"):
        fit(tmp_path, computing_in("float16"), loss=loss)


def test_a_checkpoint_of_another_precision_is_not_continued(tmp_path, monkeypatch):
    """``auto`` is another one on another machine; the configuration is the same."""
    monkeypatch.setattr(loop, "precision_of", lambda config, device: "bfloat16")
    fit(tmp_path)
    monkeypatch.setattr(loop, "precision_of", lambda config, device: "float32")
    again, _ = fit(tmp_path)
    assert torch.equal(weights(again), weights(fit(tmp_path / "fresh")[0]))


def test_auto_is_what_the_device_does_well():
    assert (precision_of(CONFIG, "cpu"), precision_of(CONFIG, "cuda")) == ("float32", "float16")
    assert precision_of(computing_in("bfloat16"), "cuda") == "bfloat16"


def test_files_that_say_amp_are_still_read():
    assert TrainConfig.model_validate({"amp": True}) == TrainConfig()
    assert TrainConfig.model_validate({"amp": False}).precision == "float32"
    for wrong in ({"amp": "yes"}, {"amp": True, "precision": "float32"}):
        with pytest.raises(ValueError, match="amp"):
            TrainConfig.model_validate(wrong)
