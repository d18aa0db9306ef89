"""The settings as frozen values: checked once, when they are read, and right from then on."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Mapping
from typing import Final

import attrs

from nodecache.config.units import format_size, parse_bytes, parse_percent
from nodecache.limits import GIB, Limits, Timeouts
from nodecache.membership.target import PeerTarget
from nodecache.reference import DOCKER_HUB
from nodecache.rules import NameRules

DOCKER_HUB_URL: Final = "https://registry-1.docker.io"

_LISTEN = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_HOST = re.compile(r"|\*|[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


class Origin(enum.Enum):
    """Where the value of a setting comes from, the strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@attrs.frozen
class ListenAddress:
    """``host`` is empty for all addresses, and has no brackets; ``port`` 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """``localhost:5000``, ``[::]:5000``, ``:5000``. Raises ValueError."""
    match = _LISTEN.fullmatch(text.strip())
    if match is None:
        hint = "; an IPv6 address needs brackets" if text.count(":") > 1 else ""
        raise ValueError(f"is no HOST:PORT (like localhost:5000){hint}")
    host, port = match["v6"] or match["host"], int(match["port"])
    if match["v6"] is not None:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("has no IPv6 address between the brackets") from None
    elif not _HOST.fullmatch(host):
        raise ValueError("has no host name or address before the port")
    if port > 65535:
        raise ValueError("has a port above 65535")
    return ListenAddress("" if host == "*" else host, port)


@attrs.frozen
class SizeSetting:
    """Either ``bytes``, or ``percent`` of the disk that holds the data folder."""

    bytes: int | None = None
    percent: float | None = None

    @classmethod
    def parse(cls, text: str) -> SizeSetting:
        """``20GiB`` or ``10%``. Raises ValueError."""
        percent = parse_percent(text)
        return cls(bytes=parse_bytes(text)) if percent is None else cls(percent=percent)

    def resolve(self, disk_total: int) -> int:
        """Bytes, on a disk of ``disk_total`` bytes."""
        if self.bytes is not None:
            return self.bytes
        return int(disk_total * (self.percent or 0) / 100)

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.bytes is None else format_size(self.bytes)


@attrs.frozen
class AccountSettings:
    """An upstream account. ``file`` holds its secret; it is used for ``repositories`` only."""

    file: str
    repositories: tuple[str, ...]

    def covers(self, name: str) -> bool:
        """Whether the account may be used for the repository ``name``."""
        return NameRules(allow=self.repositories).permits(name)


@attrs.frozen
class UpstreamSettings:
    """One upstream; ``mirrors`` are tried before ``url``, in their order.

    ``namespace`` is canonical. URLs have no slash at the end. ``proxy`` None
    means what HTTP_PROXY, HTTPS_PROXY and NO_PROXY say.
    """

    namespace: str
    url: str
    mirrors: tuple[str, ...] = ()
    account: AccountSettings | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ca_file: str | None = None
    proxy: str | None = attrs.field(default=None, repr=False)  # may hold a password
    realm_hosts: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """In the order in which they are asked."""
        return (*self.mirrors, self.url)

    @property
    def rules(self) -> NameRules:
        return NameRules.of(self.namespace, self.allow, self.deny)


DOCKER_HUB_UPSTREAM: Final = UpstreamSettings(DOCKER_HUB, DOCKER_HUB_URL)

#: What ``peer_listen`` is once there are peers.
DEFAULT_PEER_LISTEN: Final = "[::]:5001"
#: A value of ``peer_listen``.
OFF: Final = "off"

#: What ``max_size`` is when nothing is said: the smaller of the two.
DEFAULT_MAX_PERCENT: Final = SizeSetting(percent=20)
DEFAULT_MAX_BYTES: Final = 100 * GIB


@attrs.frozen
class Telemetry:
    """``images`` are counted by name, 0 for none; spans go to the URL ``traces``.

    ``traces_share`` is how many of the traces that begin here are sent, from 0 to 1.
    """

    images: int = 0
    traces: str | None = None
    traces_share: float = 1.0


@attrs.frozen(kw_only=True)
class Settings:
    """All settings. ``origins`` says where each comes from, by the setting's name.

    ``max_size`` None is the smaller of 20% and 100 GiB; ``tag_ttl`` is in
    seconds; ``log_format`` is json, console or auto (console on a terminal).
    """

    data_dir: str = "./nodecache-data"
    listen: str = "localhost:5000"
    admin_listen: str = "localhost:5002"
    upstreams: tuple[UpstreamSettings, ...] = (DOCKER_HUB_UPSTREAM,)
    peers: PeerTarget | None = None
    peer_listen: str | None = None
    node_id: str | None = None
    node_address: tuple[str, ...] = ()
    zone: str = ""
    peer_secret_file: str | None = None
    max_size: SizeSetting | None = None
    min_free: SizeSetting = SizeSetting(percent=20)
    tag_ttl: float = 60.0
    offline: bool = False
    log_format: str = "auto"
    log_level: str = "info"
    sole_registry: bool = False
    telemetry: Telemetry = Telemetry()
    limits: Limits = attrs.field(factory=Limits)
    timeouts: Timeouts = attrs.field(factory=Timeouts)
    origins: Mapping[str, Origin] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def peer_address(self) -> str | None:
        """``HOST:PORT`` of the port for peers; None where there is none."""
        if self.peer_listen == OFF or (self.peer_listen is None and self.peers is None):
            return None
        return self.peer_listen or DEFAULT_PEER_LISTEN

    def cap(self, disk_total: int) -> int:
        """The cache's cap in bytes, on a disk of ``disk_total`` bytes."""
        if self.max_size is not None:
            return self.max_size.resolve(disk_total)
        return min(DEFAULT_MAX_PERCENT.resolve(disk_total), DEFAULT_MAX_BYTES)

    def floor(self, disk_total: int) -> int:
        """Bytes of the disk that are always kept free."""
        return self.min_free.resolve(disk_total)


@attrs.frozen
class Loaded:
    """``warnings`` are one line each, for the person who reads the log."""

    settings: Settings
    warnings: tuple[str, ...] = ()
