"""What a node knows of another one, as values."""

from __future__ import annotations

import ipaddress

import attrs


@attrs.frozen(order=True)
class Address:
    """Where a node's peer port is; ``host`` is an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """``10.0.0.1:5001`` or ``[fd00::1]:5001``. Raises ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text[:80]!r} is no IP:PORT")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        return cls(str(ipaddress.ip_address(bare)), int(port))


@attrs.frozen
class Peer:
    """Another node, or this one (``View.me``). ``id`` is its address until it is known.

    ``zone`` is empty where none was told. ``addresses``: the one to be tried
    first stands first.
    """

    id: str
    addresses: tuple[Address, ...]
    zone: str = ""
