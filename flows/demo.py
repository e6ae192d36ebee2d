"""The demo's flow: an outsourcing with the noise-free reference beside it, which only the demo may compute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow

from ecos_core.config import OutsourceConfig
from flows.outsource import CHECKED, run_outsourcing
from tasks.noise_free import score_noise_free


@flow(name="demo", persist_result=False)
def demo(config: OutsourceConfig, client_home: str) -> dict[str, Any]:
    """Outsource the demo client's training and compare ECOS with every baseline and with no noise at all."""
    noise_free = replace(
        CHECKED,
        ask=lambda selecting, *_: score_noise_free(selecting, client_home, f"{config.out}/noise-free"),
    )
    result = run_outsourcing(config, {"ecos_noise_free": noise_free})
    assert result is not None, "nobody is asked for approval here"
    return result
