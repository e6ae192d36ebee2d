"""The demo's flow: an outsourcing with the noise-free reference beside it, which only the demo may compute."""

from __future__ import annotations

from typing import Any

from prefect import flow

from ecos_core.config import OutsourceConfig
from flows.outsource import run_outsourcing, score_sources
from tasks.noise_free import score_noise_free


@flow(name="demo", persist_result=False)
def demo(config: OutsourceConfig, client_home: str) -> dict[str, Any]:
    """Outsource the demo client's training and compare ECOS with every baseline and with no noise at all."""
    sources = score_sources(config)
    sources["ecos_noise_free"] = lambda lake, clustering: score_noise_free(
        lake, clustering, client_home, f"{config.out}/noise-free"
    )
    return run_outsourcing(config, sources)
