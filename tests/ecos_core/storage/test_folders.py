import os

import pytest

from ecos_core.errors import InputError
from ecos_core.storage.folders import Entry, files_below, in_words, passed_over, walk_files


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    make(
        root,
        "fox/a.jpg",
        ".trash/b.jpg",
        "__MACOSX/c.jpg",
        "fox/Thumbs.db",
        "fox/._a.jpg",
        "@eaDir/t.jpg",
        "z.jpg",
    )
    make(tmp_path, "store/cat/1.jpg", "store/cat/2.jpg")
    (root / "cat").symlink_to(tmp_path / "store" / "cat")
    (root / "one.jpg").symlink_to(tmp_path / "store" / "cat" / "1.jpg")
    (root / "fox" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "gone.jpg").symlink_to(root / "nowhere")
    os.mkfifo(root / "pipe")
    return root


def test_links_are_followed_and_what_is_left_out_is_counted(tree):
    files, left_out = files_below(tree)
    assert ["/".join(parts) for parts in files] == ["cat/1.jpg", "cat/2.jpg", "fox/a.jpg", "one.jpg", "z.jpg"]
    assert left_out == {"hidden": 2, "system": 3, "loop": 1, "broken": 2, "special": 1}
    assert in_words({"system": 3, "hidden": 2}) == "2 hidden, 3 left by an operating system"


def test_folders_that_link_to_each_other_end(tmp_path):
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "other").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "other").symlink_to(tmp_path / "a")
    files, left_out = files_below(tmp_path)
    assert len(files) == 4 and left_out == {"loop": 2}


def test_a_lake_is_no_source(tmp_path):
    make(tmp_path, "lake/lake.json", "lake/images/a.jpg", "b.jpg")
    assert list(walk_files(tmp_path)) == [Entry(("b.jpg",)), Entry(("lake",), "lake", "a lake is no source")]


def test_names_are_judged_wherever_they_lie():
    assert [passed_over(name) for name in (".a", "Thumbs.db", "thumbs.DB", "Icon\r", "cat", "a.b")] == [
        "hidden", "system", "system", "system", None, None,
    ]  # fmt: skip


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        files_below(tmp_path / "gone")
