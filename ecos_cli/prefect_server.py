"""Whether the Prefect server that a command is to use is there, before anything is done: one line when it is not."""

from __future__ import annotations

from urllib.parse import urlsplit

from ecos_core.errors import InputError, RemoteError

_RIGHT = "set PREFECT_API_URL to the server's address, such as http://127.0.0.1:4200/api"


def check_server(url: str) -> None:
    """Ask the server of ``PREFECT_API_URL``, whose value is ``url``, who it is.

    Raises InputError where the address is none, or is another server's; RemoteError where nobody answers.
    """
    try:
        right = urlsplit(url).scheme in ("http", "https")
    except ValueError:
        right = False
    if not right:
        raise InputError(f"PREFECT_API_URL {url}: no address of the web; {_RIGHT}")
    import httpx
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            problem = client.api_healthcheck()
            if problem is None and not str(client.api_version())[:1].isdigit():
                problem = ValueError("no version")
    except (httpx.HTTPError, ValueError, OSError, RuntimeError) as error:
        problem = error
    if problem is None:
        return
    if isinstance(problem, httpx.HTTPStatusError):
        number = problem.response.status_code
        raise InputError(
            f"PREFECT_API_URL {url}: no Prefect server, it answers {number}; {_RIGHT}"
        ) from problem
    if isinstance(problem, httpx.TransportError | OSError) and not isinstance(
        problem, httpx.UnsupportedProtocol
    ):
        raise RemoteError(
            f"PREFECT_API_URL {url}: no Prefect server answers there ({type(problem).__name__}); start it, or correct "
            "the address",
            retryable=True,
        ) from problem
    raise InputError(f"PREFECT_API_URL {url}: no Prefect server; {_RIGHT}") from problem
