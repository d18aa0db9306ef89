"""Open listening ports: both address families where a name means both.

Sockets are made here and adopted by the reactor, so that ``[::]`` is
dual-stack whatever the kernel's default, and so that ``localhost:0`` gives
both families one port number.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Any

import attrs
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorSocket

from nodecache.config import ListenAddress
from nodecache.failures import ConfigError
from nodecache.web import LISTEN_BACKLOG

#: No such family or address on this machine: left out where another one opened.
_NO_SUCH_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


@attrs.frozen
class Listener:
    """One setting's open ports; ``addresses`` are (host, port) as bound."""

    ports: tuple[IListeningPort, ...]
    addresses: tuple[tuple[str, int], ...]

    async def close(self) -> None:
        """Stop accepting; open connections stay."""
        for port in self.ports:
            await maybeDeferred(port.stopListening)

    def describe(self) -> str:
        return ", ".join(_url_host(host, port) for host, port in self.addresses)


def _url_host(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_listener(
    reactor: IReactorSocket, setting: str, address: ListenAddress, factory: Any
) -> Listener:
    """Listen on ``address`` for the protocol ``factory``.

    Raises ConfigError, naming ``setting``, where that is not possible.
    """
    sockets = _open_sockets(setting, address)
    ports = [reactor.adoptStreamPort(made.fileno(), made.family, factory) for made in sockets]
    bound = tuple(made.getsockname()[:2] for made in sockets)
    for made in sockets:
        made.close()
    return Listener(tuple(ports), bound)


def _open_sockets(setting: str, address: ListenAddress) -> list[socket.socket]:
    opened: list[socket.socket] = []
    refused: OSError | None = None
    port = address.port
    try:
        for family, host in _candidates(setting, address.host):
            try:
                opened.append(_bind(family, host, port))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                refused = error
                continue
            port = opened[0].getsockname()[1]
        if not opened:
            raise refused or OSError(errno.EADDRNOTAVAIL, "no address")
    except OSError as error:
        for made in opened:
            made.close()
        problem = f"{setting}: cannot listen on {address}: {error.strerror or error}"
        raise ConfigError(problem + _way_out(setting, error)) from None
    return opened


def _way_out(setting: str, error: OSError) -> str:
    if error.errno != errno.EADDRINUSE:
        return ""
    return f"; stop what listens there, or give another --{setting.replace('_', '-')}"


def _candidates(setting: str, host: str) -> Iterable[tuple[socket.AddressFamily, str]]:
    if host in ("", "*"):
        return [(socket.AF_INET, "0.0.0.0")] if _no_v6() else [(socket.AF_INET6, "::")]
    if host == "localhost":  # both families, whatever the machine's hosts file says
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(f"{setting}: cannot resolve {host!r}: {error.strerror}") from None
    return list(dict.fromkeys((family, str(where[0])) for family, _, _, _, where in found))


def _no_v6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return True
    return False


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] takes both families; a single v6 address must not.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != "::")
        made.bind((host, port))
        made.listen(LISTEN_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
