"""A running Label Studio, through its API: make a project of a hand-off, and fetch what was labelled.

API: https://api.labelstud.io. Both kinds of tokens are taken: a personal access token, which is changed for one of
five minutes, and the legacy one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx

from ecos_core.errors import InputError, RemoteError
from ecos_core.labelling.formats.label_studio import CONFIG_FILE, LABEL_STUDIO
from ecos_core.labelling.handoff import Handoff
from ecos_core.progress import Progress, ProgressSink, silent
from ecos_core.storage import Location, sha256_hex

PROJECT_NAME = "label-studio.json"
TASKS_AT_ONCE, FILES_AT_ONCE = 250, 20
_TIMEOUT_S = 120


@dataclass(frozen=True)
class StudioProject:
    """The project of a hand-off on a server at ``url``; kept in the hand-off's folder as ``label-studio.json``."""

    url: str
    id: int

    @property
    def page(self) -> str:
        """Where a labeller opens it."""
        return f"{self.url}/projects/{self.id}"


def pushed(handoff: str | PathLike[str] | Location) -> StudioProject | None:
    """The project that this hand-off was pushed to, None where there is none."""
    try:
        return StudioProject(**json.loads((Location.of(handoff) / PROJECT_NAME).read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{Location.of(handoff) / PROJECT_NAME}: damaged; remove it and push again"
        ) from error


def push(
    handoff: str | PathLike[str] | Location,
    url: str,
    token: str,
    *,
    title: str | None = None,
    upload: bool = False,
    progress: ProgressSink = silent,
) -> tuple[StudioProject, int]:
    """Make the hand-off's project and give it the tasks that it lacks; pushed again, it only adds what is missing.

    Args:
        upload: send the images to the server; else it reads them from the hand-off's folder, or from the address
            that they were exported with.

    Returns the project and how many tasks were added. Raises InputError for a hand-off of another format or a folder
    that the server may not read, RemoteError when the server refuses or does not answer.
    """
    given = Handoff.open(handoff)
    if given.format != LABEL_STUDIO.name:
        raise InputError(
            f"{given.folder}: a hand-off of format {given.format}; export it as {LABEL_STUDIO.name}"
        )
    folder = given.folder.path.absolute()
    with _session(url, token) as server:
        linked = not upload and not given.manifest.parameters["image_url"]
        project = pushed(handoff)
        if project is None or project.url != server.url:
            project = _made(server, given.folder, title or folder.name, linked=linked)
        elif linked:
            _link(server, project, folder)
        there = {given.sample_of(str(task["data"].get("sample_id"))) for task in _exported(server, project)}
        tasks = json.loads((folder / "tasks.json").read_bytes())
        missing = [task for task in tasks if task["data"]["sample_id"] not in there]
        with _page_for_uploads(server, project, folder) if upload and missing else nullcontext():
            size = FILES_AT_ONCE if upload else TASKS_AT_ONCE
            for start in range(0, len(missing), size):
                part = missing[start : start + size]
                if upload:
                    part = _with_uploads(server, project, folder, given, part)
                server.ask("POST", f"/api/projects/{project.id}/import", json=part)
                progress(Progress("pushing tasks", start + len(part), len(missing), "tasks"))
    return project, len(missing)


def pull(handoff: str | PathLike[str] | Location, token: str, *, url: str | None = None) -> Path:
    """Fetch the project's annotations into the hand-off's ``returned`` folder, ready for ``import_handoff``.

    ``url``: where the server is now, if it moved. Raises InputError where the hand-off was never pushed, RemoteError
    when the server refuses or does not answer.
    """
    project = pushed(handoff)
    if project is None:
        raise InputError(
            f"{Location.of(handoff)}: was not pushed to a Label Studio yet; run  ecos handoff push"
        )
    with _session(url or project.url, token) as server:
        data = json.dumps(_with_mails(server, _exported(server, project)), ensure_ascii=False).encode()
    where = Location.of(handoff) / "returned" / f"label-studio-{sha256_hex(data)[:12]}.json"
    where.write_bytes(data)
    return where.path


def _made(server: _Server, where: Location, title: str, *, linked: bool) -> StudioProject:
    """A new project, noted in the hand-off's folder before any task is in it; none is left behind where the server may
    not read the folder."""
    config = (where.path / CONFIG_FILE).read_text(encoding="utf-8")
    made = server.ask("POST", "/api/projects", json={"title": title, "label_config": config})
    project = StudioProject(server.url, int(made["id"]))
    try:
        if linked:
            _link(server, project, where.path.absolute())
    except InputError:
        server.ask("DELETE", f"/api/projects/{project.id}")
        raise
    (where / PROJECT_NAME).write_bytes(json.dumps(asdict(project)).encode())
    return project


def _exported(server: _Server, project: StudioProject) -> list[dict[str, Any]]:
    query = {"exportType": "JSON", "download_all_tasks": "true"}
    found = server.ask("GET", f"/api/projects/{project.id}/export", params=query)
    return found if isinstance(found, list) else []


def _with_mails(server: _Server, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The annotators by mail address beside their number, where the server tells this token's owner."""
    try:
        users = {user["id"]: user["email"] for user in server.ask("GET", "/api/users") if user.get("email")}
    except (RemoteError, TypeError, KeyError, AttributeError):
        return tasks
    for task in tasks:
        for annotation in task.get("annotations") or []:
            number = annotation.get("completed_by")
            if isinstance(number, int) and number in users:
                annotation["completed_by"] = {"id": number, "email": users[number]}
    return tasks


def _link(server: _Server, project: StudioProject, folder: Path) -> None:
    """Let the project show files of the hand-off's folder."""
    held = server.ask("GET", "/api/storages/localfiles", params={"project": project.id})
    if any(storage.get("path") == str(folder) for storage in held):
        return
    storage = {"project": project.id, "path": str(folder), "use_blob_urls": True, "title": folder.name}
    try:
        server.ask("POST", "/api/storages/localfiles", json=storage)
    except RemoteError as error:
        raise InputError(
            f"{folder}: Label Studio may not read this folder ({error}); start it with "
            f"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder.parent}, "
            "or push with --upload"
        ) from error


@contextmanager
def _page_for_uploads(server: _Server, project: StudioProject, folder: Path) -> Iterator[None]:
    """Label Studio takes image files only while its page shows nothing but the image: the reasons come back after."""
    whole = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    bare = ElementTree.fromstring(whole)
    for text in bare.findall("Text"):
        bare.remove(text)
    place = f"/api/projects/{project.id}"
    server.ask("PATCH", place, json={"label_config": ElementTree.tostring(bare, encoding="unicode")})
    try:
        yield
    finally:
        server.ask("PATCH", place, json={"label_config": whole})


def _with_uploads(
    server: _Server, project: StudioProject, folder: Path, given: Handoff, tasks: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The tasks with their images on the server."""
    images = {task.sample_id: folder / task.image for task in given.tasks}
    with ExitStack() as stack:
        files = [
            (path.name, (path.name, stack.enter_context(path.open("rb"))))
            for path in (images[task["data"]["sample_id"]] for task in tasks)
        ]
        sent = server.ask(
            "POST", f"/api/projects/{project.id}/import", params={"commit_to_project": "false"}, files=files
        )
    query = {"ids": json.dumps(sent["file_upload_ids"])}
    places = {}
    for row in server.ask("GET", f"/api/projects/{project.id}/file-uploads", params=query):
        if (sample_id := given.sample_of(row["file"])) is not None:
            places[sample_id] = f"/data/{row['file']}"
    missing = [task["data"]["sample_id"] for task in tasks if task["data"]["sample_id"] not in places]
    if missing:
        raise RemoteError(
            f"{server.url}: Label Studio did not take the image of {missing[0]}", retryable=False
        )
    return [task | {"data": task["data"] | {"image": places[task["data"]["sample_id"]]}} for task in tasks]


@contextmanager
def _session(url: str, token: str) -> Iterator[_Server]:
    plain = url.rstrip("/")
    try:
        client = httpx.Client(base_url=plain, timeout=_TIMEOUT_S)
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise InputError(f"--url {url}: not an address; write it as http://host:port") from error
    if client.base_url.scheme not in ("http", "https") or not client.base_url.host:
        raise InputError(f"--url {url}: not an address; write it as http://host:port")
    with client:
        yield _Server(plain, client, token.strip())


class _Server:
    """One session: every refusal is a RemoteError that says what the server said, and never the token."""

    def __init__(self, url: str, client: httpx.Client, token: str) -> None:
        self.url = url
        self._client = client
        self._token = token
        self._header = "" if _is_personal(token) else f"Token {token}"

    def ask(self, method: str, path: str, **content: Any) -> Any:
        """The answer's JSON."""
        if not self._header:
            self._renew()
        answer = self._send(method, path, **content)
        if answer.status_code == httpx.codes.UNAUTHORIZED and _is_personal(self._token):
            self._renew()
            answer = self._send(method, path, **content)
        return self._json(answer, f"{method} {path}")

    def _renew(self) -> None:
        answer = self._send("POST", "/api/token/refresh", json={"refresh": self._token})
        self._header = f"Bearer {self._json(answer, 'the token')['access']}"

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        headers = {"Authorization": self._header} if self._header else {}
        try:
            return self._client.request(method, path, headers=headers, **content)
        except httpx.HTTPError as error:
            raise RemoteError(
                f"{self.url}: Label Studio does not answer ({type(error).__name__}); start it, or check --url",
                retryable=True,
            ) from error

    def _json(self, answer: httpx.Response, what: str) -> Any:
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise RemoteError(
                f"{self.url}: Label Studio refuses the token ({answer.status_code}); make one under Account & Settings",
                retryable=False,
            )
        try:
            if not answer.is_success:
                raise RemoteError(
                    f"{self.url}: {what}: {answer.status_code} {_said(answer)}", retryable=False
                )
            return answer.json() if answer.content else None
        except ValueError as error:
            raise RemoteError(
                f"{self.url}: answers, but not as Label Studio does; check --url", retryable=False
            ) from error


def _is_personal(token: str) -> bool:
    """Personal access tokens are JSON web tokens: three parts."""
    return token.count(".") == 2


def _said(answer: httpx.Response) -> str:
    """What the server says is wrong, in one line."""
    try:
        found = answer.json()
        text = (
            found.get("detail") or found.get("validation_errors") or found
            if isinstance(found, dict)
            else found
        )
    except ValueError:
        text = answer.text
    return " ".join(str(text).split())[:300]
