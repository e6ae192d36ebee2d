"""Texts and rows of a table are verified, described and addressed by their content like pictures."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecos_core.errors import InputError
from ecos_core.lake.decode import BadSample
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.modality import TABLE, TEXT, examine_row, examine_text, modality_of, read_row, row_bytes
from ecos_core.lake.sources import open_source


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"caf\xe9", "not_a_text"),
        (b"a\0b", "not_a_text"),
        (b"a" * (2**20 + 1), "too_large"),
    ],
)
def test_what_is_no_text_has_a_reason(data, reason):
    with pytest.raises(BadSample) as caught:
        examine_text(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("data", [b"{", b"[1]", b"{}", b'{"a": [1]}', b'{"a": true}', b'{"a": NaN}'])
def test_what_is_no_row_is_refused(data):
    with pytest.raises(BadSample, match="not_a_row"):
        examine_row(data)


def test_a_text_and_a_row_say_what_they_are():
    text = examine_text("Grüße\nund mehr".encode())
    assert (text["media_type"], text["width"], text["height"]) == ("text/plain", 8, 2)
    row = examine_row(b'{"age":3,"town":"Ulm"}')
    assert (row["media_type"], row["width"], row["height"]) == ("application/json", 2, 1)
    assert modality_of(text["media_type"]) is TEXT
    assert modality_of(row["media_type"]) is TABLE
    assert modality_of("image/png").name == "image"


def test_cells_are_numbers_words_or_missing():
    cells = {"a": " 3 ", "b": "3.5", "c": "NA", "d": "", "e": "inf", "f": "Ulm", "g": "1e3"}
    assert read_row(row_bytes(cells)) == {
        "a": 3, "b": 3.5, "c": None, "d": None, "e": None, "f": "Ulm", "g": 1000.0,
    }  # fmt: skip


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=12), min_size=1, max_size=5))
def test_a_row_is_addressed_by_its_values_whatever_the_order_of_columns(cells):
    backwards = dict(reversed(list(cells.items())))
    assert row_bytes(cells) == row_bytes(backwards)
    json.loads(row_bytes(cells))


def test_a_tree_of_texts_keeps_domain_label_and_licence(tmp_path):
    for domain, label, name, text in [
        ("mail", "ham", "1.txt", "see you on Monday"),
        ("mail", "spam", "2.txt", "cheap watches"),
        ("forum", "ham", "3.txt", "see you on Monday"),  # the same content: one sample
        ("forum", "ham", "4.txt", ""),
    ]:
        path = tmp_path / "open" / domain / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    lake = Lake.create(tmp_path / "lake")
    report = ingest(open_source(tmp_path / "open", layout="text"), lake, licence="CC0-1.0")
    assert (report.added, report.duplicates, report.reasons) == (2, 1, {"empty": 1})
    rows = lake.read_images(lake.snapshot().shards[0]).to_pylist()
    found = {row["sample_id"]: row for row in rows}
    ham = found[hashlib.sha256(b"see you on Monday").hexdigest()]
    assert (ham["domain"], ham["label"], ham["licence"]) == ("forum", "ham", "CC0-1.0")
    assert ham["bytes"] == b"see you on Monday"


def test_the_rows_of_a_csv_are_samples_and_say_themselves_what_they_are(tmp_path):
    table = tmp_path / "people.csv"
    table.write_text(
        "age,town,Label,domain\n3,Ulm,child,north\n70,,old,south\n3,Ulm,child,south\n,NA,old,south\n"
    )
    lake = Lake.create(tmp_path / "lake")
    report = ingest(open_source(table, layout="rows"), lake)
    assert (report.added, report.duplicates, report.reasons) == (2, 1, {"empty": 1})
    rows = lake.read_images(lake.snapshot().shards[0]).to_pylist()
    assert [(row["label"], row["domain"]) for row in rows] == [("child", "north"), ("old", "south")]
    assert rows[1]["bytes"] == b'{"age":70,"town":null}'
    assert rows[0]["origins"] == ["people.csv/people.csv#1", "people.csv/people.csv#3"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label,domain\nx,y\n", "no table of samples"),
        ("a,a\n1,2\n", "each once"),
        ("a,b\n1,2,3\n", "row 1 has more cells"),
    ],
)
def test_a_broken_table_is_named(tmp_path, content, said):
    table = tmp_path / "t.csv"
    table.write_text(content)
    with pytest.raises(InputError, match=said):
        open_source(table, layout="rows")
