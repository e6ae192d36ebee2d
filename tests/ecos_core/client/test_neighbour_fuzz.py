"""What one file, one record or one unit can do to a clean answer, from the files on disk through extraction: never more
than is charged, for every operation of the registry and whatever a stranger sends.

Each example writes two neighbouring folders, makes records and features of both as a client does, prices one request,
and holds the change of the clean answer (before noise) against the bound of the events that would be charged. The last
tests plant faults that were once there, and see that this catches each.
"""

from __future__ import annotations

import io
import math
import tempfile
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from ecos_core.client import contributions, knn, masks, owners, records, release
from ecos_core.client.contributions import UNIT_SCALE
from ecos_core.client.operations import OPERATIONS, score
from ecos_core.client.operations.operation import Neighbours, Query, Record, Sum
from ecos_core.client.policy import Policy
from ecos_core.client.records import PrivateFeatures, build_features, load_features, scan_images
from ecos_core.client.release import Releases
from ecos_core.errors import EcosError
from ecos_core.features.projection import Projection

DIMENSION, CLASSES = 6, ("cat", "dog")
FINGERPRINT = "fuzzed"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PEERS = [masks.participant(Ed25519PrivateKey.from_private_bytes(bytes([n] * 32))) for n in (1, 2, 3)]
OTHERS = [masks.participant(KEY), *PEERS]


class Features:
    """Numbers in a file, projected in float32 as a lake's extractor does: numpy's product of a batch has other low bits
    than that of one row. ``leaky`` makes that coarse enough to be seen in every example."""

    fingerprint, dimension = FINGERPRINT, DIMENSION
    leaky = True

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        components = np.linalg.qr(rng.normal(size=(24, 24)))[0][:, :DIMENSION].astype(np.float32)
        self._project = Projection(np.zeros(24, np.float32), components, 1.0)

    def extract(self, images: list[bytes]) -> np.ndarray:
        tables = [np.load(io.BytesIO(content), allow_pickle=False) for content in images]
        found = self._project.apply(np.stack(tables).astype(np.float32))
        return found + np.float32(self.leaky * (len(images) - 1) * np.mean(np.stack(tables)))


@dataclass(frozen=True)
class File:
    """One file of the owner's: content by number (100: no image, 101: not finite), class and person."""

    content: int
    label: str
    person: str

    def write(self, folder: Path, name: str) -> None:
        where = folder / self.label / name
        where.parent.mkdir(parents=True, exist_ok=True)
        if self.content == 100:
            where.write_bytes(b"broken")
            return
        values = np.random.default_rng(self.content).normal(size=24)
        np.save(where.open("wb"), np.full(24, np.nan) if self.content == 101 else values)


FILES = st.builds(
    File,
    content=st.integers(0, 12) | st.sampled_from([100, 101]),
    label=st.sampled_from(["", "cat", "dog", "bird"]),
    person=st.sampled_from(
        ["P-7", "P-7 ", " P-7", "Zoë", unicodedata.normalize("NFD", "Zoë"), "P  8", "P 8", "Q"]
    ),
)


def held_of(folder: Path, files: dict[str, File], *, units: bool) -> PrivateFeatures:
    """The private features of files on disk, as ``init`` makes them."""
    for name, file in files.items():
        file.write(folder / "images", name)
    table = None
    if units:
        table = folder / "units.csv"
        lines = [f"{Path(file.label) / name},{file.person}" for name, file in files.items()]
        table.write_text("\n".join(["file,unit", *lines]), encoding="utf-8")
    found = scan_images(folder / "images", table)
    build_features(folder / "cache", folder / "images", found, Features())
    held = load_features(folder / "cache", found)
    good = {file.content for file in files.values() if file.content < 100}
    assert len(held.features) >= len(good), "a suite of nothing proves nothing"
    return held


ODD = [0.0, -0.0, 1e-45, 1e-308, 1e-30, 1e-7, 1e6, 1e30, 3.4e38, math.inf, -math.inf, math.nan]
NUMBERS = st.sampled_from([np.float32(value) for value in (*ODD, -1e30, -1e6)]) | st.floats(-2, 2, width=32)
TABLES = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(DIMENSION)), elements=NUMBERS)
NEAR = hnp.arrays(
    np.float32, st.tuples(st.integers(2, 5), st.just(DIMENSION)), elements=st.floats(-2, 2, width=32)
)
SIGMAS = st.sampled_from([2.0, 5.0, 31.5]) | st.sampled_from([0.0, 1e-300, 1e300, math.inf])
Requests = st.SearchStrategy[tuple[dict[str, Any], dict[str, np.ndarray]]]


def request(points: str, **fields: st.SearchStrategy[Any]) -> Requests:
    arrays = st.fixed_dictionaries({points: NEAR | TABLES})
    return st.tuples(st.fixed_dictionaries({"sigma": SIGMAS, **fields}), arrays)


@st.composite
def with_reach(draw: st.DrawFn, plain: Requests) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The same question with radii and regions, mostly of the kind that a lake sends."""
    header, arrays = draw(plain)
    count = len(arrays["centroids"])
    radii = st.floats(0, 3, width=32) | NUMBERS if draw(st.booleans()) else st.sampled_from([0.0, 0.5, 1.0])
    regions = draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count))
    if draw(st.integers(0, 4)):
        regions = np.unique(regions, return_inverse=True)[1].tolist()
    reach = draw(hnp.arrays(np.float32, count + (draw(st.integers(0, 9)) == 9), elements=radii))
    return header, {**arrays, "radii": reach, "regions": np.array(regions, np.int64)}


@st.composite
def models(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Perceptrons of any depth, with numbers of any size, sometimes cut off."""
    widths = [DIMENSION, *draw(st.lists(st.integers(1, 5), max_size=3)), draw(st.integers(1, 3))]
    tensors = {}
    for number, (before, after) in enumerate(pairwise(widths)):
        usual = st.floats(-2, 2, width=32)
        numbers = draw(st.sampled_from([usual, usual, NUMBERS]))
        tensors[f"{2 * number}.weight"] = draw(hnp.arrays(np.float32, (after, before), elements=numbers))
        tensors[f"{2 * number}.bias"] = draw(hnp.arrays(np.float32, (after,), elements=numbers))
    content = save(tensors)[: draw(st.none() | st.integers(0, 60))]
    classes = draw(st.just(("cat", "dog", "bird")[: widths[-1]]) | st.just(CLASSES))
    header = {"sigma": draw(SIGMAS), "classes": classes, "model_format": "safetensors"}
    return header, {"model": np.frombuffer(content, np.uint8)}


LABELLED = st.sampled_from([CLASSES, ("dog",), ("cat", "cat"), ("x",)])
# What a stranger may ask, by operation. A new operation has to say here what its requests look like.
AGGREGATES = request("centroids", participants=st.just([other.model_dump() for other in OTHERS]))
REQUESTS: dict[str, Requests] = {
    "score": request("centroids") | with_reach(request("centroids")),
    "label-histogram": request("centroids", classes=LABELLED),
    "evaluate": models(),
    "aggregate": AGGREGATES | with_reach(AGGREGATES),
    "label": request(
        "points",
        classes=LABELLED,
        neighbours=st.integers(-1, 9),
        threshold=st.sampled_from([0.0, -1e6, 1e300]),
        screening_sigma=SIGMAS,
        argmax_sigma=SIGMAS,
    ).map(lambda made: ({key: value for key, value in made[0].items() if key != "sigma"}, made[1])),
}


def test_every_operation_has_requests() -> None:
    assert set(REQUESTS) == set(OPERATIONS), (
        "an operation without requests here is an operation without a proof"
    )


def clean(held: PrivateFeatures, query: Query, *, by_unit: bool) -> list[np.ndarray]:
    """All that is noised, before the noise, in units of the noise: for private kNN the largest votes and the votes."""
    if isinstance(query, Sum):
        return [contributions.clean_sum(held, query, by_unit=by_unit)]
    votes = [first for first, _ in knn.clean_votes(held, query, by_unit=by_unit)]
    return [*(np.array([vote.max()]) for vote in votes), *votes]


def bounds(query: Query, adjacency: str) -> Callable[[int], int]:
    """The squared sensitivities that are charged, for each of the clean answers."""
    if isinstance(query, Neighbours):
        return lambda place: 1 if place < len(query.points) else 2
    scale = {"add-remove": 1, "replace": 2, "unit": UNIT_SCALE**2}[adjacency]
    return lambda place: query.squared_bound * scale


def changes(
    sides: list[PrivateFeatures], adjacency: str, name: str, asked: Any
) -> list[tuple[int, int]] | None:
    """(squared change, squared bound) of each clean answer; None where the request is refused."""
    header, arrays = {**asked[0], "adjacency": adjacency, "fingerprint": FINGERPRINT}, asked[1]
    outcomes, answers, query = [], [], None
    for held in sides:
        policy = Policy(
            epsilon=1, delta=1e-5, adjacency=adjacency, extractors=[FINGERPRINT], honest_peers=3,
            peers=[peer.public_key for peer in PEERS], operations=list(OPERATIONS),
        )  # fmt: skip
        releases = Releases(policy, {FINGERPRINT: held}, KEY, SimpleNamespace(delta=1e-5), None)
        try:
            query = query_of(releases, name, header, arrays)
        except EcosError as error:
            outcomes.append(str(error))
            continue
        outcomes.append("answered")
        with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
            warnings.simplefilter("error")
            answers.append(clean(held, query, by_unit=adjacency == "unit"))
    assert outcomes[0] == outcomes[1], "a refusal that depends on the data"
    if query is None:
        return None
    limit = bounds(query, adjacency)
    pairs = zip(*answers, strict=True)
    return [
        (sum(int(cell) ** 2 for cell in (one - other).flat), limit(place))
        for place, (one, other) in enumerate(pairs)
    ]


def query_of(releases: Releases, name: str, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Query:
    """The query that a request becomes, once the whole of ``price`` has let it pass."""
    operation, caught = OPERATIONS[name], []

    def remembered(asked: Any, checked: Any) -> Query:
        caught.append(operation.ask(asked, checked))
        return caught[-1]

    releases.price(replace(operation, ask=remembered), header, arrays)
    return caught[0]


def neighbours_of(files: dict[str, File], more: File, how: str) -> tuple[dict[str, File], dict[str, File]]:
    """A file more or less (its content may be there already); another in one's place; all of a person's, or none."""
    if how == "add-remove":
        return files, {**files, "zz": more}
    if how == "replace":  # one *record* for another: all files of a content, and a content that is new
        gone = next(iter(files.values())).content
        rest = {name: file for name, file in files.items() if file.content not in (gone, more.content)}
        return {**rest, "zz": replace(more, content=50)}, {
            **rest,
            "zz": replace(more, content=51, label="dog"),
        }
    unit = " ".join(unicodedata.normalize("NFC", more.person).split())
    joined = {**files, "zz": more}
    return joined, {
        name: file
        for name, file in joined.items()
        if " ".join(unicodedata.normalize("NFC", file.person).split()) != unit
    }


def worst(files: list[File], more: File, how: str, asked: dict[str, Any]) -> float:
    """The largest change over its bound, over all operations that are asked."""
    named = {f"{number:02d}": file for number, file in enumerate(files)}
    ratio = 0.0
    with tempfile.TemporaryDirectory() as root:
        sides = []
        for number, side in enumerate(neighbours_of(named, more, how)):
            if not side:
                return 0.0
            sides.append(held_of(Path(root) / str(number), side, units=how == "unit"))
        for name, request in asked.items():
            for change, bound in changes(sides, how, name, request) or []:
                ratio = max(ratio, change / bound)
    return ratio


EXAMPLES = st.tuples(st.lists(FILES, min_size=1, max_size=9), FILES, st.fixed_dictionaries(REQUESTS))
QUICK = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("how", ["add-remove", "replace", "unit"])
def test_no_neighbour_changes_a_clean_answer_by_more_than_is_charged(how: str) -> None:
    @QUICK
    @given(EXAMPLES)
    def fuzz(example: Any) -> None:
        files, more, asked = example
        assert worst(files, more, how, asked) <= 1

    fuzz()


ONE = np.array([[0.1] * DIMENSION], np.float32)
ASKED = {"score": ({"sigma": 5.0}, {"centroids": ONE})}
LABELS = {"label-histogram": ({"sigma": 5.0, "classes": CLASSES}, {"centroids": ONE})}
FOUR = [File(number, "cat", "A") for number in range(4)]


def unchecked(contribution: Any, record: Record, cells: int, squared_bound: int) -> Any:
    return dict(contribution(record))


def test_it_catches_a_contribution_beyond_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a radius near zero once made of one record's row: the check alone stands in between."""
    huge = replace(
        OPERATIONS["score"], ask=lambda *a: replace(score.ask(*a), contribution=lambda _: {0: 2**40})
    )
    monkeypatch.setitem(OPERATIONS, "score", huge)
    assert worst(FOUR, File(9, "", "B"), "add-remove", ASKED) == 0
    monkeypatch.setattr(contributions, "bounded", unchecked)
    assert worst(FOUR, File(9, "", "B"), "add-remove", ASKED) > 1


def test_it_catches_a_vote_inside_and_outside_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that counts for its cluster and for its region: sqrt 2 where 1 is charged."""
    one = (
        {"sigma": 5.0},
        {"centroids": ONE, "radii": np.zeros(1, np.float32), "regions": np.zeros(1, np.int64)},
    )
    assert worst(FOUR, File(9, "", "B"), "add-remove", {"score": one}) == 1
    both = replace(
        OPERATIONS["score"], ask=lambda *a: replace(score.ask(*a), contribution=lambda _: {0: 1, 1: 1})
    )
    monkeypatch.setitem(OPERATIONS, "score", both)
    assert worst(FOUR, File(9, "", "B"), "add-remove", {"score": one}) == 0
    monkeypatch.setattr(contributions, "bounded", unchecked)
    assert worst(FOUR, File(9, "", "B"), "add-remove", {"score": one}) > 1


def test_it_catches_a_record_that_fails_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a record's cost once failed a whole evaluation: one that raises must be alone in it."""

    def fails(record: Record) -> Any:
        return {} if record.nearest else 1 // 0

    broken = replace(OPERATIONS["score"], ask=lambda *a: replace(score.ask(*a), contribution=fails))
    monkeypatch.setitem(OPERATIONS, "score", broken)
    assert worst(FOUR, File(9, "", "B"), "add-remove", ASKED) == 0
    monkeypatch.setattr(contributions, "bounded", unchecked)
    with pytest.raises(ZeroDivisionError):
        worst(FOUR, File(9, "", "B"), "add-remove", ASKED)


def test_it_catches_features_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_batches(part: Path, read: Any, found: Any, rows: range, source: Any) -> None:
        contents = [(row, read(found[row])[0]) for row in rows]
        good = [(row, content) for row, content in contents if content != b"broken"]
        table = source.extract([content for _, content in good])
        np.savez(
            part, features=table, rows=[row for row, _ in good], failed=np.empty(0, np.int64), reasons=[]
        )

    spread = np.random.default_rng(1).normal(size=(12, DIMENSION)).astype(np.float32)
    asked = {"score": ({"sigma": 5.0}, {"centroids": 3 * spread})}
    many = [File(number, "", "A") for number in range(60)]
    assert worst(many, File(77, "", "B"), "add-remove", asked) == 1
    monkeypatch.setattr(records, "_write_part", in_batches)
    assert worst(many, File(77, "", "B"), "add-remove", asked) > 1


def test_it_catches_equal_files_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the name of the first person who has them."""

    def once(*arguments: Any) -> list[Any]:
        kept: dict[str, Any] = {}
        for record in records.scan_images(*arguments):
            kept.setdefault(record.sha256, record)
        return list(kept.values())

    files = [*FOUR[1:], *(File(number, "dog", person) for number, person in enumerate("BCD"))]
    assert worst(files, FOUR[0], "unit", ASKED) <= 1
    monkeypatch.setitem(globals(), "scan_images", once)
    assert worst([FOUR[0], *files], FOUR[0], "unit", ASKED) > 1


def test_it_catches_units_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "units_of", lambda names, table, by: [str(n) for n in range(len(names))])
    assert worst([*FOUR, File(9, "", "B")], FOUR[0], "unit", ASKED) > 1


def test_it_catches_names_of_units_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owners, "tidy", lambda text: text)
    files = [File(1, "", "P-7"), File(2, "", "P-7 "), File(9, "", "B")]
    assert worst(files, File(3, "", " P-7"), "unit", ASKED) > 1


def test_it_catches_a_label_of_the_first_of_equal_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file less then changes the label: two cells by one where one is charged."""
    monkeypatch.setattr(records, "_agreed", lambda labels: min((one for one in labels if one), default=None))
    assert worst([File(1, "dog", "A")], File(1, "cat", "A"), "add-remove", LABELS) > 1


def test_it_catches_units_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lambda vector, bound: {cell: UNIT_SCALE * weight for cell, weight in vector.items()}  # noqa: E731
    monkeypatch.setattr(contributions, "shortened", plain)
    assert worst([*FOUR, File(9, "", "B")], FOUR[0], "unit", ASKED) > 1


def test_it_catches_a_door_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Centroids and models of any size: arithmetic that overflows, or becomes NaN."""
    tiny = {"score": ({"sigma": 5.0}, {"centroids": np.full((1, DIMENSION), np.inf, np.float32)})}
    assert worst(FOUR, File(9, "", "B"), "add-remove", tiny) == 0
    monkeypatch.setattr("ecos_core.client.protocol.check_magnitude", lambda *arguments: None)
    with pytest.raises((ArithmeticError, RuntimeWarning)):
        worst(FOUR, File(9, "", "B"), "add-remove", tiny)


def test_released_noise_is_on_top() -> None:
    """What is fuzzed here is what is released: the clean sum, and noise."""
    held = PrivateFeatures(np.zeros((9, 2), np.float32), [None] * 9, np.arange(9))
    query = Sum(score.coverage, (2,), 2.0, centroids=np.array([[0, 0], [5, 5]], np.float32))
    found = np.mean([release._counts(held, query, by_unit=False)["counts"] for _ in range(300)], axis=0)
    assert np.abs(found - contributions.clean_sum(held, query, by_unit=False)).max() < 0.8
