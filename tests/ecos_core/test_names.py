import decimal
import json
import os
import unicodedata

import numpy as np
import pandas as pd
import pytest

from ecos_core.names import class_name, readable, text_of, tidy


@pytest.mark.parametrize(
    "value",
    [None, -1, -1.0, "-1", "-1.0", float("nan"), "nan", "NaN", "NA", "", "  ", "\ufeff", pd.NA, pd.NaT,
     np.float32("nan"), np.int64(-1), float("inf"), [], ["cat"], {"id": 3}, (1,), np.array([3]), b"\xff\xfe", 1j],
)  # fmt: skip
def test_what_is_no_label(value):
    assert class_name(value) is None


@pytest.mark.parametrize(
    ("value", "name"),
    [(3, "3"), (3.0, "3"), ("3.0", "3"), (np.int64(3), "3"), (np.float32(3), "3"), (decimal.Decimal("3.0"), "3"),
     (0, "0"), (-2, "-2"), (0.5, "0.5"), ("007", "007"), ("1_2", "1_2"), ("1.0.0", "1.0.0"), (True, "True"),
     (np.bool_(False), "False"), (" cat\u00a0", "cat"), ("wine\n glass", "wine glass"), ("\ufeffcat", "cat"),
     (b"cat", "cat"), ("None", "None"), ("nan bread", "nan bread"), (np.str_("dog"), "dog")],
)  # fmt: skip
def test_what_a_value_is_called(value, name):
    assert class_name(value) == name


def test_both_spellings_of_an_accent_are_one_name():
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != apart
    assert class_name(composed) == class_name(apart) == tidy(apart) == composed


def test_names_that_are_no_text_can_be_written():
    name = os.fsdecode(b"caf\xe9.jpg")
    assert readable(name) == tidy(name) == "caf\\xe9.jpg"
    assert class_name(json.loads('"\\ud800cat"')) == "\\ud800cat"
    assert readable("café\u2028.jpg") == "café\u2028.jpg"


def test_text_of_a_cell_keeps_words_that_are_no_class():
    assert text_of("NA") == "NA"
    assert text_of("-1") == "-1"
    assert text_of(float("nan")) is None
    assert text_of([1]) is None
