"""A small lake of generated pictures, and an extractor that is quick enough to run in every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ecos_core.features.extractor import Extractor
from ecos_core.features.preprocessing import Preprocessing
from ecos_core.lake.ingest import ingest
from ecos_core.lake.lake import Lake
from tests.lake_support import ColourEngine, write_pictures


@pytest.fixture
def colour_extractor() -> Extractor:
    preprocessing = Preprocessing(image_size=32, mean=(0, 0, 0), std=(1, 1, 1))
    return Extractor("colour", "0" * 64, preprocessing, True, None, ColourEngine())


@pytest.fixture
def grow(tmp_path: Path) -> Callable[[int, int], Lake]:
    """``grow(count, seed)`` ingests that many new pictures and returns the lake."""

    def add(count: int, seed: int) -> Lake:
        lake = Lake.open_or_create(tmp_path / "lake")
        source = tmp_path / f"source-{seed}"
        write_pictures(source, count, seed)
        ingest(source, lake, target_bytes=60_000)
        return lake

    return add
