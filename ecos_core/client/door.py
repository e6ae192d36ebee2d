"""Who may hold a connection to the service, and for how long.

uvicorn speaks HTTP; what it has no time-out or limit for is decided here. A connection without a whole request head,
in the TLS handshake, half-sent or idle, is closed after a while. An address that holds more connections than its
share gives up the one that has waited longest, and so does everybody once all places are taken: connections that were
opened and left never keep out one that asks. Behind a proxy that does this itself, the proxy's address has no share.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PLACES = 512
PLACES_AN_ADDRESS = 32
HEAD_SECONDS = 15.0  # to send a whole request head, and between two requests
REQUEST_SECONDS = 900.0  # for a request and its answer, whatever takes the time


class Door:
    """The places of one service. Thread-safe. ``told`` hears the address and the reason of each one turned out."""

    def __init__(
        self,
        *,
        unlimited: Collection[str] = (),
        told: Callable[[str, str], None] = lambda address, reason: None,
    ) -> None:
        self._unlimited = frozenset(unlimited)
        self._told = told
        self._lock = threading.RLock()
        self._held: dict[Any, _Connection] = {}

    def admit(self, connection: socket.socket, peer: Any) -> _Connection:
        """Give the new connection a place. Raises ConnectionAbortedError when every one is at work."""
        with self._lock:
            made = _Connection(self, connection, peer)
            same = [held for held in self._held.values() if held.address == made.address]
            crowded = len(same) >= PLACES_AN_ADDRESS and str(peer[0]) not in self._unlimited
            if crowded or len(self._held) >= PLACES:
                waiting = [held for held in (same if crowded else self._held.values()) if not held.serving]
                turned_out = min(waiting, key=lambda held: held.since, default=made)
                self._told(turned_out.address, "too many connections")
                turned_out.turn_out()
                if turned_out is made:
                    made.close()
                    raise ConnectionAbortedError
            self._held[peer] = made
            return made

    def serves(self, peer: Any, serving: bool) -> None:
        """Note that a whole request head has come (True), or that one is waited for."""
        with self._lock:
            found = self._held.get(peer)
            if found is not None and found.serving != serving:
                found.serving, found.since = serving, time.monotonic()

    async def close_late_ones(self) -> None:
        """Turn out whoever has taken too long. Called about once a second."""
        now = time.monotonic()
        with self._lock:
            for held in list(self._held.values()):
                if now - held.since > (REQUEST_SECONDS if held.serving else HEAD_SECONDS):
                    if not held.serving and held.began == held.since:
                        self._told(held.address, "no whole request in time")
                    held.turn_out()

    def left(self, connection: _Connection) -> None:
        """A connection was closed."""
        with self._lock:
            if self._held.get(connection.peer) is connection:
                del self._held[connection.peer]


class Listener(socket.socket):
    """A listening socket whose connections come through a door."""

    door: Door

    def accept(self) -> tuple[socket.socket, Any]:
        """As ``socket.accept``, with this door's limits."""
        connection, peer = super().accept()
        return self.door.admit(connection, peer), peer


class _Connection(socket.socket):
    """An accepted connection, which gives its place back when it is closed."""

    def __init__(self, door: Door, accepted: socket.socket, peer: Any) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self.door = door
        self.peer = peer
        self.address = _site(str(peer[0]))
        self.serving = False
        self.since = self.began = time.monotonic()

    def close(self) -> None:
        self.door.left(self)
        super().close()

    def turn_out(self) -> None:
        """Whoever reads or writes it finds it at its end, and closes it."""
        self.door.left(self)
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)


def protocol(door: Door) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, telling ``door`` what each connection does, and requests the names in the certificate
    that the other side showed (``state.certificate_names``)."""

    class Told(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._peer = transport.get_extra_info("peername")
            if (tls := transport.get_extra_info("ssl_object")) is not None:
                self.app_state = {**self.app_state, "certificate_names": certificate_names(tls.getpeercert())}

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._tell()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._tell()

        def eof_received(self) -> None:
            super().eof_received()
            if self.cycle is None or self.cycle.response_complete or self.conn.their_state is h11.SEND_BODY:
                self.transport.close()

        def _tell(self) -> None:
            door.serves(self._peer, self.cycle is not None and not self.cycle.response_complete)

    return Told


def certificate_names(certificate: dict[str, Any] | None) -> tuple[str, ...]:
    """The common name and the DNS names of a verified certificate, as ``ssl`` tells it; none without one."""
    if not certificate:
        return ()
    subject = [
        value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"
    ]
    others = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    return tuple(dict.fromkeys([*subject, *others]))


def _site(address: str) -> str:
    """What counts as one address: an IPv4 address, or the 64 bits that one site has of IPv6."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False).network_address)
    return str(found)
