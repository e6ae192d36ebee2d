import numpy as np
import pytest

from ecos_core.errors import InputError
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from ecos_core.lake.licences import licence_filter, normal
from tests.ecos_core.lake.test_ingest import make_images, rows


@pytest.fixture
def lake(tmp_path):
    lake = Lake.create(tmp_path / "lake")
    for name, licence, first in (("free", "CC-BY-4.0", 0), ("bought", "Proprietary", 4), ("found", None, 8)):
        make_images(tmp_path / name, 4, first=first)
        ingest(tmp_path / name, lake, licence=licence)
    return lake


def by_licence(lake):
    table = rows(lake, ["sample_id", "licence"])
    return {
        name: [row["sample_id"] for row in table if row["licence"] == name]
        for name in ("CC-BY-4.0", "Proprietary", None)
    }


@pytest.mark.parametrize("name", ["cc by 4.0", "CC_BY_4.0", "Cc-By 4.0 "])
def test_spellings(name):
    assert normal(name) == normal("CC-BY-4.0") != normal("CC-BY-SA-4.0")
    assert normal(None) == normal(" ") == normal("Unknown")


def test_without_a_rule_all_is_allowed(lake):
    assert licence_filter(lake, lake.snapshot()) is None


def test_only_what_is_listed_passes(lake):
    ids = by_licence(lake)
    found = licence_filter(lake, lake.snapshot(), ["cc by 4.0", "MIT"])
    assert found.refused == {"proprietary": 4, "unknown": 4}
    assert found.mask(ids["CC-BY-4.0"]).all() and not found.mask(ids["Proprietary"] + ids[None]).any()
    found.check(ids["CC-BY-4.0"])
    with pytest.raises(InputError, match=r"4 sample\(s\) have a licence that is not allowed"):
        found.check(ids[None])
    unknown = licence_filter(lake, lake.snapshot(), ["unknown"])
    assert np.array_equal(unknown.mask(ids[None]), [True] * 4)


def test_the_lakes_own_rule_holds_for_everyone_and_survives(lake):
    lake.set_licence_rule(["CC-BY-4.0", "Proprietary"])
    again = Lake.open(lake.location)
    assert licence_filter(again, again.snapshot()).refused == {"unknown": 4}
    both = licence_filter(again, again.snapshot(), ["CC-BY-4.0", "unknown"])
    assert both.allowed == {"cc-by-4.0"}
    with pytest.raises(InputError, match="no image has an allowed licence"):
        licence_filter(again, again.snapshot(), ["MIT"])
    again.set_licence_rule([])
    assert licence_filter(again, again.snapshot()) is None


def test_an_image_that_came_again_under_an_allowed_licence_is_allowed(lake, tmp_path):
    ingest(tmp_path / "found", lake, source="archive", licence="CC0-1.0")
    found = licence_filter(lake, lake.snapshot(), ["CC0-1.0"])
    assert found.mask(by_licence(lake)[None]).all() and found.refused == {"cc-by-4.0": 4, "proprietary": 4}


def test_the_mask_of_many_is_that_of_each(lake):
    ids = [row["sample_id"] for row in rows(lake, ["sample_id"])]
    found = licence_filter(lake, lake.snapshot(), ["CC-BY-4.0"])
    assert found.mask(ids).tolist() == [found.allows(id) for id in ids] and 0 < found.mask(ids).sum() < len(
        ids
    )
    assert found.mask(iter(ids)).tolist() == found.mask(ids).tolist() and found.mask([]).shape == (0,)
