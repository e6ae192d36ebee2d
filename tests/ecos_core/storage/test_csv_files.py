import pytest

from ecos_core.errors import InputError
from ecos_core.storage.csv_files import open_csv

EXPECTED = [{"path": "a, b.jpg", "label": "cat"}, {"path": "c.jpg", "label": "dog"}]


def read(path):
    with open_csv(path) as rows:
        return list(rows)


@pytest.mark.parametrize(
    "text",
    [
        'path,label\n"a, b.jpg",cat\nc.jpg,dog\n',
        "path;label\na, b.jpg;cat\nc.jpg;dog\n",
        "path\tlabel\r\na, b.jpg\tcat\r\nc.jpg\tdog\r\n",
        "path|label\na, b.jpg|cat\nc.jpg|dog\n",
        "sep=;\npath;label\na, b.jpg;cat\nc.jpg;dog\n",
        '"sep=\t"\npath\tlabel\na, b.jpg\tcat\nc.jpg\tdog\n',
        '\n\n path , label \n"a, b.jpg",cat\nc.jpg,dog\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_usual_separator_and_encoding(tmp_path, text, encoding):
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert read(tmp_path / "t.csv") == EXPECTED


def test_a_separator_is_what_cuts_the_header(tmp_path):
    (tmp_path / "t.csv").write_text("weight;foot, left\n1.5;2\n1.7;3\n")
    assert read(tmp_path / "t.csv")[0] == {"weight": "1.5", "foot, left": "2"}
    (tmp_path / "t.csv").write_text("text\nred; round\nblue, square\n")
    assert read(tmp_path / "t.csv")[0]["text"] == "red; round"
    (tmp_path / "t.csv").write_text("path,caption\na.jpg,red; round | nice\n")
    assert read(tmp_path / "t.csv") == [{"path": "a.jpg", "caption": "red; round | nice"}]


def test_rows_too_long_and_too_short_can_be_told(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\na.jpg\nb.jpg,cat,dog\n")
    assert read(tmp_path / "t.csv") == [
        {"path": "a.jpg", "label": ""},
        {"path": "b.jpg", "label": "cat", None: ["dog"]},
    ]


def test_what_is_no_table_is_refused_by_name(tmp_path):
    (tmp_path / "t.csv").write_bytes("path,label\ncaf\xe9.jpg,cat\n".encode("cp1252"))
    with pytest.raises(InputError, match=r"t\.csv: not UTF-8, most likely Windows-1252"):
        read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(f"path,label\n{'x' * 200_000},cat\n")
    with pytest.raises(InputError, match=r"t\.csv: not a CSV"):
        read(tmp_path / "t.csv")
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="a folder"):
        read(tmp_path)
