"""Reading Parquet starts no thread: pyarrow's would now and then abort a process that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from ecos_core.storage import Location, write_shard

READ = """
import os, sys, pyarrow
from ecos_core.storage import Location, ShardRecord, read_shard
from ecos_core.storage.parquet import open_parquet
folder, name, size, digest = sys.argv[1:]
threads = len(os.listdir("/proc/self/task"))
path = f"{folder}/{name}"
with open(path, "rb") as file:
    open_parquet(file).read(use_threads=False)
batches = open_parquet(path, checked=True).iter_batches(10, use_threads=False)
rows = sum(len(batch) for batch in batches)
table = read_shard(Location.of(folder), ShardRecord(name=name, sha256=digest, bytes=int(size), rows=rows))
assert len(table) == rows == 1000
print(len(os.listdir("/proc/self/task")) - threads)
"""


def test_no_thread_is_started(tmp_path: Path) -> None:
    table = pa.table({"id": list(range(1000)), "name": [str(number) for number in range(1000)]})
    record = write_shard(Location.of(tmp_path), "rows.parquet", table)
    words = [str(tmp_path), record.name, str(record.bytes), record.sha256]
    done = subprocess.run(
        [sys.executable, "-c", READ, *words], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "0"
