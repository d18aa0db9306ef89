"""What ``--peers`` says: a name to be resolved, or addresses."""

from __future__ import annotations

import ipaddress
import re

import attrs

from nodecache.membership.peer import Address

#: The port of a peer where none is told.
PEER_PORT = 5001

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_LONGEST = 253


@attrs.frozen
class PeerTarget:
    """Where the peers are: under ``name``, each at ``port``; or, without a name, at ``addresses``.

    ``name`` is without a trailing dot unless it is absolute (not to be looked
    for in the search list).
    """

    name: str | None
    port: int
    addresses: tuple[Address, ...] = ()

    def __str__(self) -> str:
        if self.name is not None:
            return f"{self.name}:{self.port}"
        return ",".join(str(address) for address in self.addresses)


def parse_peers(text: str) -> PeerTarget:
    """``NAME[:PORT]``, or ``IP[:PORT],…`` with IPv6 in brackets where a port follows.

    The port is PEER_PORT where none is told. Raises ValueError with a message
    that says what is wrong.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ValueError("expected NAME[:PORT] or IP:PORT,…; one of them is empty")
    places = [_address(part) for part in parts]
    found = [place for place in places if place is not None]
    if len(found) == len(parts):
        return PeerTarget(None, found[0].port, tuple(dict.fromkeys(found)))
    if len(parts) > 1:
        named = next(part for part, place in zip(parts, places, strict=True) if place is None)
        raise ValueError(f"{_shown(named)} is no IP:PORT; several peers must be given by address")
    return _named(parts[0])


def _address(text: str) -> Address | None:
    """None where ``text`` is no IP address, with a port or without."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not _is_ip(host) or ":" not in host:
            raise ValueError(f"{_shown(text)} is no [IPv6]:PORT")
        if rest and not rest.startswith(":"):
            raise ValueError(f"{_shown(text)}: a colon must stand between address and port")
        return _placed(host, _port(rest[1:], text) if rest else PEER_PORT)
    if _is_ip(text):
        return _placed(text, PEER_PORT)
    host, colon, port = text.rpartition(":")
    if colon and _is_ip(host):
        if ":" in host:
            raise ValueError(f"{_shown(text)}: write an IPv6 address with a port as [IPv6]:PORT")
        return _placed(host, _port(port, text))
    return None


def _named(text: str) -> PeerTarget:
    name, colon, port = text.partition(":")
    number = _port(port, text) if colon else PEER_PORT
    labels = name.removesuffix(".").split(".")
    if len(name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{_shown(name)} is no host name")
    if labels[-1].isdigit():
        # No top-level domain is a number: a mistyped address.
        raise ValueError(f"{_shown(name)} is neither an IP address nor a host name")
    return PeerTarget(name.lower(), number)


def _placed(host: str, port: int) -> Address:
    address = ipaddress.ip_address(host)
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{_shown(host)} is no address of a node")
    return Address(str(address), port)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _port(text: str, whole: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65536:
        raise ValueError(f"{_shown(whole)}: the port must be a number from 1 to 65535")
    return int(text)


def _shown(text: str) -> str:
    return repr(text[:80])
