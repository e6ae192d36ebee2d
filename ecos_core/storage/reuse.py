"""Reuse is by identity: what is on disk is taken for what was asked only when every input and parameter is the same.

A step that resumes or reuses asks ``held`` for its finished artefact; what has no manifest (a checkpoint, an
unfinished run, a cached fit) is named by its ``identity``. ``inputs`` maps a role to the digest of what plays it,
``parameters`` is what was asked for; what changes no byte of the result (a time-out, say) is in neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ecos_core.errors import InputError
from ecos_core.storage.artefacts import MANIFEST_NAME, Manifest, canonical_json, read_manifest, sha256_hex
from ecos_core.storage.locations import Location

Parameters = Mapping[str, Any]
MOST_NAMED = 3


def identity(kind: str, inputs: Mapping[str, str], parameters: Parameters) -> str:
    """64 hex digits, the same for equal arguments alone."""
    return sha256_hex(canonical_json([kind, dict(inputs), dict(parameters)]))


def held(
    folder: Location,
    kind: str,
    inputs: Mapping[str, str],
    parameters: Parameters,
    *,
    replace: bool = False,
    read_old: Callable[[dict[str, Any]], Parameters | None] | None = None,
    name: str = MANIFEST_NAME,
) -> Manifest | None:
    """The finished artefact of exactly these inputs and parameters in ``folder``; None where there is none.

    ``replace``: another one there gives None, and the caller makes its own in its place. ``read_old``: stored
    parameters of any earlier version in the words of this one, None where they mean nothing any more. Raises
    InputError, naming what differs, where another artefact is in the way, and as ``read_manifest`` does.
    """
    if not (folder / name).exists():
        return None
    manifest = read_manifest(folder, kind, name)
    stored: Parameters | None = manifest.parameters if read_old is None else read_old(manifest.parameters)
    different = differences(manifest.inputs, inputs) + differences(stored or {}, parameters)
    if not different:
        return manifest
    if replace:
        return None
    more = f" and {len(different) - MOST_NAMED} more" if len(different) > MOST_NAMED else ""
    raise InputError(
        f"{folder}: holds another {kind}, which is kept (of another {', '.join(different[:MOST_NAMED])}{more}); "
        "choose another folder"
    )


def differences(stored: Parameters, asked: Parameters) -> list[str]:
    """The names whose values are not the same in both, sorted; absent is not the same as any value."""
    absent = object()
    names = sorted({*stored, *asked})
    return [name for name in names if not _same(stored.get(name, absent), asked.get(name, absent))]


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: a tuple is its list, 1 is not True."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return not differences(one, other)
    return bool(one == other)
