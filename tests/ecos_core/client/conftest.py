from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ecos_core.client.home import Home
from tests.client_support import make_home, serving
from tests.s3_support import bucket, s3_endpoint  # noqa: F401 - fixtures


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "home")


@pytest.fixture
def served(home: Home) -> Iterator[tuple[Home, str]]:
    with serving(home) as url:
        yield home, url
