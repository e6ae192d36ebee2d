"""The labels folder: every answer ever imported, never changed, and the labels that follow from them.

``imports/<sha256>.parquet`` holds the answers of one import; ``manifest.json`` lists them in order with the
label set in force; ``labels.parquet`` is computed from all of it and can be thrown away. An import that is
repeated adds nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Answer
from ecos_core.labelling.people import People
from ecos_core.labelling.resolution import Event, Resolution, resolve
from ecos_core.names import tidy
from ecos_core.storage import Location, Manifest, read_manifest, read_shard, write_manifest, write_shard

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "labels"
RESOLVED_NAME = "labels.parquet"
# How the reference of an answer begins that its tool has given a number of its own.
NUMBERED = "annotation "


def event_schema() -> pa.Schema:
    """Columns of the stored answers, as in docs/data-contracts.md."""
    import pyarrow as pa

    texts = ["sample_id", "label", "annotator", "source", "created_at", "status", "reference"]
    return pa.schema([*((name, pa.string()) for name in texts), ("final", pa.bool_())])


@dataclass(frozen=True)
class LabelStore:
    """A labels folder. ``LabelStore.at(url)`` works on an absent one too; it is made by the first import."""

    location: Location

    @classmethod
    def at(cls, url: str | PathLike[str] | Location) -> LabelStore:
        """The store at a path or address; made when the first answers are added."""
        return cls(Location.of(url))

    def manifest(self) -> Manifest:
        """The manifest; an empty one where nothing was imported yet."""
        if not (self.location / "manifest.json").exists():
            return Manifest(kind=KIND, parameters={"label_set": [], "renames": {}}, summary={"imports": []})
        return read_manifest(self.location, KIND)

    def events(self) -> Iterator[Event]:
        """All answers, oldest import first, each person under one name."""
        manifest = self.manifest()
        known: dict[str, People] = {}
        records = manifest.summary["imports"]
        for number, (shard, record) in enumerate(zip(manifest.shards, records, strict=True)):
            handoff = record.get("handoff", "")
            if handoff not in known:
                known[handoff] = _people(manifest, handoff)
            for row in read_shard(self.location / "imports", shard).to_pylist():
                name = known[handoff].name(row["annotator"])
                yield Event(**row | {"annotator": name, "imported": number})

    def annotators_of(self, handoff: str) -> dict[tuple[str, str, str], str]:
        """(sample, annotation, time) -> who gave it, of the answers to this hand-off that their tool has numbered."""
        manifest = self.manifest()
        columns = ["sample_id", "reference", "created_at", "annotator"]
        found: dict[tuple[str, str, str], str] = {}
        for shard, record in zip(manifest.shards, manifest.summary["imports"], strict=True):
            if record.get("handoff") == handoff:
                for row in read_shard(self.location / "imports", shard, columns).to_pylist():
                    if str(row["reference"]).startswith(NUMBERED):
                        found[row["sample_id"], row["reference"], row["created_at"]] = row["annotator"]
        return found

    def people(self, handoff: str) -> People:
        """The annotators of the hand-off with this digest, as far as imports have told."""
        return _people(self.manifest(), handoff)

    def append(
        self,
        answers: Iterable[Answer],
        *,
        file_digest: str,
        source: str,
        handoff: str,
        label_set: Sequence[str],
        renames: Mapping[str, str],
        people: People | None = None,
        final: bool = False,
        now: datetime | None = None,
    ) -> bool:
        """Add the answers of one returned file, and resolve all labels anew.

        Args:
            file_digest: sha256 of what was returned: the same file again adds no rows.
            source: recorded with each label.
            handoff: digest of the hand-off's manifest.
            label_set, renames: labels that count from now on, and old name -> new name; both add to those in
                force.
            people: what is known of the hand-off's annotators now.
            final: these answers override all votes.
            now: the time of answers that carry none.

        Returns whether the file was new.
        """
        with self._writing():
            before = self.manifest()
            imports = list(before.summary["imports"])
            new = file_digest not in {record["sha256"] for record in imports}
            shards = list(before.shards)
            if new:
                when = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds")
                table = _event_table(answers, source, when, final)
                shard = write_shard(self.location / "imports", f"{file_digest}.parquet", table)
                shards.append(shard)
                imports.append(
                    {"sha256": file_digest, "source": source, "rows": table.num_rows, "handoff": handoff}
                )
            self._publish(before, handoff, shards, imports, label_set, renames, people)
        return new

    def _publish(
        self, before: Manifest, handoff: str, shards: list[Any], imports: list[Any],
        label_set: Sequence[str], renames: Mapping[str, str], people: People | None,
    ) -> None:  # fmt: skip
        parameters: dict[str, Any] = {
            "label_set": list(dict.fromkeys([*before.parameters["label_set"], *label_set])),
            "renames": {**before.parameters["renames"], **renames},
            "people": dict(before.parameters.get("people", {})),
        }
        if people is not None:
            parameters["people"][handoff] = {"links": people.links, "spelled": people.spelled}
        after = Manifest(
            kind=KIND,
            inputs=before.inputs | {f"handoff {handoff[:12]}": handoff},
            parameters=parameters,
            shards=shards,
            summary={"imports": imports},
        )
        write_manifest(self.location, after)
        self._write_resolved()

    def resolve(self) -> Resolution:
        """The labels that follow from all answers, and what is to be reviewed."""
        parameters = self.manifest().parameters
        renames = {tidy(old): tidy(new) for old, new in parameters["renames"].items()}
        return resolve(self.events(), frozenset(map(tidy, parameters["label_set"])), renames)

    def _write_resolved(self) -> None:
        import pyarrow as pa

        columns = ["sample_id", "label", "annotator", "source", "created_at", "votes", "voters"]
        labels = sorted(self.resolve().labels.values(), key=lambda label: label.sample_id)
        types = [pa.string()] * 5 + [pa.int32()] * 2
        arrays = [
            pa.array([getattr(label, name) for label in labels], type)
            for name, type in zip(columns, types, strict=True)
        ]
        write_shard(self.location, RESOLVED_NAME, pa.Table.from_arrays(arrays, names=columns))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Keep other imports out, so that none overwrites another's list. An object store has no lock."""
        if not self.location.is_local:
            yield
            return
        from filelock import FileLock, Timeout

        self.location.make_folder()
        try:
            with FileLock(self.location.path / ".lock", timeout=60):
                yield
        except Timeout as error:
            raise InputError(
                f"{self.location}: another import is writing here; wait until it is done"
            ) from error


def _people(manifest: Manifest, handoff: str) -> People:
    held = manifest.parameters.get("people", {}).get(handoff, {})
    return People(held.get("links"), held.get("spelled", ()))


def _event_table(answers: Iterable[Answer], source: str, now: str, final: bool) -> pa.Table:
    import pyarrow as pa

    rows = [
        {
            "sample_id": answer.sample_id,
            "label": answer.label,
            "annotator": answer.annotator,
            "source": source,
            "created_at": utc(answer.created_at) or now,
            "status": str(answer.status),
            "reference": answer.reference,
            "final": final,
        }
        for answer in answers
    ]
    return pa.Table.from_pylist(rows, event_schema())


def utc(text: str | None) -> str | None:
    """ISO 8601 in UTC, so that times compare as text; None where it cannot be read."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return (
        (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        .astimezone(UTC)
        .isoformat(timespec="microseconds")
    )
