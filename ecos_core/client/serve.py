"""Run the HTTP service: loopback unless told otherwise, and never in clear text beyond it by accident."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ecos_core.client.engine import Engine
from ecos_core.errors import InputError

KEEP_ALIVE_S = 15
CONNECTIONS = 64


@dataclass(frozen=True)
class Tls:
    """PEM files: our certificate and key; ``clients``: the authority whose certificates requesters must
    show.
    """

    certificate: Path
    key: Path
    clients: Path | None = None


def serve(
    engine: Engine,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: Tls | None = None,
    allow_clear_text: bool = False,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Answer until the process is told to stop. ``ready`` gets the address once the port is open.

    Raises InputError when the port is taken, a certificate cannot be read, or the address is beyond this
    machine without TLS.
    """
    import uvicorn

    from ecos_core.client.service import create_app

    if tls is None and not is_loopback(host) and not allow_clear_text:
        raise InputError(
            f"--host {host}: beyond this machine tokens must not travel in clear text; give "
            "--tls-certificate and --tls-key, or --allow-clear-text behind a proxy that does TLS"
        )
    threading.Thread(target=engine.warm_up, daemon=True).start()
    listener = _listen(host, port)
    config = uvicorn.Config(
        create_app(engine),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=CONNECTIONS,
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
        ssl_ca_certs=None if tls is None or tls.clients is None else str(tls.clients),
        ssl_cert_reqs=ssl.CERT_REQUIRED if tls is not None and tls.clients is not None else ssl.CERT_NONE,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        listener.close()
        raise InputError("TLS: a certificate or key file is missing or is no PEM file") from error
    scheme = "http" if tls is None else "https"
    shown = f"[{host}]" if ":" in host else host
    ready(f"{scheme}://{shown}:{listener.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InputError(
            f"{host}:{port}: cannot be listened on ({error.strerror}); choose another --port"
        ) from error
    return listener
