"""Where bytes live: one layer for local folders and object stores, and the artefacts built on it."""

from ecos_core.storage.artefacts import (
    Manifest,
    ShardRecord,
    canonical_json,
    read_manifest,
    read_shard,
    sha256_hex,
    verify_shards,
    write_manifest,
    write_shard,
)
from ecos_core.storage.locations import Location
from ecos_core.storage.reuse import held, identity

__all__ = [
    "Location",
    "Manifest",
    "ShardRecord",
    "canonical_json",
    "held",
    "identity",
    "read_manifest",
    "read_shard",
    "sha256_hex",
    "verify_shards",
    "write_manifest",
    "write_shard",
]
