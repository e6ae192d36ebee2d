"""What must not be in the repository: paths of one machine, package hosts, large files, credentials."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 1_000_000
FORBIDDEN = {
    "an absolute path of one machine": re.compile(r"(?<![\w.:/-])/(?:work|home|root|Users)/[a-z][\w.-]*/"),
    "a package index": re.compile(r"--(?:extra-)?index" + r"-url|index" + r"-url\s*="),
    "a private key": re.compile("-----BEGIN (?:[A-Z]+ )?" + "PRIVATE KEY-----"),
}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_large() -> None:
    assert not {str(file): file.stat().st_size for file in tracked() if file.stat().st_size > LARGEST}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_of_one_machine_is_tracked(what: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in tracked()
        if file != Path(__file__).resolve()
        for match in FORBIDDEN[what].finditer(file.read_bytes().decode("utf-8", "ignore"))
    ]
    assert not found
