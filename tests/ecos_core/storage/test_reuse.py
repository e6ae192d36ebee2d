"""Reuse by identity: equal inputs and parameters are found, any difference is named or makes another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.storage import Location, Manifest, held, identity, write_manifest
from ecos_core.storage.reuse import differences

INPUTS = {"lake": "a" * 64, "scores": "b" * 64}
PARAMETERS = {"budget": 10, "drop": True, "power": 1.0, "licences": ["CC0-1.0"], "inner": {"seed": 1}}
OTHERS: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({**INPUTS, "scores": "c" * 64}, PARAMETERS, "scores"),
    ({"lake": INPUTS["lake"]}, PARAMETERS, "scores"),
    ({**INPUTS, "continues": "d" * 64}, PARAMETERS, "continues"),
    (INPUTS, {**PARAMETERS, "budget": 11}, "budget"),
    (INPUTS, {**PARAMETERS, "budget": True}, "budget"),
    (INPUTS, {**PARAMETERS, "drop": 1}, "drop"),
    (INPUTS, {**PARAMETERS, "licences": []}, "licences"),
    (INPUTS, {**PARAMETERS, "inner": {"seed": 2}}, "inner"),
    (INPUTS, {**PARAMETERS, "new": None}, "new"),
    (INPUTS, {name: value for name, value in PARAMETERS.items() if name != "power"}, "power"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Location:
    where = Location.of(tmp_path / "artefact")
    write_manifest(where, Manifest(kind="selection", inputs=INPUTS, parameters=PARAMETERS))
    return where


def test_the_same_is_found_and_nothing_is_none(folder: Location, tmp_path: Path) -> None:
    found = held(folder, "selection", INPUTS, {**PARAMETERS, "licences": ("CC0-1.0",)})
    assert found is not None and found.inputs == INPUTS
    assert held(Location.of(tmp_path / "empty"), "selection", INPUTS, PARAMETERS) is None


@pytest.mark.parametrize(("inputs", "parameters", "name"), OTHERS, ids=lambda value: str(value)[-40:])
def test_whatever_differs_is_named_or_replaced(
    folder: Location, inputs: dict[str, str], parameters: dict[str, Any], name: str
) -> None:
    with pytest.raises(InputError, match=rf"holds another selection, which is kept \(of another {name}\)"):
        held(folder, "selection", inputs, parameters)
    assert held(folder, "selection", inputs, parameters, replace=True) is None
    assert identity("selection", inputs, parameters) != identity("selection", INPUTS, PARAMETERS)


def test_another_kind_is_never_taken(folder: Location) -> None:
    with pytest.raises(InputError, match="a 'training' is needed"):
        held(folder, "training", INPUTS, PARAMETERS, replace=True)
    assert identity("training", INPUTS, PARAMETERS) != identity("selection", INPUTS, PARAMETERS)


def test_parameters_of_before_are_read_in_the_words_of_today(folder: Location) -> None:
    today = {**PARAMETERS, "new": 0}
    assert held(folder, "selection", INPUTS, today, read_old=lambda old: {**old, "new": 0}) is not None
    assert held(folder, "selection", INPUTS, today, read_old=lambda old: None, replace=True) is None


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.booleans() | st.lists(st.integers())))
def test_nothing_differs_from_itself(values: dict[str, Any]) -> None:
    assert differences(values, dict(values)) == []
