"""One set of settings: every field is in the YAML, in the form, in MLflow's parameters and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from pydantic import BaseModel

from ecos_cli.settings import parsed, put, settings
from ecos_core.config import IndexConfig, OutsourceConfig, SampleConfig, TrainingRun, load_config
from ecos_core.errors import InputError
from ecos_core.settings import nested_model, paths_of
from flows.index_lake import index_lake
from flows.outsource import outsource
from flows.sample_subset import sample_subset
from flows.train_downstream import train_downstream
from tasks.tracking import flatten

CLIENT = {"url": "http://127.0.0.1:1", "token_file": "token"}
# Everything that is optional and an object is given, so that its fields can be seen.
FULL: dict[type[BaseModel], tuple[Any, dict[str, Any]]] = {
    IndexConfig: (index_lake, {"lake": "lake", "client": CLIENT, "privacy": {}}),
    SampleConfig: (sample_subset, {"lake": "lake", "out": "out", "client": CLIENT}),
    TrainingRun: (
        train_downstream,
        {"lake": "lake", "selection": "picks", "out": "out", "client": CLIENT, "evaluation": {}},
    ),
    OutsourceConfig: (
        outsource,
        {"index": {"lake": "lake", "client": CLIENT, "privacy": {}}, "client": CLIENT, "out": "out"},
    ),
}
FORMS = {flow.name: parameter_schema(flow).model_dump() for flow, _ in FULL.values()}
FIELDS = [(model, path) for model in FULL for path in paths_of(model)]


def value_at(config: BaseModel, path: str) -> Any:
    found: Any = config
    for name in path.split("."):
        found = getattr(found, name)
    return found


def plain(value: Any) -> Any:
    """As JSON and YAML have it."""
    return json.loads(json.dumps(value, default=str))


@pytest.mark.parametrize(
    ("model", "path"), FIELDS, ids=[f"{model.__name__}.{path}" for model, path in FIELDS]
)
def test_a_field_is_the_same_in_all_four(model: type[BaseModel], path: str, tmp_path: Path) -> None:
    flow, values = FULL[model]
    config = model.model_validate(values)
    value = plain(value_at(config, path))
    file = tmp_path / "settings.yaml"
    content: dict[str, Any] = plain(values)
    put(content, path, value)
    file.write_text(yaml.safe_dump(content))
    assert value_at(load_config(file, model), path) == value_at(config, path), "YAML"
    given = settings(model, "test", plain(values), sets=[f"{path}={json.dumps(value)}"])
    assert value_at(given, path) == value_at(config, path), "command line"
    assert path in flatten(config.model_dump(mode="json")) or isinstance(value, dict), "MLflow"
    assert in_form(FORMS[flow.name], path.split(".")), "form"


def in_form(schema: dict[str, Any], path: list[str]) -> bool:
    """Whether Prefect's form of a flow, whose one parameter is ``config``, has a field at ``path``."""
    node: dict[str, Any] = schema["properties"]["config"]
    for name in path:
        node = resolved(schema, node)["properties"].get(name)
        if node is None:
            return False
    return bool(resolved(schema, node).get("title"))


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The definition that a field refers to."""
    for choice in (node, *node.get("anyOf", []), *node.get("allOf", [])):
        if "$ref" in choice:
            found: dict[str, Any] = schema["definitions"][choice["$ref"].rsplit("/", 1)[-1]]
            return found
    return node


def test_a_file_gives_way_to_options_and_options_to_set(tmp_path: Path) -> None:
    file = tmp_path / "sample.yaml"
    file.write_text("lake: of file\nout: of file\nbudget: 5\nsampling: {power: 0.5}\n")
    options = {"out": "of option", "budget": 6, "seed": None}
    found = settings(SampleConfig, "sample", options, config=file, sets=["budget=7", "allow-fewer=true"])
    assert (found.lake, found.out, found.budget, found.seed) == ("of file", "of option", 7, 0)
    assert found.sampling.power == 0.5 and found.sampling.allow_fewer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sampling.powr=1", "did you mean 'sampling.power'"),
        ("bugdet=1", "did you mean 'budget'"),
        ("url=x", "which one"),
        ("budget", "write FIELD=VALUE"),
        ("budget=[", "not valid YAML"),
    ],
)
def test_a_name_that_is_mistyped_is_answered_with_the_one_that_was_meant(text: str, message: str) -> None:
    model = OutsourceConfig if text.startswith("url") else SampleConfig
    with pytest.raises(InputError, match=message):
        parsed(text, model)


def test_objects_in_lists_are_set_whole() -> None:
    assert nested_model(IndexConfig, "sources") is None
    sets = ["sources=[{path: photos, by_reference: true, split: train}]"]
    (source,) = settings(IndexConfig, "index", {"lake": "lake"}, sets=sets).sources
    assert source.by_reference and source.split == "train"
