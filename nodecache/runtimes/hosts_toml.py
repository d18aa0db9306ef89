"""containerd's ``hosts.toml``: which hosts are asked for a registry, in the order of the file.

After the hosts containerd asks ``server``, and without that line the registry
itself. Keys that a release does not know are ignored by it (seen with 1.6), so
that ``dial_timeout`` is harmless where it does nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

import attrs

from nodecache.runtimes import block
from nodecache.runtimes.names import ANY_REGISTRY, Unusable, Version, same_url, server_of
from nodecache.runtimes.toml import read_toml

#: Seconds of a connection to a mirror on the same node, as containerd reads them.
DIAL_TIMEOUT: Final = "1s"
#: From these releases on ``dial_timeout`` is known.
_DIAL_TIMEOUT_IN_20: Final = (2, 0, 7)
_DIAL_TIMEOUT_SINCE: Final = (2, 1, 0)


@attrs.frozen
class Host:
    """One host of the file. ``capabilities`` None means all of them, push too."""

    url: str
    capabilities: tuple[str, ...] | None = None
    dial_timeout: str | None = None
    tls: bool = False  # ca, client or skip_verify is set
    override_path: bool = False

    def can(self, capability: str) -> bool:
        return self.capabilities is None or capability in self.capabilities


@attrs.frozen
class HostsFile:
    """What containerd makes of a file."""

    hosts: tuple[Host, ...] = ()
    server: str | None = None


@attrs.frozen
class Certificates:
    """Files of a registry's folder that containerd takes as long as no hosts.toml is in it.

    ``roots`` are ``*.crt``; ``clients`` are pairs of ``*.cert`` and ``*.key``.
    """

    roots: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()

    @classmethod
    def among(cls, names: Collection[str]) -> Certificates:
        """Those of a folder with these files."""
        certs = sorted(name for name in names if name.endswith(".cert"))
        keys = {name: name.removesuffix("cert") + "key" for name in certs}
        return cls(
            roots=tuple(sorted(name for name in names if name.endswith(".crt"))),
            clients=tuple((name, keys[name]) for name in certs if keys[name] in names),
        )

    def lines(self) -> list[str]:
        """The keys of a hosts.toml that say the same of ``server``."""
        found = {"ca": list(self.roots), "client": [list(pair) for pair in self.clients]}
        return [f"{key} = {json.dumps(value)}" for key, value in found.items() if value]


def knows_dial_timeout(version: Version | None) -> bool:
    """Whether containerd of this version reads the key; for an unknown one it is written."""
    if version is None or version >= _DIAL_TIMEOUT_SINCE:
        return True
    return version[:2] == (2, 0) and version >= _DIAL_TIMEOUT_IN_20


@attrs.frozen
class HostsPart(block.BlockPart):
    """Our part of the file of ``registry`` (or of all, for ``_default``).

    ``certificates`` are those that containerd finds beside a file that is not there.
    """

    registry: str
    mirror: str
    dial_timeout: str | None = DIAL_TIMEOUT
    certificates: Certificates = Certificates()

    def merge(self, text: str | None) -> str:
        """The file with our host before all others, which are kept. Raises Unusable."""
        others = block.cut(text or "").rest
        if not others.strip():
            return block.append(others, self._server() + self._host())
        there = parse(others)
        for place, host in enumerate(there.hosts):
            if same_url(host.url, self.mirror):
                if place == 0:
                    return text or ""
                raise Unusable(f"names {self.mirror} already, but not first: move it up by hand")
        server = "" if there.server is not None or there.hosts else self._server()
        before, after = _at_first_table(others)
        merged = before + block.wrap(server + self._host()) + after
        _check(merged, others, self.mirror)
        return merged

    def _server(self) -> str:
        if self.registry == ANY_REGISTRY:
            return ""
        lines = [f'server = "{server_of(self.registry)}"', *self.certificates.lines()]
        return "\n".join(lines) + "\n\n"

    def _host(self) -> str:
        lines = [f'[host."{self.mirror}"]', '  capabilities = ["pull", "resolve"]']
        if self.dial_timeout is not None:
            lines.append(f'  dial_timeout = "{self.dial_timeout}"')
        return "\n".join(lines) + "\n"


def _at_first_table(text: str) -> tuple[str, str]:
    """``text`` before and from its first table on: keys in front of it are the file's own."""
    lines = text.splitlines(keepends=True)
    for at, line in enumerate(lines):
        if line.lstrip().startswith("["):
            before = "".join(lines[:at])
            if _parses(before):  # else it is within an array or a string of several lines
                return before, "".join(lines[at:])
    return text if text.endswith("\n") else f"{text}\n", ""


def _parses(text: str) -> bool:
    try:
        read_toml(text)
    except Unusable:
        return False
    return True


def _check(merged: str, others: str, mirror: str) -> None:
    """Refuse a merge that changes what the file says: there are ways to write one that we miss."""
    theirs = read_toml(others)
    try:
        document = read_toml(merged)
    except Unusable:
        document = {}
    hosts, kept = document.pop("host", {}), theirs.pop("host", {})
    if "server" not in theirs:
        document.pop("server", None)
    order = list(hosts) == [mirror, *kept]
    if not order or document != theirs or {**hosts, **kept} != hosts:
        raise Unusable("is written in a way that can not be merged: add the host by hand")


def parse(text: str) -> HostsFile:
    """Raises Unusable for what containerd would not read either."""
    document = read_toml(text)
    hosts = document.get("host", {})
    server = document.get("server")
    if not isinstance(hosts, dict) or not isinstance(server, str | None):
        raise Unusable("has a 'host' that is no table, or a 'server' that is no text")
    return HostsFile(tuple(_host(url, table) for url, table in hosts.items()), server or None)


def _host(url: str, table: Any) -> Host:
    if not isinstance(table, dict):
        raise Unusable(f"has a host {url!r} that is no table")
    given = table.get("capabilities")
    words = tuple(str(one).lower() for one in given) if isinstance(given, list) and given else None
    timeout = table.get("dial_timeout")
    return Host(
        url=url,
        capabilities=words,
        dial_timeout=str(timeout) if timeout else None,
        tls=any(table.get(key) is not None for key in ("ca", "client", "skip_verify")),
        override_path=bool(table.get("override_path")),
    )
