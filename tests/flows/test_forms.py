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
