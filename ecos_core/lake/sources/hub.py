"""Data sets on a hub that speaks Hugging Face's API: ``hf://datasets/owner/name[@revision][/path]``, pinned.

A name of a branch moves; what is read is always one commit, and the address that a lake's log keeps names it.
"""

from __future__ import annotations

import re

from ecos_core.errors import InputError, MissingDependencyError, RemoteError
from ecos_core.storage import Location

_ADDRESS = re.compile(r"hf://datasets/(?P<repo>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?P<path>/.*)?")


def pinned(location: Location) -> tuple[Location, str | None]:
    """The location with its revision replaced by the commit it stands for, and the data set's name.

    Other locations come back as they are, without a name. Raises InputError for an address that is none, or a data
    set, revision or permission that is missing; RemoteError when the hub does not answer.
    """
    if not location.url.startswith("hf://"):
        return location, None
    found = _ADDRESS.fullmatch(location.url)
    if found is None:
        raise InputError(
            f"{location}: no address of a data set; write  hf://datasets/OWNER/NAME[@REVISION][/PATH]"
        )
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise MissingDependencyError("huggingface_hub", "hub") from error
    repo, revision = found["repo"], found["revision"]
    try:
        commit = HfApi().dataset_info(repo, revision=revision and revision.replace("%2F", "/")).sha
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        what = f"revision '{revision}' of " if revision else ""
        raise InputError(f"{location}: the hub knows no {what}'{repo}', or you may not read it") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise RemoteError(
            f"{location}: the hub did not answer ({type(error).__name__})", retryable=True
        ) from error
    except Exception as error:  # httpx2, httpx or requests, by the version of huggingface_hub
        if type(error).__module__.partition(".")[0] not in ("httpx2", "httpx", "requests"):
            raise
        raise RemoteError(
            f"{location}: the hub did not answer ({type(error).__name__})", retryable=True
        ) from error
    return Location(f"hf://datasets/{repo}@{commit}{found['path'] or ''}"), repo.rpartition("/")[2]
