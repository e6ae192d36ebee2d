"""What a configuration refuses by itself, before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ecos_core.config import OutsourceConfig, PrivacyConfig, SampleConfig, validated
from ecos_core.errors import InputError
from ecos_core.sampling.config import SamplerConfig

ON_A_GPU = {"sampling": {"k_center_on": "gpu"}}
OUTSOURCE: dict[str, Any] = {
    "index": {"lake": "lake", "engine": "ray"},
    "client": {"url": "http://127.0.0.1:1", "token_file": "token"},
    "out": "out",
    "test": "test",
}


@pytest.mark.parametrize(
    ("kind", "values"),
    [(SampleConfig, {"lake": "lake", "out": "out", "engine": "ray"}), (OutsourceConfig, OUTSOURCE)],
)
def test_tasks_on_ray_are_given_no_gpu(
    kind: type[SampleConfig] | type[OutsourceConfig], values: dict[str, Any]
) -> None:
    kind.model_validate(values)
    with pytest.raises(ValidationError, match="k_center_on gpu needs engine local"):
        kind.model_validate({**values, **ON_A_GPU})


def test_a_file_of_before_may_say_that_it_asks_in_no_retired_way() -> None:
    old = PrivacyConfig.model_validate({"epsilon": 0.3, "rounds": 1, "moments": None})
    assert old == PrivacyConfig(epsilon=0.3) and "rounds" not in old.model_dump()
    for retired in ({"rounds": 2}, {"moments": 8}):
        with pytest.raises(ValidationError, match="no longer offered"):
            PrivacyConfig.model_validate(retired)


def test_a_retired_setting_is_read_over_at_its_old_default_and_named_otherwise() -> None:
    assert SamplerConfig.model_validate({"threshold": 2.0, "weighting": "score"}) == SamplerConfig()
    for name, value in (("threshold", 3.0), ("weighting", "ratio")):
        with pytest.raises(InputError, match=f"sampling: .*{name}: no longer offered"):
            validated({"lake": "lake", "out": "out", "sampling": {name: value}}, SampleConfig, "ecos sample")
