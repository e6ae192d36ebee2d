"""The extractor of a lake by name, checked against what the lake holds; a table's is fitted on the lake itself."""

from __future__ import annotations

from collections.abc import Iterator

from ecos_core.errors import InputError
from ecos_core.features.extractor import (
    EXTRACTOR_NAME,
    TABLE_NAME,
    EngineName,
    Extractor,
    load_extractor,
    read_record,
    table_extractor,
)
from ecos_core.features.tables import TablePreprocessing, fit_columns
from ecos_core.lake.lake import Lake, Snapshot
from ecos_core.lake.modality import TABLE, Modality, modality_of
from ecos_core.storage import Location


def extractor_for_lake(
    lake: Lake,
    name: str,
    *,
    image_size: int | None = None,
    weights: str | None = None,
    engine: EngineName = "auto",
    device: str | None = None,
) -> Extractor:
    """``load_extractor``, or for ``table`` the columns' statistics of this lake.

    A table's statistics are fitted at first use and kept while the lake grows: others would change every feature.
    Raises InputError when the lake's samples are of another kind than the extractor reads.
    """
    snapshot = lake.snapshot()
    held = held_modality(lake, snapshot)
    if name != TABLE_NAME:
        loaded = load_extractor(
            name,
            image_size=image_size,
            weights=weights,
            engine=engine,
            device=device,
            saved=saved_extractors(lake),
        )
        _check(lake, held, loaded.preprocessing.modality, name)
        return loaded
    _check(lake, held, TABLE, name)
    columns = _saved_columns(lake) or fit_columns(lambda: _rows(lake, snapshot))
    return table_extractor(columns)


def held_modality(lake: Lake, snapshot: Snapshot) -> Modality:
    """What the lake's first sample is."""
    table = lake.read_images(snapshot.shards[0], ["media_type"])
    return modality_of(table["media_type"][0].as_py())


def saved_extractors(lake: Lake) -> list[Location]:
    """The folder of every extractor that this lake has features of."""
    folders = [
        lake.folder("features") / fingerprint for fingerprint in sorted(lake.folder("features").names())
    ]
    return [folder for folder in folders if (folder / EXTRACTOR_NAME).exists()]


def _check(lake: Lake, held: Modality, wanted: Modality, name: str) -> None:
    if held is not wanted:
        raise InputError(
            f"{lake.location}: holds {held.unit}, extractor '{name}' reads {wanted.unit}; use "
            + {"image": "efficientnet_lite0", "text": "all_minilm_l6_v2", "table": TABLE_NAME}[held.name]
        )


def _saved_columns(lake: Lake) -> TablePreprocessing | None:
    for folder in saved_extractors(lake):
        record = read_record(folder)
        if record["backbone"] == TABLE_NAME:
            return TablePreprocessing.model_validate(record["preprocessing"])
    return None


def _rows(lake: Lake, snapshot: Snapshot) -> Iterator[bytes]:
    for shard in snapshot.shards:
        yield from lake.read_images(shard, ["bytes"])["bytes"].to_pylist()
