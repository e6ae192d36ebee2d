"""The results as text: aligned, and the use only where there are several."""

from __future__ import annotations

from ecos_cli.results_text import results_table

ROW = {
    "sampler": "k_center", "use": "linear_probe", "budget": 1000, "epsilon": 0.5812, "delta": 1e-5,
    "accuracy_mean": 0.8312, "accuracy_std": 0.0101, "seeds": [1, 2, 3],
}  # fmt: skip


def test_one_use_is_not_named() -> None:
    head, rule, line, end = results_table([ROW]).splitlines()
    assert head == "method    budget  epsilon  delta  accuracy"
    assert line == "k-center   1,000    0.581  1e-05    83.1 %  ± 1.0  (3 seeds)"
    assert set(rule) == {"-"} == set(end)


def test_several_uses_have_a_column() -> None:
    tuned = {**ROW, "use": "fine_tune", "epsilon": None, "delta": None}
    head, _, first, second, _ = results_table([ROW, tuned]).splitlines()
    assert head == "method    use           budget  epsilon  delta  accuracy"
    assert first == "k-center  linear probe   1,000    0.581  1e-05    83.1 %  ± 1.0  (3 seeds)"
    assert second == "k-center  fine-tuning    1,000        -      -    83.1 %  ± 1.0  (3 seeds)"
