import io
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecos_core.errors import InputError, IntegrityError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.sources import SourceItem, open_source
from tests.ecos_core.lake.test_ingest import make_images, rows
from tests.ecos_core.lake.zoo import encode, plain


def picture(value: int) -> bytes:
    return encode(plain((value, 0, 255 - value)), "PNG")


@pytest.fixture
def lake(tmp_path):
    return Lake.create(tmp_path / "lake")


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


MEMBERS = [
    ("0001.png", picture(1)),
    ("0001.cls", b"7"),
    (
        "0002.json",
        json.dumps({"label": "dog", "domain": "sketch", "license": "CC0", "author": "Ann"}).encode(),
    ),
    ("0002.png", picture(2)),
    ("art/cat/0003.png", picture(3)),
    ("0004.txt", b"only a caption"),
    ("0005.json", b"{broken"),
    ("0005.png", picture(5)),
]


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_webdataset_tar(lake, tmp_path, name):
    write_tar(tmp_path / name, MEMBERS, "w:gz" if name.endswith("gz") else "w")
    report = ingest(tmp_path / name, lake, source="web")
    assert (report.added, report.reasons) == (4, {"not_an_image": 1})
    found = {row["origins"][0]: row for row in rows(lake, None)}
    assert found[f"web/{name}/0001.png"]["label"] == "7"
    second = found[f"web/{name}/0002.png"]
    assert (second["label"], second["domain"], second["licence"], second["attribution"]) == (
        "dog",
        "sketch",
        "CC0",
        "Ann",
    )
    third = found[f"web/{name}/art/cat/0003.png"]
    assert (third["label"], third["domain"]) == ("cat", "art")


def test_a_folder_of_tars_is_one_data_set(lake, tmp_path):
    (tmp_path / "set").mkdir()
    for index in range(3):
        write_tar(tmp_path / "set" / f"{index:03}.tar", [(f"{index}.png", picture(index))])
    assert ingest(tmp_path / "set", lake).added == 3


def test_a_tar_cut_short_gives_what_it_has_and_says_so(lake, tmp_path):
    whole = tmp_path / "whole.tar"
    write_tar(whole, [(f"{index}.png", picture(index)) for index in range(6)])
    data = whole.read_bytes()
    block = 512
    for cut, added in ((4 * 2 * block, 4), (4 * 2 * block + 300, 4), (4 * 2 * block + block + 30, 4)):
        place = tmp_path / f"cut{cut}.tar"
        place.write_bytes(data[:cut])
        here = Lake.create(tmp_path / f"lake{cut}")
        report = ingest(place, here)
        assert (report.added, report.reasons) == (added, {"corrupt": 1})
        assert "cut short" in here.read_quarantine(here.snapshot())[0]["detail"]
    write_tar(tmp_path / "z.tar.gz", [(f"{index}.png", picture(index)) for index in range(6)], "w:gz")
    (tmp_path / "cut.tar.gz").write_bytes((tmp_path / "z.tar.gz").read_bytes()[:-40])
    assert ingest(tmp_path / "cut.tar.gz", lake).reasons == {"corrupt": 1}


def hugging_face(path, values, names=("cat", "dog")):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", kind), ("label", pa.int64()), ("license", pa.string())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    pq.write_table(pa.Table.from_pylist(values, schema), path)


def test_parquet_in_the_hugging_face_layout_with_nulls(lake, tmp_path):
    (tmp_path / "beside.png").write_bytes(picture(9))
    hugging_face(
        tmp_path / "train-00000.parquet",
        [
            {"image": {"bytes": picture(1), "path": "a.png"}, "label": 1, "license": "CC0"},
            {"image": {"bytes": picture(2), "path": None}, "label": None, "license": None},
            {"image": None, "label": 0, "license": None},
            {"image": {"bytes": None, "path": "beside.png"}, "label": 0, "license": None},
            {"image": {"bytes": None, "path": None}, "label": 0, "license": None},
        ],
    )
    report = ingest(tmp_path / "train-00000.parquet", lake, source="hf", licence="MIT")
    assert (report.added, report.reasons) == (3, {"empty": 2})
    found = {row["origins"][0]: (row["label"], row["licence"]) for row in rows(lake, None)}
    assert found == {
        "hf/train-00000.parquet#0": ("dog", "CC0"),
        "hf/train-00000.parquet#1": (None, "MIT"),
        "hf/train-00000.parquet#3": ("cat", "MIT"),
    }


def test_a_broken_parquet_file_is_quarantined_and_the_others_are_read(lake, tmp_path):
    (tmp_path / "set").mkdir()
    hugging_face(tmp_path / "set" / "b.parquet", [{"image": {"bytes": picture(1)}, "label": 1}])
    whole = (tmp_path / "set" / "b.parquet").read_bytes()
    (tmp_path / "set" / "a.parquet").write_bytes(whole[: len(whole) // 2])
    report = ingest(tmp_path / "set", lake)
    assert (report.added, report.reasons) == (1, {"corrupt": 1})


def test_a_csv_list(lake, tmp_path):
    make_images(tmp_path / "pool", 2)
    first, second = sorted((tmp_path / "pool").rglob("*.png"))
    lines = [
        "Path,Label,Domain,Licence",
        f"{first},cat,art,CC0",
        f"pool/{second.relative_to(tmp_path / 'pool')},,,",
    ]
    (tmp_path / "list.csv").write_text("\ufeff" + "\n".join([*lines, "gone.png,dog,,", ",dog,,"]) + "\n")
    report = ingest(tmp_path / "list.csv", lake)
    assert (report.added, report.reasons) == (2, {"empty": 1, "unreadable": 1})
    assert {(row["label"], row["domain"], row["licence"]) for row in rows(lake, None)} == {
        ("cat", "art", "CC0"),
        (None, None, None),
    }


@pytest.mark.parametrize(
    "written",
    [
        "file://{folder}/a%20b.png",
        "file://localhost{folder}/a%20b.png",
        "FILE:{folder}/a b.png",
        "{folder}/a%20b.png",
        "cats/a%20b.png",
        "cats/a b.png",
        "cats\\a b.png",
        "cats\\a%20b.png",
    ],
)
def test_an_address_is_read_as_browsers_and_windows_write_it(lake, tmp_path, written):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a b.png").write_bytes(picture(1))
    (tmp_path / "list.csv").write_text(f"path\n{written.format(folder=tmp_path / 'cats')}\n")
    assert ingest(tmp_path / "list.csv", lake).added == 1


def test_a_file_whose_name_has_a_percent_sign_is_itself(lake, tmp_path):
    for name, value in (("a%20b.png", 1), ("a b.png", 2)):
        (tmp_path / name).write_bytes(picture(value))
    (tmp_path / "list.csv").write_text(f"path\na%20b.png\n{'%20' * 400}.png\n")
    report = ingest(tmp_path / "list.csv", lake)
    assert (report.added, report.reasons) == (1, {"unreadable": 1})
    assert lake.read_images(lake.snapshot().shards[0], ["bytes"])["bytes"].to_pylist() == [picture(1)]


def test_a_list_kept_by_reference_reads_the_files_where_they_are(lake, tmp_path):
    make_images(tmp_path / "pool", 5)
    report = ingest(tmp_path / "pool", lake, by_reference=True)
    shard = lake.snapshot().shards[0]
    table = lake.read_images(shard, ["bytes", "sample_id"])
    assert table.column_names == ["bytes", "sample_id"]
    contents = {path.read_bytes() for path in (tmp_path / "pool").rglob("*.png")}
    assert set(table["bytes"].to_pylist()) == contents and report.added == 5
    next((tmp_path / "pool").rglob("*.png")).write_bytes(picture(3))
    with pytest.raises(IntegrityError):
        lake.read_images(shard)
    write_tar(tmp_path / "x.tar", MEMBERS)
    with pytest.raises(InputError, match="cannot be kept by reference"):
        ingest(tmp_path / "x.tar", lake, by_reference=True)


@pytest.mark.integration
def test_lists_and_folders_in_a_bucket(bucket, lake, tmp_path):
    from ecos_core.storage import Location

    for index, key in enumerate(("art/cat/1.png", "art/dog/2.png", "art/dog/.hidden")):
        (Location.of(bucket) / "photos" / key).write_bytes(picture(index))
    (tmp_path / "list.csv").write_text(f"uri\n{bucket}/photos/art/cat/1.png\n{bucket}/photos/none.png\n")
    listed = ingest(tmp_path / "list.csv", lake, by_reference=True)
    assert (listed.added, listed.reasons) == (1, {"unreadable": 1})
    tree = ingest(f"{bucket}/photos", lake)
    assert (tree.added, tree.duplicates) == (1, 1)
    assert {(row["domain"], row["label"]) for row in rows(lake, None)} == {(None, None), ("art", "dog")}
    shard = lake.snapshot().shards[0]
    assert lake.read_images(shard, ["bytes"])["bytes"].to_pylist() == [picture(0)]


@pytest.mark.parametrize("form", ["txt", "pkl"])
@pytest.mark.parametrize("split", ["train", "test", None])
def test_domainnet_with_split_lists(lake, tmp_path, form, split):
    root = tmp_path / "DomainNet"
    listed = {"train": ["bird/1.png", "zebra/2.png", "axe/3.png"], "test": ["bird/4.png"]}
    for part, names in listed.items():
        for index, name in enumerate(names):
            path = root / "clipart" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(10 * len(part) + index))
        paths, labels = [f"clipart/{name}" for name in names], [name.split("/")[0] for name in names]
        if form == "txt":
            text = "".join(f"{path} {number}\n" for number, path in enumerate(paths))
            (root / f"clipart_{part}.txt").write_text(text)
        else:
            pair = (np.array([f"DomainNet/{path}" for path in paths]), np.array(labels))
            (root / f"clipart_{part}.pkl").write_bytes(pickle.dumps(pair))
    report = ingest(root, lake, layout="domainnet", split=split)
    assert report.added == {"train": 2, "test": 1, None: 3}[split]
    assert {(row["domain"], row["label"]) for row in rows(lake, None)} <= {
        ("clipart", "bird"),
        ("clipart", "zebra"),
    }
    full = open_source(root, layout="domainnet-full", split="train")
    assert {item.label for item in full.items()} == {"bird", "zebra", "axe"}


def test_a_split_list_that_leaves_its_folder_or_runs_code_is_refused(lake, tmp_path):
    (tmp_path / "clipart_train.txt").write_text("../../etc/bird/passwd 0\n")
    assert ingest(tmp_path, lake, layout="domainnet").reasons == {"unreadable": 1}

    class Evil:
        def __reduce__(self):
            return (sorted, ("run",))

    (tmp_path / "clipart_test.pkl").write_bytes(pickle.dumps((Evil(), [])))
    with pytest.raises(InputError, match=r"it wants to load builtins.sorted"):
        ingest(tmp_path, lake, layout="domainnet", split="test")


def test_digits_in_fedbn_layout(lake, tmp_path):
    rng = np.random.default_rng(0)
    for domain, shape in (("MNIST", (3, 28, 28)), ("SVHN", (3, 32, 32, 3))):
        (tmp_path / domain / "partitions").mkdir(parents=True)
        for name in ("partitions/train_part0.pkl", "test.pkl"):
            pair = (rng.integers(0, 256, shape, dtype=np.uint8), np.arange(3))
            (tmp_path / domain / name).write_bytes(pickle.dumps(pair, pickle.HIGHEST_PROTOCOL))
    assert ingest(tmp_path, lake, layout="digits", split="train").added == 6
    assert {(row["domain"], row["label"]) for row in rows(lake, None)} == {
        (domain, str(label)) for domain in ("MNIST", "SVHN") for label in range(3)
    }
    assert ingest(tmp_path, lake, layout="digits").added == 6


def test_pacs_is_found_a_level_down(lake, tmp_path):
    for index, domain in enumerate(("art_painting", "cartoon", "photo", "sketch")):
        path = tmp_path / "data" / "PACS" / domain / "dog" / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(picture(index))
    assert ingest(tmp_path / "data", lake, layout="pacs").added == 4
    with pytest.raises(InputError, match="no PACS here"):
        open_source(tmp_path, layout="pacs")


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("nowhere", "auto", "no such folder or file"),
        ("empty", "auto", "no files in here"),
        ("text.txt", "auto", "no list or archive"),
        ("bare.csv", "auto", "of addresses"),
        ("empty", "domainnet", "no DomainNet split lists"),
        ("empty", "digits", "no digits in FedBN's layout"),
        ("empty", "zip", "unknown; one of auto"),
    ],
)
def test_addresses_that_lead_nowhere(tmp_path, name, layout, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").touch()
    (tmp_path / "bare.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / name, layout=layout)


def test_an_item_that_cannot_be_read_is_quarantined(lake):
    class Denied:
        name, address = "denied", "denied"

        def count(self):
            return 1

        def items(self):
            def load():
                raise PermissionError(13, "Permission denied")

            yield SourceItem("denied/1.png", load)

    assert ingest(Denied(), lake).reasons == {"unreadable": 1}
    assert lake.read_quarantine(lake.snapshot())[0]["detail"] == "Permission denied"
