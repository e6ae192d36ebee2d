import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ecos_cli.main import app
from ecos_core.errors import InputError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from tests.lake_support import write_pictures

run = CliRunner().invoke


@pytest.fixture
def lake(tmp_path: Path) -> str:
    write_pictures(tmp_path / "source", 24, 1)
    ingest(tmp_path / "source", Lake.create(tmp_path / "lake"))
    return str(tmp_path / "lake")


def test_index_prints_one_json_object_and_a_repeat_changes_nothing(lake: str) -> None:
    arguments = ["index", "--lake", lake, "--image-size", "32", "--clusters", "3", "--json"]
    first = json.loads(run(app, arguments, catch_exceptions=False).stdout)
    assert first["clusters"] == 3 and first["features"] == 24 and first["failures"] == 0
    assert len(first["fingerprint"]) == 64 and first["dimension"] == 1280
    assert first["near_duplicates"] >= 0
    assert json.loads(run(app, arguments, catch_exceptions=False).stdout) == first


def test_index_says_what_it_made_in_words(lake: str) -> None:
    arguments = ["index", "--lake", lake, "--image-size", "32", "--projection", "4", "--clusters", "auto"]
    told = run(app, [*arguments, "--records", "600", "--sigma", "20"], catch_exceptions=False).stdout
    assert "24 images, 4 numbers each" in told
    assert "1 clusters of 24 to 24 images" in told


def test_where_nothing_is_known_the_usual_number_is_taken_and_the_newest_is_kept_then(lake: str) -> None:
    small = ["index", "--lake", lake, "--image-size", "32", "--json"]

    def told(*more: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(run(app, [*small, *more], catch_exceptions=False).stdout)
        return found

    first = told()
    assert first["clusters"] == 24 and "no client is known" in str(first["clusters_why"])
    given = told("--clusters", "5")
    kept = told()
    assert kept["clustering"] == given["clustering"] and "newest clustering" in str(kept["clusters_why"])
    near = told("--records", "600", "--sigma", "20", "--set", "clusters=auto")
    assert near["clusters"] == 1 and "600 records at noise sigma 20" in str(near["clusters_why"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clusters", "25"], "more clusters than images"),
        (["--clusters", "many"], "whole number"),
        (["--clusters", "3", "--extractor", "resnet_5"], "unknown extractor"),
        (["--clusters", "3", "--image-size", "4"], "extractor.image_size: .* greater than or equal to 32"),
        (["--clusters", "3", "--dtype", "int8"], "extractor.dtype: .*float16"),
        (["--clusters", "3", "--backend", "cuml", "--image-size", "32"], "backend: .*faiss"),
    ],
)
def test_what_is_wrong_is_said(lake: str, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(app, ["index", "--lake", lake, *arguments], catch_exceptions=False)


def test_no_lake_no_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no lake here"):
        run(app, ["index", "--lake", str(tmp_path)], catch_exceptions=False)


def test_clusters_are_listed_with_size_and_inertia_and_shown_on_a_page(lake: str, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    arguments = ["index", "--lake", lake, "--image-size", "32", "--clusters", "6", "--report", str(page)]
    run(app, arguments, catch_exceptions=False)
    assert page.read_text().count('<div class="montage">') == 6
    arguments = ["lake", "clusters", "--lake", lake]
    told = json.loads(run(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert sum(row["images"] for row in told["clusters"]) == told["rows"] == 24
    assert told["inertia"] == pytest.approx(24 * told["mean_square_distance"])
    text = run(app, [*arguments, "--report", str(tmp_path / "c.html"), "--most", "1"], catch_exceptions=False)
    assert "and 5 more" in text.stdout and (tmp_path / "c.html").exists()
