"""The epoch loop on a network of two weights: exact resume, early stop, averaging, divergence."""

import numpy as np
import pytest
import torch

from ecos_core.storage import Location
from ecos_core.training import loop
from ecos_core.training.config import TrainConfig

X = torch.linspace(-1, 1, 32).unsqueeze(1)
Y = 3 * X + 1
CONFIG = TrainConfig(use="fine_tune", epochs=6, learning_rate=0.1, device="cpu", ema_decay=0.5)


def task(**changes):
    def loss(network, rows):
        noise = torch.randn(len(rows), 1) * 0.01
        return ((network(X[rows]) - Y[rows] + noise) ** 2).mean(), {"rows": float(len(rows))}

    def batches(rng):
        return np.split(rng.permutation(32), 4)

    return loop.Task(**({"batches": batches, "steps": 4, "loss": loss, "digest": "line"} | changes))


def fit(scratch, config=CONFIG, seed=1, **changes):
    torch.manual_seed(0)
    return loop.fit(torch.nn.Linear(1, 1), task(**changes), config, seed, Location.of(scratch))


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    whole, history = fit(tmp_path / "whole")
    save = loop._save

    def save_then_stop(state, scratch, key):
        save(state, scratch, key)
        if state.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut")
    monkeypatch.setattr(loop, "_save", save)
    resumed, resumed_history = fit(tmp_path / "cut")
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
