"""Bring images in, extract what is missing, cluster: the nightly flow."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from ecos_core.config import IndexConfig
from tasks.indexing import extract_and_cluster, ingest_images


@flow(name="index-lake", flow_run_name="index {config.lake}", persist_result=False)
def index_lake(config: IndexConfig) -> dict[str, Any]:
    """Bring images into a lake, extract their features and cluster them. Only what is missing is done."""
    ingested = ingest_images(config)
    return {"ingest": asdict(ingested), **extract_and_cluster(config).told()}
