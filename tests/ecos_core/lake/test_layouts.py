"""What other tools write, small and synthetic: img2dataset, Hugging Face, FineWeb, C4 and Dolma."""

import gzip
import json
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from tests.ecos_core.lake.test_ingest import rows
from tests.ecos_core.lake.test_sources import hugging_face, picture, write_tar

ABOUT = {
    "url": "http://x.org/1.jpg",
    "caption": "a cat",
    "NSFW": "UNLIKELY",
    "punsafe": 0.25,
    "LICENSE": "?",
    "key": "1",
}


@pytest.fixture
def lake(tmp_path):
    return Lake.create(tmp_path / "lake")


def members(*numbers):
    for number in numbers:
        yield f"{number:05}.jpg", picture(number)
        yield f"{number:05}.txt", b"a cat"
        yield (
            f"{number:05}.json",
            json.dumps(ABOUT | {"LICENSE": "?" if number % 2 else "CC-BY-4.0"}).encode(),
        )


def write_stats(folder, stem):
    (folder / f"{stem}_stats.json").write_text('{"count": 2}')
    pq.write_table(pa.table({"url": ["a", "b"], "caption": ["x", "y"]}), folder / f"{stem}.parquet")


@pytest.mark.parametrize("nested", ["", "part/"])
def test_img2dataset_tars_with_their_side_files(lake, tmp_path, nested):
    folder = tmp_path / "set" / nested
    folder.mkdir(parents=True)
    write_tar(folder / "00000.tar", members(1, 2))
    write_tar(folder / "00001.tar", [])
    write_stats(folder, "00000")
    report = ingest(tmp_path / "set", lake, licence="CC0-1.0")
    assert (report.added, report.quarantined, report.passed_over) == (2, 0, {"side": 6})
    found = rows(lake, ["label", "licence", "extra_caption", "extra_punsafe", "extra_nsfw"])
    assert {row["licence"] for row in found} == {"unknown", "CC-BY-4.0"}  # never replaced by CC0-1.0
    assert found[0]["label"] is None
    assert (found[0]["extra_caption"], found[0]["extra_punsafe"]) == ("a cat", 0.25)


def test_img2dataset_files_are_read_as_their_tars(lake, tmp_path):
    folder = tmp_path / "set"
    (folder / "00000").mkdir(parents=True)
    for name, data in members(1, 2):
        (folder / "00000" / name).write_bytes(data)
    write_stats(folder, "00000")
    report = ingest(folder, lake)
    assert (report.added, report.quarantined, report.passed_over) == (2, 0, {"side": 6})
    assert rows(lake, ["label", "extra_url"])[0] == {"label": None, "extra_url": "http://x.org/1.jpg"}


def test_img2dataset_parquet(lake, tmp_path):
    (tmp_path / "set").mkdir()
    table = {"url": ["u", "v"], "jpg": [picture(1), None], "punsafe": [0.1, 0.2], "license": ["CC0", "?"]}
    pq.write_table(pa.table(table), tmp_path / "set" / "00000.parquet")
    (tmp_path / "set" / "00000_stats.json").write_text("{}")
    report = ingest(tmp_path / "set", lake)
    assert (report.added, report.reasons, report.passed_over) == (1, {"empty": 1}, {"side": 1})


def test_a_hugging_face_repository(lake, tmp_path):
    (tmp_path / "repo" / "data").mkdir(parents=True)
    (tmp_path / "repo" / "README.md").write_text("---\nlicense: cc0\n---\n")
    values = [{"image": {"bytes": picture(n + 9), "path": None}, "label": n} for n in (-1, 0, 1, 2)]
    hugging_face(tmp_path / "repo" / "data" / "train-00000-of-00001.parquet", values)
    report = ingest(tmp_path / "repo", lake)
    assert (report.added, report.passed_over) == (4, {"side": 1})
    assert sorted(str(row["label"]) for row in rows(lake, ["label"])) == ["None", "None", "cat", "dog"]


def test_an_imagefolder_with_its_metadata(lake, tmp_path):
    (tmp_path / "set" / "train").mkdir(parents=True)
    for number in (1, 2):
        (tmp_path / "set" / "train" / f"{number}.jpg").write_bytes(picture(number))
    lines = [
        json.dumps({"file_name": "1.jpg", "label": "cat", "license": "MIT"}),
        json.dumps({"file_name": "2.jpg"}),
    ]
    (tmp_path / "set" / "train" / "metadata.jsonl").write_text("\n".join(lines))
    assert ingest(tmp_path / "set", lake).passed_over == {"side": 1}
    found = {row["origins"][0]: (row["label"], row["licence"]) for row in rows(lake, None)}
    assert found == {"set/train/1.jpg": ("cat", "MIT"), "set/train/2.jpg": (None, None)}


def test_one_broken_parquet_footer_costs_itself(lake, tmp_path):
    (tmp_path / "set").mkdir()
    for number in range(3):
        hugging_face(
            tmp_path / "set" / f"{number}.parquet", [{"image": {"bytes": picture(number)}, "label": 0}]
        )
    whole = (tmp_path / "set" / "1.parquet").read_bytes()
    (tmp_path / "set" / "1.parquet").write_bytes(whole[:-60] + b"\xff" * 50 + whole[-10:])
    report = ingest(tmp_path / "set", lake)
    assert (report.added, report.reasons) == (2, {"corrupt": 1})
    assert lake.read_quarantine(lake.snapshot())[0]["uri"] == "set/1.parquet"


def test_dictionary_columns(lake, tmp_path):
    table = pa.table({"image": pa.array([picture(1)]), "label": pa.array(["cat"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    ingest(tmp_path / "t.parquet", lake)
    assert rows(lake, ["label"]) == [{"label": "cat"}]


def test_names_of_a_tar_that_are_no_utf8(lake, tmp_path):
    write_tar(tmp_path / "t.tar", [("caf\udce9/1.png", picture(1))])
    assert ingest(tmp_path / "t.tar", lake).added == 1
    assert rows(lake, ["label"]) == [{"label": "caf\\xe9"}]


def test_both_spellings_of_a_class_are_one(lake, tmp_path):
    for number, form in enumerate(("NFC", "NFD")):
        folder = tmp_path / "set" / unicodedata.normalize(form, "café")
        folder.mkdir(parents=True)
        (folder / f"{number}.png").write_bytes(picture(number))
    ingest(tmp_path / "set", lake)
    assert {row["label"] for row in rows(lake, ["label"])} == {"café"}


def test_one_picture_in_two_classes_is_counted(lake, tmp_path):
    for name in ("benign", "malignant"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "x.png").write_bytes(picture(1))
    for _ in range(2):
        report = ingest(tmp_path / "set", lake)
        assert report.contradicted == 1 and "another class" in report.counts


def documents(count, first=0):
    return [{"id": f"d{n}", "text": f"document number {n}", "url": f"https://x.org/{n}", "source": "web"}
            for n in range(first, first + count)]  # fmt: skip


def packed(kind, text):
    if kind == "gz":
        return gzip.compress(text.encode())
    return pa.compress(text.encode(), "zstd", asbytes=True) if kind == "zst" else text.encode()


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst", "json.gz"])
def test_json_lines_are_documents(lake, tmp_path, ending):
    lines = [json.dumps(row) for row in documents(3)]
    text = "\n".join([*lines, lines[0], "{broken", json.dumps({"id": 1}), json.dumps({"text": "\ud800"})])
    (tmp_path / f"d.{ending}").write_bytes(packed(ending.rpartition(".")[2], text))
    report = ingest(tmp_path / f"d.{ending}", lake)
    assert (report.added, report.duplicates) == (3, 1)
    assert report.reasons == {"corrupt": 1, "not_a_text": 2}
    assert rows(lake, ["bytes", "source", "extra_id", "extra_url"])[1] == {
        "bytes": b"document number 1", "source": "web", "extra_id": "d1", "extra_url": "https://x.org/1",
    }  # fmt: skip


def test_the_layouts_of_dolma_and_fineweb(lake, tmp_path):
    dolma = tmp_path / "dolma"
    for folder in ("documents", "attributes/toxicity"):
        (dolma / folder).mkdir(parents=True)
    lines = [json.dumps(row | {"metadata": {"license": "cc-by"}}) for row in documents(2)]
    (dolma / "documents" / "0.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (dolma / "attributes" / "toxicity" / "0.json.gz").write_bytes(
        gzip.compress(b'{"id": "d0", "attributes": {}}')
    )
    report = ingest(dolma, lake)
    assert (report.added, report.passed_over) == (2, {"side": 1})
    assert rows(lake, ["licence"])[0] == {"licence": "cc-by"}
    (tmp_path / "fineweb").mkdir()
    pq.write_table(
        pa.Table.from_pylist([row | {"language": "en", "token_count": 3} for row in documents(3, 5)]),
        tmp_path / "fineweb" / "000_00000.parquet",
    )
    assert ingest(tmp_path / "fineweb", lake).added == 3
