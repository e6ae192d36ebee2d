"""What a training reads: the picks of a selection, their labels, their pictures and features, and a test
set.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ecos_core.errors import InputError
from ecos_core.labelling.votes import majority
from ecos_core.lake.lookup import image_rows
from ecos_core.lake.modality import IMAGE, TABLE, Modality
from ecos_core.names import class_name, readable
from ecos_core.sampling.store import picked_so_far
from ecos_core.storage import Location, Manifest, canonical_json, sha256_hex
from ecos_core.storage.folders import files_below
from ecos_core.storage.parquet import open_parquet

if TYPE_CHECKING:
    from ecos_core.lake.lake import Lake, Snapshot

LABELS_NAME = "labels.parquet"
OTHER = "other"
NOT_IN_LABEL_SET = "not in the label set"


@dataclass(frozen=True)
class Picks:
    """The picks of a selection in the order picked, and its manifest."""

    sample_ids: list[str]
    manifest: Manifest


@dataclass(frozen=True)
class LabelledImages:
    """Image files' bytes with their labels. ``left_out`` counts samples without a label, by reason."""

    sample_ids: list[str]
    images: list[bytes]
    labels: list[str]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def within(self, label_set: Sequence[str], others: Literal["leave_out", "one_class"]) -> LabelledImages:
        """Those of the ``label_set`` (empty: all); the ``others`` are left out and counted, or become one class."""
        if not label_set:
            return self
        known = set(label_set)
        if others == "one_class":
            named = [label if label in known else OTHER for label in self.labels]
            return replace(self, labels=named)
        kept = [row for row, label in enumerate(self.labels) if label in known]
        counted = {NOT_IN_LABEL_SET: len(self) - len(kept)} if len(kept) < len(self) else {}
        return LabelledImages(
            [self.sample_ids[row] for row in kept],
            [self.images[row] for row in kept],
            [self.labels[row] for row in kept],
            {**self.left_out, **counted},
        )


def read_picks(selection: Location, budget: int | None = None) -> Picks:
    """The first ``budget`` picks (default: all), those of the selection that it continues first. Raises InputError
    when there is no selection or it has fewer.
    """
    manifest, picked = picked_so_far(selection)
    if not picked:
        raise InputError(f"{selection}: the selection is empty; sample again with a budget of 1 or more")
    if budget is not None and budget > len(picked):
        raise InputError(
            f"{selection}: budget {budget} is more than the {len(picked)} picks here; sample again"
        )
    return Picks(picked[:budget], manifest)


def read_labels(folder: Location) -> dict[str, str]:
    """One label for each sample of a labels folder: what most annotators said; a tie is no label.

    Raises InputError when there is no ``labels.parquet`` or it lacks a column.
    """
    import pyarrow as pa

    where = folder / LABELS_NAME
    try:
        with where.open_input() as file:
            table = open_parquet(file).read(columns=["sample_id", "label"], use_threads=False)
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: no {LABELS_NAME} here; take labels back with  ecos handoff import"
        ) from error
    except (pa.ArrowInvalid, KeyError) as error:
        raise InputError(f"{where}: not a labels file (columns sample_id and label are needed)") from error
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for sample_id, label in zip(table["sample_id"].to_pylist(), table["label"].to_pylist(), strict=True):
        if label is not None:
            votes[sample_id][label] += 1
    found = {sample_id: majority(count) for sample_id, count in votes.items()}
    return {sample_id: label for sample_id, label in found.items() if label is not None}


def labelled_images(
    lake: Lake, snapshot: Snapshot, sample_ids: list[str], labels: dict[str, str] | None
) -> LabelledImages:
    """Pictures and labels of the picks, in their order. ``labels`` None: the lake's own column.

    Raises InputError when not one has a label.
    """
    rows = {row["sample_id"]: row for row in image_rows(lake, snapshot, sample_ids, ["bytes", "label"])}
    names = {id: (rows[id]["label"] if labels is None else labels.get(id)) for id in sample_ids}
    kept = [id for id in sample_ids if names[id] is not None]
    if not kept:
        raise InputError(
            "no selected sample has a label; give --labels DIR, or ingest the lake with class folders"
        )
    left_out = {"no label": len(sample_ids) - len(kept)} if len(kept) < len(sample_ids) else {}
    return LabelledImages(kept, [rows[id]["bytes"] for id in kept], [str(names[id]) for id in kept], left_out)


def read_test_set(folder: Location, modality: Modality = IMAGE) -> LabelledImages:
    """Every readable sample of ``folder/…/class/file``, labelled by the folder that holds it; for a table, every row of
    a CSV with a column ``label``.

    What is no sample of that kind, or has no label, is left out and counted. Raises InputError when nothing is left.
    """
    from ecos_core.lake.decode import BadSample

    ids, images, labels = [], [], []
    left_out: Counter[str] = Counter()
    for name, label, data in _rows(folder) if modality is TABLE else _contents(folder, left_out):
        try:
            modality.examine(data)
        except BadSample as error:
            left_out[error.reason] += 1
            continue
        if label is None:
            left_out["no label"] += 1
            continue
        ids.append(name)
        images.append(data)
        labels.append(label)
    if not images:
        what = "a CSV with a column 'label'" if modality is TABLE else "a folder of class/file"
        raise InputError(f"{folder}: no {modality.unit} here to test on; give {what}")
    return LabelledImages(ids, images, labels, dict(left_out))


def _rows(listing: Location) -> Iterator[tuple[str, str | None, bytes]]:
    from ecos_core.lake.sources.rows import read_rows

    if not listing.path.is_file():
        raise InputError(f"{listing}: no such file; give the test rows as a CSV with a column 'label'")
    for row in read_rows(listing):
        yield f"{listing.name}#{row.number}", row.facts.label, row.data


def _contents(folder: Location, left_out: Counter[str]) -> Iterator[tuple[str, str | None, bytes]]:
    """(name, class, content) of every file inside a folder of the root; the class is the folder's name."""
    if not folder.path.is_dir():
        raise InputError(f"{folder}: no such folder; give a test set as a folder of class/file")
    files, passed_over = files_below(folder.path)
    left_out.update(passed_over)
    for parts in files:
        if len(parts) < 2:
            continue
        try:
            data = folder.path.joinpath(*parts).read_bytes()
        except OSError:
            left_out["unreadable"] += 1
            continue
        yield readable("/".join(parts)), class_name(parts[-2]), data


def lake_features(
    lake: Lake, snapshot: Snapshot, fingerprint: str, sample_ids: list[str]
) -> NDArray[np.float32]:
    """Stored features float32 [n, d] of the given samples, in their order.

    Raises InputError when this extractor never saw this snapshot, or could not read one of the samples.
    """
    from ecos_core.features.feature_set import FeatureSet

    stored = FeatureSet.open(lake, fingerprint, snapshot.id)
    ids, features = stored.of(sample_ids)
    if len(ids) < len(sample_ids):
        raise InputError(
            f"{stored.folder}: {len(sample_ids) - len(ids)} selected samples have no features; "
            "run  ecos index"
        )
    return features


def digest_of(images: LabelledImages) -> str:
    """sha256 over the ids, labels and contents."""
    rows = [
        [sample_id, label, sha256_hex(content)]
        for sample_id, label, content in zip(images.sample_ids, images.labels, images.images, strict=True)
    ]
    return sha256_hex(canonical_json(rows))
