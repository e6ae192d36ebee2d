"""A selection on disk, as in docs/data-contracts.md: three Parquet files and a manifest written last."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ecos_core.errors import InputError, IntegrityError
from ecos_core.sampling.selection import Omitted, Selection
from ecos_core.storage import Location, Manifest, read_manifest, read_shard, write_manifest, write_shard

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "selection"
TABLES = ("selection", "omitted_clusters", "omitted_samples", "clusters")
EARLIER = "earlier.parquet"


def write_selection(
    folder: str | os.PathLike[str] | Location,
    selection: Selection,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    earlier: Sequence[str] = (),
    outside: Mapping[str, Any] | None = None,
) -> str:
    """Write the selection and return its digest; the same selection gives the same bytes.

    ``parameters``: what was asked for (sampler's configuration, budget, seed, release); ``inputs``: digests
    by role (clusters, scores); ``earlier``: the picks that it continues; ``outside``: what the scores say of
    the client outside the lake. Raises InputError when the disk refuses.
    """
    import pyarrow as pa

    where = Location.of(folder)
    tables = {**selection.to_tables(), "clusters": selection.cluster_table()}
    shards = [write_shard(where, f"{name}.parquet", tables[name]) for name in TABLES]
    if earlier:
        shards.append(write_shard(where, EARLIER, pa.table({"sample_id": pa.array(earlier, pa.string())})))
    summary = {
        "sampler": selection.sampler,
        "samples": len(selection),
        "clusters": int(np.unique(selection.cluster).size),
        "omitted_samples": len(selection.omitted.sample_id),
        **({"outside": dict(outside)} if outside else {}),
    }
    manifest = Manifest(
        kind=KIND, inputs=dict(inputs), parameters=dict(parameters), shards=shards, summary=summary
    )
    return write_manifest(where, manifest)


def read_picks(folder: str | os.PathLike[str] | Location) -> tuple[pa.Table, Manifest]:
    """The table of the picks alone, in the order picked. Raises InputError where there is no selection, or none that
    lists its picks, or one that lists a sample twice."""
    where = Location.of(folder)
    manifest = read_manifest(where, KIND)
    records = [record for record in manifest.shards if record.name == "selection.parquet"]
    if not records:
        raise InputError(
            f"{where}: the selection's manifest lists no selection.parquet; make the selection again"
        )
    picks = read_shard(where, records[0]).sort_by("order")
    if len(picks["sample_id"].unique()) < picks.num_rows:
        raise InputError(f"{where}: the selection lists a sample twice; make the selection again")
    return picks, manifest


def read_selection(folder: str | os.PathLike[str] | Location) -> tuple[Selection, Manifest]:
    """Read a selection back. Raises InputError where there is none, IntegrityError when a file is missing or
    bad."""
    where = Location.of(folder)
    manifest = read_manifest(where, KIND)
    records = {record.name.removesuffix(".parquet"): record for record in manifest.shards}
    if missing := set(TABLES) - records.keys():
        raise IntegrityError(
            str(where / "manifest.json"), f"shards {', '.join(TABLES)}", f"none for {missing}"
        )
    picks, omitted, clusters = (
        read_shard(where, records[name]) for name in ("selection", "omitted_samples", "clusters")
    )
    selection = Selection(
        sampler=str(manifest.summary["sampler"]),
        sample_id=_text(picks["sample_id"]),
        cluster=picks["cluster"].to_numpy().astype(np.int64),
        radius=_floats(picks["radius"]).astype(np.float32),
        reason=_text(picks["reason"]),
        cluster_size=clusters["size"].to_numpy().astype(np.int64),
        cluster_noisy=_floats(clusters["noisy_score"]),
        cluster_score=_floats(clusters["score"]),
        cluster_taken=clusters["taken"].to_numpy().astype(np.int64),
        omitted=Omitted(
            _text(omitted["sample_id"]),
            omitted["cluster"].to_numpy().astype(np.int64),
            _text(omitted["reason"]),
            omitted["after_picks"].to_numpy().astype(np.int64),
        ),
    )
    return selection, manifest


def picked_so_far(folder: str | os.PathLike[str] | Location) -> tuple[Manifest, list[str]]:
    """A selection's manifest and sample ids: the picks that it continues first, then its own in their order."""
    where = Location.of(folder)
    picks, manifest = read_picks(where)
    earlier = [record for record in manifest.shards if record.name == EARLIER]
    before = read_shard(where, earlier[0])["sample_id"].to_pylist() if earlier else []
    return manifest, [*before, *picks["sample_id"].to_pylist()]


def _text(column: Any) -> np.ndarray[Any, Any]:
    return np.array(column.to_pylist(), dtype=str)


def _floats(column: Any) -> np.ndarray[Any, Any]:
    return np.array([np.nan if value is None else value for value in column.to_pylist()], dtype=np.float64)
