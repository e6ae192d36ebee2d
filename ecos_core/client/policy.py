"""The owner's rules, in a YAML file that its owner can read and edit.

Every refusal depends on the request, the ledger and this file only. Whatever the rules need to know about the
data (is there enough of it for so many clusters?) is the owner's own statement here, never a measurement:
under add/remove adjacency even the number of records is private.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ecos_core.client.operations import OPERATIONS
from ecos_core.client.protocol import Adjacency, Fingerprint, parse
from ecos_core.errors import InputError, PolicyError
from ecos_core.storage import Location

RETIRED = ("moments",)
Approval = Literal["automatic", "manual"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Policy(BaseModel):
    """See TEMPLATE for what each rule means; a rule left out has the default given here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1)]
    epsilon_per_requester: Positive | None = None
    refresh_days: Positive | None = None
    requesters: Literal["all"] | list[Name] = "all"
    operations: list[str] = ["score"]
    extractors: list[Fingerprint] = []
    adjacency: Adjacency = "add-remove"
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    smallest_sigma: Positive = 1.0
    largest_sigma: Positive = 10_000.0
    stated_records: Annotated[int, Field(gt=0)] | None = None
    minimum_records: Annotated[int, Field(ge=1)] = 100
    clusters_per_record: Annotated[float, Field(gt=0, le=1)] = 0.5
    clusters_at_most: Annotated[int, Field(ge=1)] = 2000
    points_at_most: Annotated[int, Field(ge=1)] = 5000
    requests_per_minute: Annotated[int, Field(ge=1)] = 60
    failed_logins_per_minute: Annotated[int, Field(ge=1)] = 30
    approval: Approval | list[Name] = "automatic"
    peers: list[Key] = []
    honest_peers: Annotated[int, Field(ge=0, le=1000)] = 0
    answer_after_seconds: Annotated[float, Field(ge=0, le=600)] = 0.5
    largest_request_mb: Positive = 32.0
    largest_model_mb: Positive = 16.0
    model_seconds: Annotated[int, Field(ge=1, le=600)] = 20

    @field_validator("operations", mode="before")
    @classmethod
    def _retired(cls, names: object) -> object:
        """A file of before may list an operation that is no longer offered."""
        return [name for name in names if name not in RETIRED] if isinstance(names, list | tuple) else names

    @field_validator("operations")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        unknown = [name for name in names if name not in OPERATIONS]
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}; there are {', '.join(OPERATIONS)}")
        return names

    @model_validator(mode="before")
    @classmethod
    def _honest_by_number(cls, rules: Any) -> Any:
        """A file of before gives a share of all clients of a sum, itself included; the number that is never more."""
        if not isinstance(rules, dict) or not isinstance(share := rules.get("honest_peers"), float):
            return rules
        peers = rules.get("peers") or []
        number = int(share) if share >= 1 else max(0, math.floor(share * (len(peers) + 1)) - 1)
        return {**rules, "honest_peers": number}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.honest_peers > max(1, len(self.peers)):
            raise ValueError(f"honest_peers is {self.honest_peers}, and peers lists {len(self.peers)}")
        if self.smallest_sigma > self.largest_sigma:
            raise ValueError("smallest_sigma is larger than largest_sigma")
        return self

    @property
    def dishonest_peers(self) -> int:
        """How many of all the peers listed may add no noise to a sum, or tell it."""
        return max(0, len(self.peers) - self.honest_peers)

    @property
    def most_clusters(self) -> int:
        """How many centroids one request may hold."""
        if self.stated_records is None:
            return self.clusters_at_most
        return max(1, min(self.clusters_at_most, int(self.clusters_per_record * self.stated_records)))

    def approval_of(self, requester: str) -> Approval:
        """Whether this requester's new requests wait for the owner."""
        if isinstance(self.approval, list):
            return "manual" if requester in self.approval else "automatic"
        return self.approval

    def check_requester(self, requester: str, operation: str) -> None:
        """Raises PolicyError when this requester or this operation is not allowed."""
        if self.requesters != "all" and requester not in self.requesters:
            raise PolicyError(f"requester '{requester}' is not in the client's policy; ask the data owner")
        if operation not in self.operations:
            allowed = ", ".join(self.operations) or "none"
            raise PolicyError(
                f"operation '{operation}' is not allowed by the client's policy (allowed: {allowed})"
            )

    def check_fingerprint(self, fingerprint: str) -> None:
        """Raises PolicyError when the centroids live in another extractor's features than one agreed on."""
        if fingerprint not in self.extractors:
            agreed = ", ".join(self.extractors) or "none yet"
            raise PolicyError(
                f"extractor '{fingerprint}' is not agreed with this client (agreed: {agreed}); "
                "index the lake with an agreed one, or have the owner add yours"
            )

    def check_mechanism(self, sigma: float, adjacency: str, gamma: float) -> None:
        """Raises PolicyError for another adjacency or gamma than the policy's, too little noise or too much.

        One fixed gamma: an asker who chose it after looking at answers could exceed the limit.
        """
        if gamma != self.gamma:
            every = "all records take part in every answer" if self.gamma == 1 else "that is fixed"
            raise PolicyError(f"gamma {gamma:g}: this client's is {self.gamma:g}, {every}")
        if adjacency != self.adjacency:
            raise PolicyError(f"adjacency '{adjacency}': this client accounts for '{self.adjacency}' only")
        if sigma < self.smallest_sigma:
            raise PolicyError(f"sigma {sigma:g} is below the policy's smallest, {self.smallest_sigma:g}")
        if sigma > self.largest_sigma:
            raise PolicyError(f"sigma {sigma:g} is above the policy's largest, {self.largest_sigma:g}")

    def check_clusters(self, clusters: int) -> None:
        """Raises PolicyError when there are too many centroids for the data that the owner says is held."""
        if clusters > self.most_clusters:
            raise PolicyError(
                f"{clusters} centroids are more than the client's policy allows ({self.most_clusters}); "
                "cluster the lake more coarsely"
            )

    def check_points(self, points: int) -> None:
        """Raises PolicyError when there are too many points to label in one request."""
        if points > self.points_at_most:
            raise PolicyError(
                f"{points} points are more than the client's policy allows at once ({self.points_at_most})"
            )


TEMPLATE = """\
# What others may ask of the private images in this folder, and how much it may cost.
# Edit, then restart `ecos client serve`. Nothing here is ever measured from the images: state what
# you are willing to state.

# --- The budget: what everyone together may learn, for as long as this data exists ---
# The hard limit. Smaller protects more: 1 or less is strong, above 10 is weak.
epsilon: {epsilon:g}
# The chance that the promise fails; far below 1 / number of images. It can not be changed later.
delta: {delta:g}
# A number: no requester alone may use up more than this. null: only the limit above counts.
epsilon_per_requester: {epsilon_per_requester}
# A number: what a requester spent longer ago than this no longer counts against its own limit.
refresh_days: {refresh_days}

# --- Who may ask what ---
# Everyone with a token (all), or a list of names: [first, cloud-b]
requesters: {requesters}
# score: how many images lie nearest to each point of a list; label: labels for public images from their
# private neighbours; label-histogram: labels per cluster; evaluate: how many images a model gets right;
# aggregate: scores of which only the sum over several clients is seen.
operations: {operations}
# What makes the features; requests for any other are refused. `ecos client extractor add` adds one.
extractors: {extractors}
# manual: every new request waits for `ecos client approve`; a list of names: those requesters' do.
approval: {approval}
# For aggregate: the public keys of the other clients you sum with, and how many of them, whichever they are, you
# trust to add their noise and to keep it to themselves. A sum over some of them may hold all that you do not trust: the
# smaller the number, the more a sum costs you.
peers: {peers}
honest_peers: {honest_peers}

# --- What one request may look like ---
# What is protected: add-remove or replace (one image), unit (all images of one person or device).
adjacency: {adjacency}
# The share of the images that an answer is drawn from, fresh for each: 1, or one fixed number that all requests
# must give.
gamma: {gamma:g}
# The least and the most noise of one answer, in images.
smallest_sigma: {smallest_sigma:g}
largest_sigma: {largest_sigma:g}
# The order of magnitude of images held, as you choose to state it to requesters; null: not stated.
stated_records: {stated_records}
# With fewer usable images than this the service does not start.
minimum_records: {minimum_records}
# Most points of one request: as a share of stated_records, and whatever is stated.
clusters_per_record: {clusters_per_record:g}
clusters_at_most: {clusters_at_most}
# Most public images that one label request may hold.
points_at_most: {points_at_most}
# Requests of one requester, whether answered or refused; repeats of an answer are free and not counted.
requests_per_minute: {requests_per_minute}
# Log-ins without a valid token, from one address.
failed_logins_per_minute: {failed_logins_per_minute}
largest_request_mb: {largest_request_mb:g}

# --- How it is answered ---
# Every new answer leaves this many seconds after it was begun, so that its time tells nothing.
answer_after_seconds: {answer_after_seconds:g}
# For evaluate: the largest model, and how long one of that many multiplications may take for stated_records.
largest_model_mb: {largest_model_mb:g}
model_seconds: {model_seconds}
"""


def write_policy(path: Path, policy: Policy) -> None:
    """Write a new, commented policy file."""
    fields = policy.model_dump()
    lists = {name: "[" + ", ".join(fields[name]) + "]" for name in ("operations", "extractors", "peers")}
    for name in ("requesters", "approval"):
        if isinstance(fields[name], list):
            lists[name] = "[" + ", ".join(fields[name]) + "]"
    blank = {name: "null" for name, value in fields.items() if value is None}
    path.write_text(TEMPLATE.format(**{**fields, **lists, **blank}))


def read_policy(path: Path) -> Policy:
    """Raises InputError naming the rule that is wrong."""
    try:
        rules = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: the policy file is missing; without one nothing is answered") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not valid YAML; compare it with the commented example in the manual"
        ) from error
    return parse(Policy, rules, str(path))


def agree_on_extractor(path: Path, fingerprint: str) -> None:
    """Add an extractor to the policy file's list, leaving the rest of the file as its owner wrote it."""
    policy = read_policy(path)
    if fingerprint in policy.extractors:
        return
    agreed = ", ".join([*policy.extractors, fingerprint])
    text, changed = re.subn(
        r"^extractors:.*$", f"extractors: [{agreed}]", path.read_text(), flags=re.MULTILINE
    )
    if changed != 1 or f"[{agreed}]" not in text:
        raise InputError(f"{path}: add '{fingerprint}' to 'extractors' by hand, the line is not where it was")
    Location.of(path).write_bytes(text.encode())
    read_policy(path)
