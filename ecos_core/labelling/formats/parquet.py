"""One Parquet file with the images inside, in the layout that Hugging Face's datasets read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ecos_core.errors import InputError
from ecos_core.labelling.answers import Said
from ecos_core.labelling.formats.base import LabelFormat, Outgoing, Returned
from ecos_core.labelling.formats.rows import SAMPLE_COLUMNS, label_column, said_in
from ecos_core.labelling.task_table import task_table
from ecos_core.storage.parquet import open_parquet

FILE = "tasks-with-images.parquet"
_BLOCK = 500


def write(out: Outgoing) -> None:
    """Rows in the lake's order with the columns of ``tasks.parquet`` and Hugging Face's ``image`` struct."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    by_id = {task.sample_id: task for task in out.tasks}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = (
        task_table([]).schema.append(pa.field("image_file", image)).append(pa.field("label", pa.string()))
    )
    rows = out.pictures()
    with pq.ParquetWriter(out.folder / FILE, schema, compression="zstd") as writer:
        while batch := list(islice(rows, _BLOCK)):
            tasks = [by_id[sample_id] for sample_id, _ in batch]
            files = [
                {"bytes": data, "path": task.file_name} for (_, data), task in zip(batch, tasks, strict=True)
            ]
            table = task_table(tasks).append_column("image_file", pa.array(files, image))
            writer.write_table(table.append_column("label", pa.nulls(len(tasks), pa.string())))


def read(returned: Returned) -> Iterator[Said]:
    """The rows of a filled-in file; its images are not read."""
    import pyarrow as pa

    try:
        file = open_parquet(returned.where)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{returned.where}: not a Parquet file") from error
    names = {name.casefold(): name for name in file.schema_arrow.names}
    label = label_column(returned.where, names, returned.control)
    wanted = [
        names[name]
        for name in (*SAMPLE_COLUMNS, label, "annotator", "created_at", "updated_at")
        if name in names
    ]
    plain = [
        name
        for name in wanted
        if not pa.types.is_struct(file.schema_arrow.field(name).type) or name == names[label]
    ]
    yield from said_in(_cells(file, plain), label, returned.given.sample_of)


def _cells(file: Any, columns: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    number = 0
    for batch in file.iter_batches(columns=columns, use_threads=False):
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", {name.casefold(): value for name, value in row.items()}


PARQUET = LabelFormat(
    "parquet",
    write,
    read,
    """\
For programs rather than people: fill in the column `label` of `tasks-with-images.parquet`, for instance with pandas;
add a column `annotator` if several people do. People label more easily in another `--format`.""",
    place=None,
)
