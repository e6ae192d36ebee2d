"""The client's folder: its key, policy, tokens, ledger, agreed extractors and private features.

    policy.yaml, home.json     what the owner allows; identity and data version
    key.pem, tokens.json       the signing key; the requesters' hashed tokens (both mode 600)
    token                      the first requester's token (mode 600), to be given away
    ledger/, extractors/       what was spent; what is agreed with the lakes
    log/                       the security log: what was asked, refused and decided
    private_records.jsonl      the list of images           \\ these never leave
    private_features/          one folder a fingerprint     /

The home is bound to the images as they were when it was made, its *data version*: a random label, not derived
from the content. An image that changed since is set aside, never silently used.
"""

from __future__ import annotations

import json
import secrets
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from ecos_core.client.keys import client_id, create_key, load_key, public_hex, write_secret
from ecos_core.client.owners import labels_of, units_of
from ecos_core.client.policy import Policy, read_policy, write_policy
from ecos_core.client.protocol import Frozen
from ecos_core.client.records import (
    PrivateFeatures,
    PrivateRecord,
    build_features,
    is_complete,
    is_current,
    load_features,
    read_records,
    scan_images,
    store_features,
    write_records,
)
from ecos_core.client.security_log import SecurityLog
from ecos_core.client.tokens import TokenStore
from ecos_core.errors import InputError
from ecos_core.names import tidy
from ecos_core.privacy.budget import Limits
from ecos_core.privacy.ledger import Ledger
from ecos_core.progress import ProgressSink, silent
from ecos_core.storage import Location

SCHEMA_VERSION = 1
FIRST_REQUESTER = "first"
COMPUTED_ELSEWHERE = "computed-elsewhere.json"
SECONDS_A_DAY = 86_400.0


class Identity(Frozen):
    """``home.json``: who this client is and which data it speaks for. ``images`` is the owner's folder (None:
    features were given ready-made)."""

    schema_version: int = SCHEMA_VERSION
    client_id: str
    data_version: str
    images: str | None


@dataclass(frozen=True)
class Home:
    """An opened client's folder."""

    path: Path
    identity: Identity
    policy: Policy

    @property
    def tokens(self) -> TokenStore:
        return TokenStore(self.path / "tokens.json")

    @property
    def log(self) -> SecurityLog:
        return SecurityLog(self.path / "log")

    def key(self) -> Ed25519PrivateKey:
        return load_key(self.path / "key.pem")

    def records(self) -> list[PrivateRecord]:
        return read_records(self.path / "private_records.jsonl")

    def cache(self, fingerprint: str) -> Path:
        return self.path / "private_features" / fingerprint

    def open_ledger(self) -> Ledger:
        """Open, with the policy's limits (a change is an entry of the chain).

        Raises IntegrityError when the ledger was tampered with or rolled back, InputError for another delta.
        """
        ledger = Ledger.open(self.path / "ledger")
        if ledger.delta != self.policy.delta:
            raise InputError(
                f"policy.yaml: delta {self.policy.delta:g} differs from the ledger's {ledger.delta:g}, which "
                "never changes; put the ledger's back"
            )
        if ledger.limits != limits_of(self.policy):
            ledger.set_limits(limits_of(self.policy))
            self.log.write("limits", **asdict(ledger.limits), sequence=ledger.head.sequence)
        return ledger

    def features(self, fingerprint: str) -> PrivateFeatures:
        """The cached features of an agreed extractor. Raises InputError when they are not finished."""
        return load_features(self.cache(fingerprint), self.records())


def limits_of(policy: Policy) -> Limits:
    window = policy.refresh_days * SECONDS_A_DAY if policy.refresh_days else None
    return Limits(total=policy.epsilon, per_requester=policy.epsilon_per_requester, window_s=window)


def open_home(path: Path) -> Home:
    """Raises InputError when there is no client here, or it was made by a newer version."""
    try:
        identity = Identity.model_validate_json((path / "home.json").read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no client here; make one with  ecos client init --home {path} …"
        ) from error
    except ValidationError as error:
        raise InputError(f"{path / 'home.json'}: damaged; restore it from a backup") from error
    if identity.schema_version > SCHEMA_VERSION:
        raise InputError(f"{path}: made by a newer version (schema {identity.schema_version}); upgrade ecos")
    return Home(path, identity, read_policy(path / "policy.yaml"))


def init_home(
    path: Path,
    policy: Policy,
    *,
    images: Path,
    extractors: Sequence[Any],
    units: Path | None = None,
    progress: ProgressSink = silent,
) -> Home:
    """Make a client for the images in a folder, and its features for every agreed extractor
    (features.Extractor).

    Interrupted, the same call goes on where it was. A client that is there keeps its rules (``policy.yaml``), whatever
    ``policy`` is. Raises InputError when it is for other images or units, and for adjacency ``unit`` without units.
    """
    if (path / "home.json").exists():
        home = open_home(path)
        if home.identity.images != str(images.absolute()):
            raise InputError(f"{path}: there is a client for other images here; choose another --home")
        if units is not None and {(record.unit, record.sha256) for record in scan_images(images, units)} != {
            (record.unit, record.sha256) for record in home.records()
        }:
            raise InputError(
                f"{path}: there is a client with other units, or other images now; choose another --home"
            )
    else:
        _check_units(policy, units is not None)
        records = scan_images(images, units, progress)
        policy = policy.model_copy(update={"extractors": [extractor.fingerprint for extractor in extractors]})
        home = _make_home(path, policy, records, str(images.absolute()))
    for extractor in extractors:
        add_extractor(home, extractor, progress)
    home = open_home(path)
    check_ready(home)
    return home


def init_home_from_features(
    path: Path,
    policy: Policy,
    *,
    features: npt.NDArray[np.floating],
    fingerprint: str,
    labels: Sequence[str | None] | Path | None = None,
    units: Sequence[str] | Path | None = None,
) -> Home:
    """Make a client from features float [n, d] computed elsewhere (a table, a text encoder, the owner's
    pipeline).

    ``fingerprint`` names the extractor both sides agreed on; every row is a record. ``labels`` and ``units``: one entry
    a row, or a CSV of ``row,label`` and ``row,unit``, rows counted from 0 (``owners``). Raises InputError for features
    that are not finite, a table with a gap, and adjacency ``unit`` without units.
    """
    if features.ndim != 2 or not np.isfinite(features).all():
        raise InputError("features: a table [n, d] of finite numbers is needed")
    _check_units(policy, units is not None)
    names = [str(row) for row in range(len(features))]
    labels = labels_of(names, labels, "row") if isinstance(labels, Path) else labels
    units = units_of(names, units, "row") if isinstance(units, Path) else units
    if any(given is not None and len(given) != len(features) for given in (labels, units)):
        raise InputError("features: labels and units need one entry a row")
    records = [
        PrivateRecord(
            f"row {row}", str(row), labels[row] if labels else None, tidy(units[row]) if units else str(row)
        )
        for row in range(len(features))
    ]
    if len(features) < policy.minimum_records:
        raise InputError(_too_few(path, len(features), policy))
    agreed = policy.model_copy(update={"extractors": [fingerprint]})
    return _make_home(path, agreed, records, None, ready={fingerprint: features.astype(np.float32)})


def add_extractor(home: Home, extractor: Any, progress: ProgressSink = silent) -> None:
    """Keep an agreed extractor in the home and extract with it. The policy's list is the owner's to edit."""
    if home.identity.images is None:
        raise InputError(f"{home.path}: made from ready features; it has no images to extract from")
    kept = home.path / "extractors" / extractor.fingerprint
    if not (kept / "extractor.json").exists():
        extractor.save(str(kept))
    build_features(
        home.cache(extractor.fingerprint), Path(home.identity.images), home.records(), extractor, progress
    )


def complete_features(home: Home, progress: ProgressSink = silent) -> None:
    """Finish the caches of all agreed extractors, and bring them up to date where the images are there. Raises
    InputError when an extractor is not known here."""
    for fingerprint in home.policy.extractors:
        finished = is_complete(home.cache(fingerprint))
        if finished and (home.identity.images is None or is_current(home.cache(fingerprint))):
            continue
        kept = home.path / "extractors" / fingerprint
        if not (kept / "extractor.json").exists():
            if finished:
                continue
            raise InputError(
                f"policy.yaml: extractor '{fingerprint}' is not in this home; "
                "add it with  ecos client extractor add"
            )
        from ecos_core.features.extractor import load_saved

        add_extractor(home, load_saved(str(kept)), progress)


def check_ready(home: Home) -> None:
    """Raises InputError, for the owner's eyes only, when fewer images are usable than the policy asks, or units are to
    be protected and there are none.
    """
    _check_units(home.policy, any(record.unit != record.sha256 for record in home.records()))
    for fingerprint in home.policy.extractors:
        held = len(home.features(fingerprint).features)
        if held < home.policy.minimum_records:
            raise InputError(_too_few(home.path, held, home.policy))


def _check_units(policy: Policy, given: bool) -> None:
    if policy.adjacency == "unit" and not given:
        raise InputError(
            "adjacency 'unit' protects all images of a person or device together: say whose each one is with "
            "--units, a CSV of file,unit (of --features: row,unit); or protect single images with "
            "--adjacency add-remove"
        )


def _too_few(path: Path, held: int, policy: Policy) -> str:
    return (
        f"{path}: {held} usable images, the policy asks for {policy.minimum_records}; "
        "add images or lower 'minimum_records'"
    )


def _make_home(
    path: Path,
    policy: Policy,
    records: Sequence[PrivateRecord],
    images: str | None,
    ready: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Home:
    """Build the folder aside, with features that are ``ready``, then rename it: a whole client or none."""
    if (path / "home.json").exists():
        raise InputError(f"{path}: there is a client here; choose another --home")
    if path.exists() and any(path.iterdir()):
        raise InputError(f"{path}: the folder is not empty and holds no client; choose another --home")
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.parent / f".tmp-{uuid.uuid4().hex}-{path.name}"
    building.mkdir(mode=0o700)
    try:
        identity = Identity(
            client_id=client_id(public_hex(create_key(building / "key.pem"))),
            data_version=secrets.token_hex(16),
            images=images,
        )
        write_policy(building / "policy.yaml", policy)
        read_policy(building / "policy.yaml")
        write_records(building / "private_records.jsonl", records)
        write_secret(
            building / "token", TokenStore(building / "tokens.json").add(FIRST_REQUESTER).encode() + b"\n"
        )
        (building / "ledger").mkdir(mode=0o700)
        Ledger.create(building / "ledger", delta=policy.delta, limits=limits_of(policy)).close()
        Location.of(building / "home.json").write_bytes(json.dumps(identity.model_dump(), indent=1).encode())
        for fingerprint, features in (ready or {}).items():
            store_features(building / "private_features" / fingerprint, features)
        if path.exists():
            path.rmdir()
        building.replace(path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return open_home(path)
