"""Debian's Chromium, as a reader has it: what a page says to the console and asks the network for is noted down."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROKEN_PICTURES = (
    "[...document.images].filter(i => i.loading !== 'lazy' && (!i.complete || !i.naturalWidth)).length"
)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A started browser. Fails where CI lacks one, skips on a person's machine."""
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have Chromium: apt-get install chromium")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield started
        finally:
            started.close()


@contextlib.contextmanager
def local_page(file: Path, *, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """A page opened from its file; it must stay silent, ask the network nothing, and not scroll sideways."""
    with browser() as started:
        view = started.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
        said: list[str] = []
        view.on("console", lambda message: said.append(message.text))
        view.on("pageerror", lambda error: said.append(str(error)))
        view.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
        view.goto(file.as_uri())
        yield view
        assert said == []
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        assert view.evaluate(BROKEN_PICTURES) == 0
