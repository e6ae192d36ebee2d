"""Nothing old is taken when anything changed: every kind of artefact, every input and parameter of it, one table.

A kind is a function that makes the artefact, or finds it, and gives its name; the same again gives the same name, and a
change either gives another one or is refused. Planted again, these faults of before fall here: a selection reused for
another client's answer (``selection: scores``), a training reused for other inputs (``training: ...``), a checkpoint
continued on other data (``checkpoint: inputs...``), an ingest resumed although the files changed (``ingest: ...``),
``final`` not in an import's identity (``import: final``).
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel

from ecos_core.client.home import init_home_from_features, open_home
from ecos_core.client.policy import Policy
from ecos_core.clustering.clustering import Clustering, cluster_lake
from ecos_core.clustering.duplicates import find_duplicates
from ecos_core.config import ClientConfig, OutsourceConfig, PrivacyConfig
from ecos_core.errors import InputError
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import Extractor
from ecos_core.features.preprocessing import Preprocessing
from ecos_core.labelling import export_handoff, import_handoff
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.progress import Progress
from ecos_core.sampling.config import SamplerConfig
from ecos_core.stages.account import Account
from ecos_core.stages.comparing import Cell, earlier_comparison, summarise, write_comparison
from ecos_core.stages.sampling import Sampled
from ecos_core.stages.scoring import request_scores, write_scores
from ecos_core.stages.selecting import Choice, Selecting, StoredSelection
from ecos_core.stages.training import Trained, train
from ecos_core.storage import Location, Manifest
from ecos_core.training import loop
from ecos_core.training import train as training
from ecos_core.training.config import TrainConfig, Use
from ecos_core.training.data import LabelledImages
from ecos_core.training.distil import train_teacher
from ecos_core.training.job import Job, Outcome
from tests.client_support import serving
from tests.lake_support import ColourEngine, write_pictures

ACCOUNT = Account(0.5, 0.51, 0.5, 1e-5, 5.0, "add-remove")


def extractor(weights: str = "0", image_size: int = 32) -> Extractor:
    preprocessing = Preprocessing(image_size=image_size, mean=(0, 0, 0), std=(1, 1, 1))
    return Extractor("colour", weights * 64, preprocessing, True, None, ColourEngine())


@dataclass(frozen=True)
class World:
    """A lake of 40 pictures in four classes, its features and two clusterings."""

    root: Path
    lake: Lake
    clustering: Clustering
    other: Clustering

    @property
    def where(self) -> str:
        return str(self.lake.location)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("reuse")
    lake = Lake.create(root / "lake")
    write_pictures(root / "source", 40, 1)
    ingest(root / "source", lake, licence="CC0-1.0")
    features = extract_lake(lake, extractor())
    other = cluster_lake(lake, features, clusters=3)
    return World(root, lake, cluster_lake(lake, features, clusters=4), other)


@pytest.fixture
def world(base: World, tmp_path: Path) -> World:
    """A copy, which a test may change."""
    shutil.copytree(base.root / "lake", tmp_path / "lake")
    lake = Lake.open(tmp_path / "lake")
    open_again = [Clustering.open(lake, one.id) for one in (base.clustering, base.other)]
    return World(tmp_path, lake, *open_again)


def another(model: type[BaseModel], name: str, value: Any) -> Any:
    """A valid value of the field that is not ``value``."""
    choices = [one for one in _choices(model.model_fields[name].annotation) if one != value]
    candidates: list[Any] = [*choices]
    if isinstance(value, bool):
        candidates.append(not value)
    elif isinstance(value, int | float):
        candidates += [value + 1, value / 2, value / 2 + 0.1]
    elif isinstance(value, tuple) and name == "seeds":
        candidates.append((7,))
    candidates += [1, ("CC0-1.0",), "photo", 0.5]
    for candidate in candidates:
        try:
            made = getattr(model.model_validate({name: candidate}), name)
        except ValueError:
            continue
        if made != value:
            return made
    raise AssertionError(f"no other value of {name} is known: {value!r}")


def _choices(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from annotation
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        yield from _choices(part)


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """Field -> another value than its default."""
    plain = model()
    return {name: another(model, name, getattr(plain, name)) for name in model.model_fields}


# Selections


def selection(world: World, *, named: bool = False, **change: Any) -> str:
    config = SamplerConfig(**{"allow_fewer": True, **change.pop("config", {})})
    counts = np.array(change.pop("counts", [30, 1, 5, 9]))
    clustering = change.pop("clustering", world.clustering)
    receipt = {"client_id": change.pop("client", "hospital")}
    answer = world.root / "scores" / str(receipt) / clustering.id
    scores = write_scores(clustering, counts[: clustering.clusters], Location.of(answer), ACCOUNT, receipt)
    choice = Choice(**{"budget": 12, "sampler": "ecos", "config": config, "seed": 0, **change})
    chosen = Selecting(world.lake, clustering, choice, Location.of(world.root / "picks"), named=named)
    chosen.check()
    return chosen.select(scores.folder).digest


SELECTION: dict[str, Any] = {
    "budget": {"budget": 13},
    "seed": {"seed": 1},
    "sampler": {"sampler": "dsir"},
    "scores": {"client": "another hospital"},
    "counts": {"counts": [30, 1, 5, 10]},
    "clustering": lambda world: {"clustering": world.other},
    "continue_from": lambda world: {"continue_from": _earlier(world)},
    **{
        f"config.{name}": {"config": {name: value}}
        for name, value in fields_of(SamplerConfig).items()
        if name not in ("k_center_on", "allow_fewer")
    },
    "config.allow_fewer": {"config": {"allow_fewer": False}},
}


def _earlier(world: World) -> str:
    folder = Location.of(world.root / "earlier")
    choice = Choice(5, "random", SamplerConfig(), 3)
    return str(Selecting(world.lake, world.clustering, choice, folder).select(None).folder)


def named_selection(world: World, **change: Any) -> str:
    return selection(world, named=True, **change)


# Trainings


def trained(world: World, **change: Any) -> str:
    picks = world.root / "train-picks"
    if not picks.exists():
        choice = Choice(20, "random", SamplerConfig(), 0)
        Selecting(world.lake, world.clustering, choice, Location.of(picks)).select(None)
        for name in ("test", "relabelled"):
            write_pictures(world.root / name, 8, 5)
        moved = next((world.root / "relabelled").rglob("*.png"))
        moved.rename(moved.parent.parent / "class3" / "moved.png")
    lake = Location.of(change.get("lake", world.where))
    done = train(
        str(lake),
        str(change.get("selection", picks)),
        str(world.root / "model"),
        TrainConfig(**change.get("config", {})),
        labels=change.get("labels"),
        test=str(world.root / change.get("test", "test")),
    )
    return f"{done.digest} {done.metrics['made']}" if "made" in done.metrics else done.digest


def _other_picks(world: World) -> dict[str, Any]:
    choice = Choice(20, "random", SamplerConfig(), 4)
    folder = Location.of(world.root / "other-picks")
    return {"selection": Selecting(world.lake, world.clustering, choice, folder).select(None).folder}


def _labels(world: World) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = [row["sample_id"] for row in _rows(world.lake)]
    (world.root / "labels").mkdir()
    table = pa.table({"sample_id": ids, "label": [f"class{number % 2}" for number in range(len(ids))]})
    pq.write_table(table, world.root / "labels" / "labels.parquet")
    return {"labels": str(world.root / "labels")}


def _rows(lake: Lake) -> list[dict[str, Any]]:
    return [
        row
        for shard in lake.snapshot().shards
        for row in lake.read_images(shard, ["sample_id", "label"]).to_pylist()
    ]


TRAINING: dict[str, Any] = {
    "selection": _other_picks,
    "labels": _labels,
    "test": {"test": "relabelled"},
    **{f"config.{name}": {"config": {name: value}} for name, value in fields_of(TrainConfig).items()},
    "config.label_set": {"config": {"label_set": ("class0", "class1", "class2", "class3")}},
}


# Checkpoints, teachers, features of test sets


def checkpoint(world: World, **change: Any) -> str:
    import torch

    asked: list[int] = []

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        asked.append(1)
        yield torch.ones(2, 3)

    def loss(network: Any, batch: Any) -> tuple[Any, dict[str, float]]:
        return network(batch).square().mean(), {}

    inputs = {"lake": "l", "extractor": "e", "train": "t", **change.get("inputs", {})}
    config = TrainConfig(**{"epochs": 2, "device": "cpu", **change.get("config", {})})
    torch.manual_seed(0)
    objective = loop.Objective(batches, 1, loss, inputs=inputs)
    loop.fit(
        torch.nn.Linear(3, 1), objective, config, change.get("seed", 1), Location.of(world.root / "scratch")
    )
    return f"trained {len(asked)} epochs" if asked and (world.root / "asked").exists() else _first(world)


def _first(world: World) -> str:
    (world.root / "asked").touch()
    return "found"


CHECKPOINT: dict[str, Any] = {
    "seed": {"seed": 2},
    **{f"inputs.{role}": {"inputs": {role: "other"}} for role in ("lake", "extractor", "train")},
    **{
        f"config.{name}": {"config": {name: value}}
        for name, value in fields_of(TrainConfig).items()
        if name not in ("device", "precision")
    },
}


def job(world: World, lake: Lake, **change: Any) -> Job:
    snapshot = lake.snapshot(change.get("snapshot"))
    config = TrainConfig(c=change.get("c", 0.01))
    fingerprint = change.get("fingerprint", world.clustering.fingerprint)
    empty = LabelledImages([], [], [], {})
    scratch = Location.of(world.root / "scratch")
    return Job(config, 1, empty, None, lake, snapshot, lambda: extractor(), fingerprint, scratch)


def teacher(world: World, **change: Any) -> str:
    lake = Lake.open(world.where)
    if change.pop("grown", False):
        _grow(world)
        extract_lake(lake, extractor())
    if change.pop("extractor", False):
        change["fingerprint"] = extract_lake(lake, extractor("1")).fingerprint
    before = set(lake.folder("teachers").names())
    train_teacher(job(world, lake, **change))
    return "".join(set(lake.folder("teachers").names()) - before) or "found"


def _grow(world: World) -> None:
    write_pictures(world.root / "more", 12, 2)
    ingest(world.root / "more", Lake.open(world.where), licence="CC0-1.0")


def features_of_test_set(world: World, **change: Any) -> str:
    lake = Lake.open(world.where)
    source = world.root / "tested"
    if not source.exists():
        write_pictures(source, 4, 6)
    files = sorted(source.rglob("*.png"))
    data = [file.read_bytes() for file in files]
    if change.get("content"):
        data[0] = data[1]
    test = LabelledImages([file.name for file in files], data, [file.parent.name for file in files], {})
    fingerprint = extract_lake(lake, extractor("2")).fingerprint if change.get("extractor") else None
    one = job(world, lake, **({"fingerprint": fingerprint} if fingerprint else {}))
    folder = lake.folder("features") / one.fingerprint / "test-sets"
    before = set(folder.names())
    one.test_features(test)
    return "".join(set(folder.names()) - before) or "found"


# Features, clusterings, near-duplicates


def features(world: World, **change: Any) -> str:
    lake = Lake.open(world.where)
    if change.pop("grown", False):
        _grow(world)
    return extract_lake(lake, change.pop("extractor", extractor()), **change).digest


def clustering(world: World, **change: Any) -> str:
    lake = Lake.open(world.where)
    if change.pop("grown", False):
        _grow(world)
    found = extract_lake(lake, change.pop("extractor", extractor()), dtype=change.pop("dtype", "float16"))
    return cluster_lake(lake, found, **{"clusters": 4, **change}).id


def duplicates(world: World, **change: Any) -> str:
    return find_duplicates(world.lake, change.get("clustering", world.clustering)).digest


# Ingests that were interrupted


def resumed(world: World, **change: Any) -> str:
    """The snapshot that an interrupted and resumed ingest ends in; a name of its own where it took old parts."""
    source, target = world.root / "to-ingest", world.root / "ingested"
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.rmtree(world.root / "clean", ignore_errors=True)
    write_pictures(source, 120, 9)
    lake = Lake.create(target)
    options = {"licence": "CC0-1.0", "domain": "d", "source": "s", "attribution": "a", "target_bytes": 30_000}

    def stop(report: Progress, /) -> None:
        if report.done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(source, lake, progress=stop, **options)
    files = sorted(source.rglob("*.png"))
    if change.get("content"):
        for file in files:
            file.write_bytes(file.read_bytes() + b"\0")
    if change.get("added"):
        shutil.copy(files[0], files[0].with_name("0.png"))
    if change.get("removed"):
        files[1].unlink()
    options |= {name: value for name, value in change.items() if name in options}
    report = ingest(source, lake, **options)
    clean = ingest(source, Lake.create(world.root / "clean"), **options)
    assert report.snapshot == clean.snapshot, "the same bytes as if it had not been interrupted"
    held = {row["sample_id"] for row in _rows(lake)}
    current = {hashlib.sha256(file.read_bytes()).hexdigest() for file in source.rglob("*.png")}
    assert held == current
    return report.snapshot


# Scores, comparisons, imports


def scores(world: World, **change: Any) -> str:
    name = f"{change.pop('client', 'one')}-{change.get('gamma', 1)}"  # a client allows one gamma
    home = world.root / name
    asked = change.pop("clustering", world.clustering)
    if not home.exists():
        held = np.random.default_rng(len(name)).normal(size=(120, 12)).astype(np.float32)
        policy = Policy.model_validate(
            {"epsilon": 50.0, "delta": 1e-5, "answer_after_seconds": 0.0, "adjacency": "add-remove"}
            | {"gamma": change.get("gamma", 1.0)}
        )
        init_home_from_features(home, policy, features=held, fingerprint=asked.fingerprint)
    privacy = PrivacyConfig(**{"sigma": 4.0, **change})
    with serving(open_home(home)) as url:
        client = ClientConfig(url=url, token_file=str(home / "token"))
        return request_scores(world.lake, asked, client, privacy, world.lake.folder("scores")).manifest.digest


def comparison(world: World, **change: Any) -> str:
    out = world.root / "compared"
    values: dict[str, Any] = {
        "index": {"lake": world.where, "clusters": 4},
        "client": {"url": "http://127.0.0.1:1", "token_file": "token"},
        "out": str(out),
        "test": "test",
        "budgets": [10],
        "seeds": [1],
        "samplers": ["ecos"],
        **change.get("config", {}),
    }
    config = OutsourceConfig.model_validate(values)
    manifest = Manifest(kind="selection", parameters={"of": change.get("selection", "one")})
    selected = StoredSelection(Location.of(world.root / "picked"), manifest)
    model = Trained("model", change.get("model", "one"), {"accuracy_mean": 0.5, "seeds": []})
    sampled = Sampled(world.clustering.id, selected, None)
    cells = [Cell("ecos", 10, Use.LINEAR_PROBE, 1, world.clustering, sampled, model)]
    earlier = earlier_comparison(config, cells)
    if earlier is not None:
        return earlier.run
    run = f"run {next(RUNS)}"
    return write_comparison(config, cells, summarise(cells, client="c"), "<html>", run, "e").run


RUNS = itertools.count()


def imported(world: World, **change: Any) -> str:
    out, labels = world.root / "handed", world.root / "imported"
    if not out.exists():
        picks = Location.of(world.root / "hand-picks")
        choice = Choice(6, "random", SamplerConfig(), 0)
        Selecting(world.lake, world.clustering, choice, picks).select(None)
        export_handoff(picks, world.lake, out, format="csv", label_set=["yes", "no"])
    returned = world.root / "returned.csv"
    ids = [row["sample_id"] for row in _rows(world.lake)][:3]
    answers = change.get("answers", ["yes", "no", "yes"])
    lines = [f"{sample},{label}" for sample, label in zip(ids, answers, strict=True)]
    returned.write_text("\n".join(["sample_id,label", *lines]) + "\n")
    options = {name: value for name, value in change.items() if name != "answers"}
    report = import_handoff(out, returned, labels, **options)
    return "found" if report.repeated else f"taken in {next(RUNS)}"


def first_then(make: Callable[..., str]) -> Callable[..., str]:
    """For artefacts that tell only whether they were found: the first making is called found too."""

    def made(world: World, **change: Any) -> str:
        mark = world.root / f"{make.__name__}-made"
        found = make(world, **change)
        if mark.exists():
            return found
        mark.touch()
        return "found"

    made.__name__ = make.__name__
    return made


Change = dict[str, Any] | Callable[[World], dict[str, Any]]
KINDS: dict[str, tuple[Callable[..., str], dict[str, Change]]] = {
    "selection": (selection, SELECTION),
    "selection of its own name": (named_selection, SELECTION),
    "training": (trained, TRAINING),
    "checkpoint": (checkpoint, CHECKPOINT),
    "teacher": (
        first_then(teacher),
        {"c": {"c": 0.5}, "lake": {"grown": True}, "extractor": {"extractor": True}},
    ),
    "test set's features": (
        first_then(features_of_test_set),
        {"content": {"content": True}, "extractor": {"extractor": True}},
    ),
    "features": (
        features,
        {
            "lake": {"grown": True},
            "weights": lambda world: {"extractor": extractor("1")},
            "image size": lambda world: {"extractor": extractor(image_size=48)},
            "dtype": {"dtype": "float32"},
            "projection": {"projection": 4},
        },
    ),
    "clustering": (
        clustering,
        {
            "lake": {"grown": True},
            "extractor": lambda world: {"extractor": extractor("1")},
            "dtype": {"dtype": "float32"},
            "clusters": {"clusters": 5},
            "seed": {"seed": 1},
            "spherical": {"spherical": True},
            "iterations": {"iterations": 3},
        },
    ),
    "near-duplicates": (duplicates, {"clustering": lambda world: {"clustering": world.other}}),
    "ingest": (
        resumed,
        {
            "content": {"content": True},
            "added": {"added": True},
            "removed": {"removed": True},
            **{name: {name: "other"} for name in ("domain", "source", "attribution")},
            "licence": {"licence": "MIT"},
        },
    ),
    "scores": (
        scores,
        {
            "client": {"client": "another"},
            "sigma": {"sigma": 5.0},
            "gamma": {"gamma": 0.5},
            "clustering": lambda world: {"clustering": world.other},
        },
    ),
    "comparison": (
        comparison,
        {
            "selection": {"selection": "two"},
            "model": {"model": "two"},
            "test": {"config": {"test": "other"}},
            "budgets": {"config": {"budgets": [10, 20]}},
            "seeds": {"config": {"seeds": [1, 2]}},
            "sampling": {"config": {"sampling": {"power": 0.5}}},
            "privacy": {"config": {"privacy": {"epsilon": 0.1}}},
            "training": {"config": {"training": {"c": 1.0}}},
        },
    ),
    "import": (
        first_then(imported),
        {
            "final": {"final": True},
            "annotator": {"annotator": "ana"},
            "answers": {"answers": ["no", "no", "yes"]},
        },
    ),
}
CASES = [(kind, name) for kind, (_, changes) in KINDS.items() for name in changes]


@pytest.fixture(autouse=True)
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a use computes is not looked at here: only whether it is asked to."""
    outcome = Outcome({"w": np.zeros(2, np.float32)}, ("a", "b"), {}, None)
    monkeypatch.setattr(training, "_runner", lambda use: lambda job: replace(outcome))
    made = itertools.count()
    summarised = training._summarise
    monkeypatch.setattr(
        training, "_summarise", lambda job, rows: {**summarised(job, rows), "made": next(made)}
    )
    monkeypatch.setattr(training, "spread", lambda values: training_spread())
    monkeypatch.setattr(
        training, "_seed_row", lambda job, outcome: {"seed": job.seed, "test": {"accuracy": 1.0}}
    )


def training_spread() -> Any:
    from ecos_core.training.evaluation import spread

    return spread([1.0])


@pytest.mark.parametrize(("kind", "name"), CASES, ids=[f"{kind}: {name}" for kind, name in CASES])
def test_nothing_old_is_taken_when_anything_changed(kind: str, name: str, world: World) -> None:
    make, changes = KINDS[kind]
    change = changes[name]
    old = make(world)
    assert make(world) == old, "the same again is found"
    values = change(world) if callable(change) else dict(change)
    try:
        new = make(world, **values)
    except InputError as error:
        assert "holds another" in str(error)
        return
    assert new != old


@pytest.mark.parametrize("model", [SamplerConfig, TrainConfig])
def test_every_setting_is_in_the_table(model: type[BaseModel]) -> None:
    table = SELECTION if model is SamplerConfig else TRAINING
    missing = {f"config.{name}" for name in model.model_fields} - table.keys()
    assert missing <= {"config.k_center_on"}, "a GPU is asked for before anything is looked up"
