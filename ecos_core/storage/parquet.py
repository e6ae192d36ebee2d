"""Opening a Parquet file without starting a thread of pyarrow's.

pyarrow 25 now and then aborts a process that ends while one of its threads still holds a Python object. Its readers
start none when nothing is read ahead and ``use_threads=False`` is given to every read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet as pq


def open_parquet(
    source: Any, *, checked: bool = False, metadata: pq.FileMetaData | None = None
) -> pq.ParquetFile:
    """A ``pyarrow.parquet.ParquetFile`` of a path or a seekable binary file; read with ``use_threads=False``.

    ``checked``: the checksums of the pages read are verified. Raises pyarrow.ArrowInvalid or OSError where it is
    no Parquet file.
    """
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, metadata=metadata, pre_buffer=False, page_checksum_verification=checked)
