"""Run the HTTP service: loopback unless told otherwise, and never in clear text beyond it by accident."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ecos_core.client.engine import Engine
from ecos_core.client.gate import Caller, Gate
from ecos_core.client.loopback import is_loopback
from ecos_core.errors import InputError

if TYPE_CHECKING:
    import uvicorn

Socket = TypeVar("Socket", bound=socket.socket)


@dataclass(frozen=True)
class Tls:
    """PEM files: our certificate and key; ``clients``: the authority whose certificates requesters must
    show, each with the requester's name in it.
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
    proxy: str | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Answer until the process is told to stop. ``ready`` gets the address once the port is open.

    ``proxy``: the address of a reverse proxy whose word on the requester's address (X-Forwarded-For) is believed.
    Raises InputError when the port is taken, a certificate cannot be read, or the address is beyond this
    machine without TLS.
    """
    if tls is None and not is_loopback(host) and not allow_clear_text:
        raise InputError(
            f"--host {host}: beyond this machine tokens must not travel in clear text; give "
            "--tls-certificate and --tls-key, or --allow-clear-text behind a proxy that does TLS"
        )
    threading.Thread(target=engine.warm_up, daemon=True).start()
    server, listener, address = prepared(engine, host=host, port=port, tls=tls, proxy=proxy)
    ready(address)
    server.run(sockets=[listener])


def prepared(
    engine: Engine,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: Tls | None = None,
    proxy: str | None = None,
) -> tuple[uvicorn.Server, socket.socket, str]:
    """The server, its open socket, and its address. Raises as ``serve``."""
    import uvicorn

    from ecos_core.client.door import HEAD_SECONDS, Door, Listener, protocol
    from ecos_core.client.service import create_app

    gate = Gate(engine)
    unlimited = () if proxy is None else (proxy,)
    door = Door(unlimited=unlimited, told=lambda address, why: gate.turned_out(Caller("http", address), why))
    listener = _listen(Listener, host, port)
    listener.door = door
    clients = None if tls is None else tls.clients
    config = uvicorn.Config(
        create_app(engine, gate=gate, certificates=clients is not None),
        http=protocol(door),
        ws="none",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=proxy is not None,
        forwarded_allow_ips=proxy,
        timeout_keep_alive=int(HEAD_SECONDS),
        timeout_notify=1,
        callback_notify=door.close_late_ones,
        ssl_certfile=None if tls is None else str(tls.certificate),
        ssl_keyfile=None if tls is None else str(tls.key),
        ssl_ca_certs=None if clients is None else str(clients),
        ssl_cert_reqs=ssl.CERT_NONE if clients is None else ssl.CERT_REQUIRED,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        listener.close()
        raise InputError("TLS: a certificate or key file is missing or is no PEM file") from error
    scheme = "http" if tls is None else "https"
    shown = f"[{host}]" if ":" in host else host
    address = f"{scheme}://{shown}:{listener.getsockname()[1]}"
    gate.opened("http", address)
    return uvicorn.Server(config), listener, address


def _listen(kind: type[Socket], host: str, port: int) -> Socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = kind(family, socket.SOCK_STREAM)
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
