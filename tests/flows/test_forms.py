"""Prefect's forms are made of these models: every field is named in words, and every number has its range."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from ecos_core import config
from ecos_core.config import Settings
from flows.hand_off import hand_off
from flows.index_lake import index_lake
from flows.outsource import outsource
from flows.sample_subset import sample_subset
from flows.train_downstream import train_downstream

FLOWS = [index_lake, sample_subset, train_downstream, hand_off, outsource]
MODELS = [one for one in vars(config).values() if isinstance(one, type) and issubclass(one, Settings)]
# What a number may be is said by a validator, or any is right.
FREE = {"clusters", "budgets", "seeds"}


@pytest.mark.parametrize(
    "model", [one for one in MODELS if one is not Settings], ids=lambda one: one.__name__
)
def test_every_field_has_a_title(model: type[Settings]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.title] == []
    assert model.__doc__, "the form shows it above the fields"


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_number_of_a_form_has_a_range(flow: Any) -> None:
    schema = parameter_schema(flow).model_dump()
    bounds = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    for title, definition in schema["definitions"].items():
        for name, field in definition.get("properties", {}).items():
            for choice in field.get("anyOf", [field]):
                if choice.get("type") in {"integer", "number"} and name not in FREE:
                    assert bounds & choice.keys(), f"{title}.{name} takes any number"


def test_a_person_reads_what_all_seeds_cost_together() -> None:
    from ecos_core.config import PrivacyConfig
    from ecos_core.stages.scoring import Quote, in_all, planned
    from flows.approval import question

    plan = planned(PrivacyConfig(epsilon=0.58))
    assert in_all(plan, 1) == plan.epsilon < in_all(plan, 3) < 3 * plan.epsilon
    text = question(Quote(plan, spent=0.4, limit=2.0, releases=3), 0.3)
    assert f"**epsilon {in_all(plan, 3):.4g}**" in text and "3 releases of 0.58 each" in text
    assert "0.4 of 2 so far" in text and "threshold is epsilon 0.3" in text


def test_samplers_that_ask_the_same_share_the_answer_and_paper_mode_asks_apart() -> None:
    from pydantic import ValidationError

    given = {
        "index": {"lake": "lake"},
        "client": {"url": "http://127.0.0.1:1", "token_file": "t"},
        "out": "o",
    }
    with pytest.raises(ValidationError, match=r"gamma 0\.8"):
        config.OutsourceConfig.model_validate({**given, "samplers": ["ecos", "ecos_paper"]})
    config.OutsourceConfig.model_validate({**given, "samplers": ["ecos_paper", "random"]})
    config.OutsourceConfig.model_validate({**given, "samplers": ["ecos", "dsir", "random"]})
