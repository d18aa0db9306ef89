"""Values of the settings of a node that shares with others, read one by one."""

from __future__ import annotations

import ipaddress
import re

from nodecache.config.settings import OFF
from nodecache.config.values import read_listen, read_text
from nodecache.membership.target import PeerTarget, parse_peers

_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,%d}[A-Za-z0-9])?"
_NODE_ID = re.compile(_WORD % 251)
_ZONE = re.compile(_WORD % 61)


def read_peers(value: object) -> PeerTarget:
    """``NAME[:PORT]`` or ``IP:PORT,…``; in the file also a list, or a table with ``names``."""
    if isinstance(value, dict):
        if set(value) != {"names"}:
            raise ValueError('is not a table with "names" alone')
        value = value["names"]
    if isinstance(value, list):
        value = ",".join(map(read_text, value))
    return parse_peers(read_text(value).strip())


def read_peer_listen(value: object) -> str:
    """``HOST:PORT``, or ``off``."""
    if isinstance(value, str) and value.strip().lower() == OFF:
        return OFF
    return read_listen(value)


def read_node_id(value: object) -> str:
    """A name that is safe in a header and in a file."""
    return _matching(_NODE_ID, value, "is no node id (letters, digits, and . _ - between)")


def read_zone(value: object) -> str:
    """A name of a zone, as cloud providers and Kubernetes labels write it."""
    return _matching(_ZONE, value, "is no zone (letters, digits, and . _ - between)")


def _matching(pattern: re.Pattern[str], value: object, complaint: str) -> str:
    text = read_text(value).strip()
    if not pattern.fullmatch(text):
        raise ValueError(complaint)
    return text


def read_addresses(value: object) -> tuple[str, ...]:
    """IP addresses without ports: one text with commas, or a list."""
    texts = value if isinstance(value, list) else read_text(value).split(",")
    if not texts:
        raise ValueError("is an empty list")
    return tuple(dict.fromkeys(map(_read_address, texts)))


def _read_address(value: object) -> str:
    text = read_text(value).strip()
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("is no IP address, or several with commas between") from None
