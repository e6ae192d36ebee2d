"""What can be known, before a selection is paid for, of the trainings that are to follow on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from ecos_core.errors import InputError
from ecos_core.features.lake_extractor import held_modality
from ecos_core.lake.modality import IMAGE, Modality
from ecos_core.storage import Location
from ecos_core.training import data
from ecos_core.training.config import TrainConfig, Use

if TYPE_CHECKING:
    from ecos_core.lake.lake import Lake, Snapshot


def check_trainable(
    lake: str | PathLike[str] | Location,
    fingerprint: str,
    uses: Sequence[Use],
    config: TrainConfig,
    *,
    test: str | PathLike[str] | Location,
) -> None:
    """Raises InputError for a use that this lake, this machine or this extractor cannot serve, for a lake without
    labels and for a test set without a sample; MissingDependencyError without PyTorch where a use needs it."""
    from ecos_core.lake.lake import Lake

    opened = Lake.open(lake)
    snapshot = opened.snapshot()
    modality = held_modality(opened, snapshot)
    for use in uses:
        check_use(use, modality)
    if set(uses) - {Use.LINEAR_PROBE}:
        _check_networks(opened, fingerprint, uses, config)
    if not _has_labels(opened, snapshot):
        raise InputError(
            f"{opened.location}: no image has a label, so nothing can be trained; ingest it with class folders"
        )
    data.read_test_set(Location.of(test), modality)


def check_use(use: Use, modality: Modality) -> None:
    """Raises InputError for a use that needs pictures where the samples are none."""
    if modality is not IMAGE and use is not Use.LINEAR_PROBE:
        raise InputError(f"{use.value}: works on images, this lake holds {modality.unit}; use linear_probe")


def _check_networks(lake: Lake, fingerprint: str, uses: Sequence[Use], config: TrainConfig) -> None:
    from ecos_core.features.extractor import EXTRACTOR_NAME
    from ecos_core.training.loop import choose_device
    from ecos_core.training.network import known_backbone

    choose_device(config)
    if {Use.FINE_TUNE, Use.FIXMATCH} & set(uses):
        record = json.loads((lake.folder("features") / fingerprint / EXTRACTOR_NAME).read_bytes())
        known_backbone(record["backbone"], record["weights_sha256"])


def _has_labels(lake: Lake, snapshot: Snapshot) -> bool:
    columns = (lake.read_images(shard, ["label"])["label"] for shard in snapshot.shards)
    return any(column.null_count < len(column) for column in columns)
