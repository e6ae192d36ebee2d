import codecs

import pytest

from ecos_core.errors import InputError
from ecos_core.storage import Location
from ecos_core.storage.text import decode_text, open_text, read_text, text_lines

TEXT = "chat\ncafé\nüber 図\n"


@pytest.mark.parametrize(
    "data",
    [TEXT.encode(), codecs.BOM_UTF8 + TEXT.encode(), TEXT.encode("utf-16"), TEXT.encode("utf-16-le"),
     codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), TEXT.encode("utf-16-be"), TEXT.encode("utf-32"),
     TEXT.replace("\n", "\r\n").encode(), TEXT.replace("\n", "\r").encode()],
)  # fmt: skip
def test_every_unicode_encoding_is_read(tmp_path, data):
    (tmp_path / "t.txt").write_bytes(data)
    assert read_text(tmp_path / "t.txt") == TEXT
    with open_text(Location.of(tmp_path / "t.txt")) as stream:
        assert stream.read().lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n") == TEXT


@pytest.mark.parametrize(
    ("data", "said"),
    [("café".encode("cp1252"), "Windows-1252"), (b"caf\x81\xff", "neither UTF-8 nor UTF-16"), (b"a\0b\0\0c" * 9, "NUL"),
     ("図書館の猫".encode("shift-jis"), "save it as UTF-8"), (codecs.BOM_UTF16_LE + b"a", "save it as UTF-8")],
)  # fmt: skip
def test_anything_else_is_refused_in_one_line_with_the_way_out(tmp_path, data, said):
    with pytest.raises(InputError, match=said) as caught:
        decode_text(data, "labels.txt")
    assert str(caught.value).startswith("labels.txt: ")
    assert "\n" not in str(caught.value)


def test_a_text_that_turns_bad_late_is_refused_while_it_is_read(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"fine\n" * 50_000 + b"caf\xe9\n")
    with (
        pytest.raises(InputError, match="Windows-1252"),
        open_text(Location.of(tmp_path / "t.txt")) as stream,
    ):
        for _ in stream:
            pass


def test_an_absent_text_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: no such file"):
        read_text(tmp_path / "gone.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


def test_only_line_ends_end_a_line():
    assert text_lines("a\u2028b\r\nc\x85d\x0ce\rf\n") == ["a\u2028b", "c\x85d\x0ce", "f"]
    assert text_lines("") == []
    assert text_lines("a\n\nb") == ["a", "", "b"]
