import pyarrow as pa
import pytest

from ecos_core.errors import InputError, IntegrityError
from ecos_core.storage import (
    Location,
    Manifest,
    ShardRecord,
    read_manifest,
    read_shard,
    verify_shards,
    write_manifest,
    write_shard,
)

TABLE = pa.table({"sample_id": ["a", "b"], "feature": [[1.0, 2.0], [3.0, 4.0]]})


@pytest.fixture
def folder(tmp_path):
    return Location.of(tmp_path)


def test_a_shard_comes_back_and_equal_tables_give_equal_bytes(folder):
    first = write_shard(folder, "one.parquet", TABLE)
    second = write_shard(folder, None, TABLE)
    assert read_shard(folder, first).equals(TABLE)
    assert second.name == f"{first.sha256}.parquet"
    assert (folder / "one.parquet").read_bytes() == (folder / second.name).read_bytes()


def test_private_columns_are_refused_by_name(folder):
    with pytest.raises(InputError, match="private_votes"):
        write_shard(folder, "x.parquet", TABLE.append_column("private_votes", pa.array([1, 2])))
    assert folder.names() == []


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_a_damaged_shard_is_an_integrity_error(folder, damage):
    record = write_shard(folder, "one.parquet", TABLE)
    path = (folder / record.name).path
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[20] ^= 0xFF
        path.write_bytes(data)
    with pytest.raises(IntegrityError):
        read_shard(folder, record)
    with pytest.raises(IntegrityError):
        verify_shards(folder, Manifest(kind="test", shards=[record]))


def test_the_digest_covers_the_content_and_nothing_else(folder):
    record = ShardRecord(name="s", rows=1, bytes=1, sha256="0" * 64)
    one = Manifest(kind="test", shards=[record], parameters={"b": 1, "a": 2})
    same = Manifest(kind="test", shards=[record], parameters={"a": 2, "b": 1})
    other = Manifest(kind="test", shards=[record], parameters={"a": 2, "b": 2})
    assert one.digest == same.digest != other.digest
    assert write_manifest(folder, one) == one.digest
    assert read_manifest(folder, "test") == one


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, InputError, "no finished test here"),
        ("{", IntegrityError, "valid manifest"),
        ('{"kind": "other"}', InputError, "this is a 'other'"),
        ('{"kind": "test", "schema_version": 99}', InputError, "upgrade ecos"),
    ],
)
def test_a_manifest_that_is_not_the_one_wanted(folder, text, error, message):
    if text is not None:
        (folder / "manifest.json").write_bytes(text.encode())
    with pytest.raises(error, match=message):
        read_manifest(folder, "test")


def test_what_is_compressed_already_is_stored_as_it_is_and_the_rest_is_compressed(folder):
    import pyarrow.parquet as pq

    table = pa.table({"bytes": [b"\x00" * 5000] * 4, "names": [["a", "b"]] * 4, "label": ["x"] * 4})
    record = write_shard(folder, None, table, opaque=["bytes"])
    assert read_shard(folder, record).equals(table) and record.bytes > 20_000
    group = pq.read_metadata((folder / record.name).path).row_group(0)
    found = {group.column(index).path_in_schema: group.column(index).compression for index in range(3)}
    assert found == {"bytes": "UNCOMPRESSED", "names.list.element": "ZSTD", "label": "ZSTD"}
    features = pa.table({"feature": pa.array([[0.5] * 8] * 4, pa.list_(pa.float16(), 8))})
    ordinary = write_shard(folder, "features.parquet", features)
    assert pq.read_metadata((folder / ordinary.name).path).row_group(0).column(0).compression == "ZSTD"
