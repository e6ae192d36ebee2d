import sys

import pytest

from benchmarks.scale import run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def test_three_sizes_are_measured_in_processes_of_their_own(tmp_path):
    rows = run(rows=2_000, dim=8, clusters=5, budget=50, scratch=str(tmp_path))
    assert [row["name"].split()[0] for row in rows] == ["200", "600", "2,000", "exponent"]
    assert all(row["chosen"] == 50 and row["peak_bytes"] > 0 for row in rows[:3])
    assert not list(tmp_path.iterdir())
