from __future__ import annotations

import io
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecos_core.client import records
from ecos_core.client.home import add_extractor, check_ready, init_home, open_home
from ecos_core.client.policy import Policy, agree_on_extractor, read_policy, write_policy
from ecos_core.errors import EcosError, InputError, IntegrityError
from ecos_core.storage import sha256_hex
from tests.client_support import make_home, some_features

POLICY = Policy(epsilon=2.0, delta=1e-5, minimum_records=1)


class ColourExtractor:
    """Mean colour: a real function of the image, without a network."""

    fingerprint = "mean-colour"
    dimension = 3

    def __init__(self) -> None:
        self.seen = 0

    def extract(self, images: list[bytes]) -> np.ndarray:
        try:
            tables = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in images]
        except OSError as error:
            raise InputError("not an image") from error
        self.seen += len(images)
        return np.stack([table.reshape(-1, 3).mean(axis=0) for table in tables]).astype(np.float32)

    def save(self, folder: str) -> None:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "extractor.json").write_text("{}")


def draw_images(folder: Path, count: int = 10) -> Path:
    for number in range(count):
        where = folder / ("cat" if number % 2 else "dog")
        where.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 2 * number, 99)).save(where / f"{number}.png")
    return folder


def test_a_home_holds_what_it_should_and_nobody_else_may_look(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    (images / "cat" / "broken.png").write_bytes(b"no image")
    (images / "cat" / "copy.png").write_bytes((images / "cat" / "1.png").read_bytes())
    home = init_home(tmp_path / "home", POLICY, images=images, extractors=[ColourExtractor()])
    held = home.features("mean-colour")
    assert len(held.features) == 10
    assert held.set_aside == {"not a readable image": 1}
    assert sorted(held.labels, key=str) == ["cat"] * 5 + ["dog"] * 5
    for name in ("key.pem", "token", "tokens.json"):
        assert stat.S_IMODE((home.path / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    token = (home.path / "token").read_text().strip()
    assert token not in (home.path / "tokens.json").read_text()
    assert home.tokens.who(token) == "first"
    assert home.identity.data_version not in sha256_hex(b"") and len(home.identity.data_version) == 32


@pytest.mark.parametrize("layout", ["", "cat", "photo/cat"])
def test_every_layout_is_read(tmp_path: Path, layout: str) -> None:
    where = tmp_path / "images" / layout
    where.mkdir(parents=True)
    (where / "a.png").write_bytes(b"x")
    (record,) = records.scan_images(tmp_path / "images")
    assert record.label == (where.name if layout else None)


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = draw_images(tmp_path / "images")
    monkeypatch.setattr(records, "PART", 4)

    class Interrupted(ColourExtractor):
        def extract(self, batch: list[bytes]) -> np.ndarray:
            if self.seen >= 4:
                raise KeyboardInterrupt
            return super().extract(batch)

    with pytest.raises(KeyboardInterrupt):
        init_home(tmp_path / "home", POLICY, images=images, extractors=[Interrupted()])
    first = open_home(tmp_path / "home").identity
    extractor = ColourExtractor()
    home = init_home(tmp_path / "home", POLICY, images=images, extractors=[extractor])
    assert home.identity == first
    assert extractor.seen == 6
    assert len(home.features("mean-colour").features) == 10


def test_an_image_that_changed_is_not_silently_used(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images")
    home = init_home(tmp_path / "home", POLICY, images=images, extractors=[ColourExtractor()])
    Image.new("RGB", (8, 8), (200, 0, 0)).save(images / "dog" / "0.png")
    (images / "dog" / "2.png").unlink()
    another = ColourExtractor()
    another.fingerprint = "another"
    add_extractor(home, another)
    assert home.features("another").set_aside == {
        "changed since the home was made": 1,
        "cannot be read": 1,
    }


def test_units_come_from_a_table(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", 4)
    table = tmp_path / "units.csv"
    table.write_text(
        "\ufefffile;unit\ndog/0.png;anna \ncat/1.png;an\u0303a\ndog/2.png; a\u00f1a\ncat/3.png;ben  b\n"
    )
    home = init_home(tmp_path / "home", POLICY, images=images, extractors=[ColourExtractor()], units=table)
    assert [record.unit for record in home.records()] == ["a\u00f1a", "ben b", "anna", "a\u00f1a"]
    assert home.features("mean-colour").units.tolist() == [1, 2, 0, 1]


ROWS = ["dog/0.png,anna", "cat/1.png,anna", "dog/2.png,ben", "cat/3.png,ben"]


@pytest.mark.parametrize(
    ("header", "rows", "reason"),
    [
        ("file,unit", ROWS[:2], r"says nothing about 2 of 4 files \(the first is number 2 in the order"),
        ("file,unit", [*ROWS, "dog/9.png,ben"], "row 5 names a file that is not there"),
        ("file,unit", [*ROWS, "cat/1.png,ben"], "row 5 says another unit than row 2"),
        ("file,unit", [*ROWS[:3], "cat/3.png,  "], "row 4 has no unit"),
        ("file,unit", [*ROWS[:3], "cat/3.png"], "row 4 has no unit"),
        ("file,unit", [*ROWS[:3], "cat/3.png,ben,x"], "row 4 has more cells"),
        ("file,unit", [*ROWS, ",ben"], "row 5 names no file"),
        ("a,b", ["1,2"], "columns 'file' and 'unit'"),
        ("", [], "columns 'file' and 'unit'"),
    ],
)
def test_a_gap_in_the_units_is_an_error_that_names_the_row(
    tmp_path: Path, header: str, rows: list[str], reason: str
) -> None:
    images = draw_images(tmp_path / "images", 4)
    table = tmp_path / "units.csv"
    table.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(InputError, match=reason) as caught:
        records.scan_images(images, table)
    assert not any(name in str(caught.value) for name in ("anna", "ben", ".png"))


def test_one_owner_may_be_said_twice(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", 4)
    table = tmp_path / "units.csv"
    table.write_text("file,unit\n" + "\n".join([*ROWS, " cat/1.png , anna"]))
    assert len(records.scan_images(images, table)) == 4


def test_equal_files_are_one_record_of_each_unit(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("cat/a", "cat/b", "dog/c", "dog/d"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(b"same")
    (only,) = records.scan_images(images)
    assert only.label is None, "its files disagree"
    table = tmp_path / "units.csv"
    table.write_text("file,unit\ncat/a,anna\ncat/b,ben\ndog/c,ben\ndog/d,carl\n")
    found = {record.unit: record.label for record in records.scan_images(images, table)}
    assert found == {"anna": "cat", "ben": None, "carl": "dog"}


def test_units_need_a_table(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", 4)
    by_unit = POLICY.model_copy(update={"adjacency": "unit"})
    with pytest.raises(InputError, match="whose each one is with --units"):
        init_home(tmp_path / "home", by_unit, images=images, extractors=[ColourExtractor()])
    with pytest.raises(InputError, match="whose each one is with --units"):
        make_home(tmp_path / "ready", adjacency="unit")
    home = init_home(tmp_path / "home", POLICY, images=images, extractors=[ColourExtractor()])
    path = home.path / "policy.yaml"
    path.write_text(path.read_text().replace("adjacency: add-remove", "adjacency: unit"))
    with pytest.raises(InputError, match="whose each one is with --units"):
        check_ready(open_home(home.path))


def test_ready_features_have_units_and_labels_by_row(tmp_path: Path) -> None:
    units, labels = tmp_path / "units.csv", tmp_path / "labels.csv"
    units.write_text("row,unit\n" + "".join(f"{row},p{row % 40}\n" for row in range(120)))
    labels.write_text("row,label\n" + "".join(f"{row},{'cat' if row % 2 else 'NA'}\n" for row in range(60)))
    home = make_home(tmp_path / "home", some_features(120), units=units, labels=labels, adjacency="unit")
    held = home.features(home.policy.extractors[0])
    assert len(set(held.units.tolist())) == 40
    assert list(held.labels[:3]) == [None, "cat", None] and set(held.labels[60:]) == {None}
    units.write_text(units.read_text() + "120,p1\n")
    with pytest.raises(InputError, match="row 121 names a row that is not there"):
        make_home(tmp_path / "other", some_features(120), units=units)
    units.write_text("row,unit\n0,p\n")
    with pytest.raises(InputError, match=r"119 of 120 rows \(the first is row 1\)"):
        make_home(tmp_path / "other", some_features(120), units=units)


class Batched(ColourExtractor):
    """One whose features depend on what else it is given: the fault that one at a time is there against."""

    fingerprint = "batched"

    def extract(self, images: list[bytes]) -> np.ndarray:
        return super().extract(images) + np.float32(len(images) - 1)


def test_every_image_is_extracted_alone(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", 40)
    home = init_home(tmp_path / "home", POLICY, images=images, extractors=[Batched()])
    held = home.features("batched")
    alone = [Batched().extract([(images / record.file).read_bytes()])[0] for record in home.records()]
    assert np.array_equal(held.features, np.stack(alone))


def test_a_cache_made_in_batches_is_made_again_once_where_the_images_are(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", 6)
    home = init_home(tmp_path / "home", POLICY, images=images, extractors=[ColourExtractor()])
    cache, records_held = home.cache("mean-colour"), home.records()
    honest = np.load(cache / "private_features.npy")

    def as_before() -> None:
        (cache / "private_cache.json").unlink()
        np.save(cache / "private_features.npy", honest + 1)

    as_before()
    records.build_features(cache, images, records_held, ColourExtractor())
    assert np.array_equal(home.features("mean-colour").features, honest)
    again = ColourExtractor()
    records.build_features(cache, images, records_held, again)
    assert again.seen == 0

    as_before()
    (images / "dog" / "0.png").unlink()
    records.build_features(cache, images, records_held, ColourExtractor())
    assert np.array_equal(home.features("mean-colour").features, honest + 1), "an image is gone: it stays"


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no files"):
        records.scan_images(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        records.scan_images(tmp_path / "absent")
    with pytest.raises(InputError, match="no client here"):
        open_home(tmp_path / "empty")
    with pytest.raises(InputError, match="3 usable images, the policy asks for 100"):
        make_home(tmp_path / "few", some_features(3))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(InputError, match="not empty"):
        make_home(tmp_path / "full")
    with pytest.raises(InputError, match="finite"):
        make_home(tmp_path / "nan", np.full((200, 3), np.nan))
    assert not list(tmp_path.glob(".tmp-*"))


def test_another_folder_of_images_is_refused(tmp_path: Path) -> None:
    images = draw_images(tmp_path / "images", 2)
    init_home(tmp_path / "home", POLICY, images=images, extractors=[ColourExtractor()])
    with pytest.raises(InputError, match="other images"):
        init_home(tmp_path / "home", POLICY, images=tmp_path, extractors=[ColourExtractor()])
    units = tmp_path / "units.csv"
    units.write_text("file,unit\ndog/0.png,anna\ncat/1.png,anna\n")
    with pytest.raises(InputError, match="other units"):
        init_home(tmp_path / "home", POLICY, images=images, extractors=[ColourExtractor()], units=units)
    with pytest.raises(InputError, match="there is a client here"):
        make_home(tmp_path / "home")


def test_a_raised_limit_is_written_into_the_chain_and_delta_never_changes(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", epsilon=2.0)
    path = home.path / "policy.yaml"
    path.write_text(path.read_text().replace("epsilon: 2\n", "epsilon: 3\n"))
    book = open_home(home.path).open_ledger()
    assert book.limits.total == 3.0
    assert book.verify().entries == 2
    path.write_text(path.read_text().replace("delta: 1e-05", "delta: 0.1"))
    with pytest.raises(InputError, match="delta"):
        open_home(home.path).open_ledger()


def test_a_ledger_put_back_to_an_older_state_is_refused(tmp_path: Path) -> None:
    import shutil

    from ecos_core.client.engine import Engine
    from ecos_core.client.operations.score import score_request
    from tests.client_support import FINGERPRINT, some_centroids

    home = make_home(tmp_path / "home")
    engine = Engine(home)
    engine.answer(score_request(some_centroids(), sigma=6, fingerprint=FINGERPRINT).encode(), "first")
    engine._ledger.close()
    database = home.path / "ledger" / "ledger.sqlite"
    shutil.copy(database, tmp_path / "old.sqlite")
    engine.answer(score_request(some_centroids(), sigma=7, fingerprint=FINGERPRINT).encode(), "first")
    engine._ledger.close()
    shutil.copy(tmp_path / "old.sqlite", database)
    with pytest.raises(IntegrityError, match="rolled back"):
        Engine(open_home(home.path))


def test_the_policy_file_says_what_it_means(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    policy = Policy(
        epsilon=1.5, delta=1e-6, extractors=["a", "b"], stated_records=1000, requesters=["x"], approval=["x"]
    )
    write_policy(path, policy)
    assert read_policy(path) == policy
    assert all(f"\n{rule}:" in path.read_text() for rule in Policy.model_fields)
    agree_on_extractor(path, "c")
    agree_on_extractor(path, "c")
    assert read_policy(path) == policy.model_copy(update={"extractors": ["a", "b", "c"]})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epsilon: [", "not valid YAML"),
        ("- 1", "policy"),
        ("epsilon: 1\ndelta: 1e-5\nepsilonn: 3", "epsilonn"),
        ("epsilon: .inf\ndelta: 0.00001", "epsilon"),
        ("epsilon: 1\ndelta: 0.00001\noperations: [read]", "operations"),
    ],
)
def test_a_wrong_policy_is_refused_by_the_rule_that_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(EcosError, match=reason) as caught:
        read_policy(path)
    assert "\n" not in str(caught.value)


def test_tokens_are_added_and_revoked(tmp_path: Path) -> None:
    store = make_home(tmp_path / "home").tokens
    token = store.add("cloud-b")
    assert store.who(token) == "cloud-b"
    assert store.who(token + "x") is None
    with pytest.raises(InputError, match="already"):
        store.add("cloud-b")
    with pytest.raises(InputError, match="letters"):
        store.add("../x")
    store.revoke("cloud-b")
    assert store.who(token) is None
    with pytest.raises(InputError, match="no such token"):
        store.revoke("cloud-b")
