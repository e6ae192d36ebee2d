import shutil

import pytest
from pydantic import ValidationError

from ecos_core.config import ExtractorConfig, ImageSource, IndexConfig
from ecos_core.stages import indexing
from tests.lake_support import write_pictures


def test_the_record_counts_refusals_copies_and_test_images_in_the_lake(tmp_path):
    source, test = tmp_path / "source", tmp_path / "test"
    write_pictures(source, 12, 1)
    leaked = next(path for path in sorted(source.rglob("*")) if path.suffix in {".png", ".jpg"})
    (source / "broken.jpg").write_bytes(b"<html>")
    write_pictures(test, 3, 2)
    shutil.copy(leaked, test / "leaked.png")
    lake = str(tmp_path / "lake")
    config = IndexConfig(
        lake=lake,
        clusters=2,
        extractor=ExtractorConfig(image_size=32),
        sources=[ImageSource(path=str(source))],
    )
    report = indexing.ingest_source(lake, config.sources[0])
    clustering = indexing.cluster(config, indexing.extract(config)).clustering
    assert "lake/near_duplicates" not in indexing.lake_facts(lake, clustering)
    found = indexing.mark_duplicates(lake, clustering)
    facts = indexing.lake_facts(lake, clustering, str(test))
    assert report.reasons == {"not_an_image": 1}
    assert facts["lake/images"] == 12 and facts["lake/quarantined/not_an_image"] == 1
    assert facts["lake/near_duplicates"] == found.superfluous
    assert facts["lake/test_images_inside"] >= 1


def test_one_rule_for_the_size_of_images():
    ExtractorConfig(image_size=32)
    with pytest.raises(ValidationError, match="greater than or equal to 32"):
        ExtractorConfig(image_size=31)
