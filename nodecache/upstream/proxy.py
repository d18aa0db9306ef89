"""Which proxy a request goes through, as the environment and the settings say.

An upstream's own ``proxy`` setting wins, for all hosts that its requests lead
to. Else ``HTTPS_PROXY`` and ``HTTP_PROXY`` (upper or lower case) by the scheme
of the URL, unless ``NO_PROXY`` names the host; localhost and loopback
addresses are never proxied then.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import attrs

from nodecache.failures import ConfigError


@attrs.frozen
class Proxy:
    """``authorization`` is the value of Proxy-Authorization, when it asks for a login."""

    host: str
    port: int
    authorization: str | None = attrs.field(default=None, repr=False)


def parse_proxy(text: str, key: str) -> Proxy:
    """``http://user:password@host:3128``, or without the scheme. Raises ConfigError."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "http" or not host:
        raise ConfigError(f"{key}: is no proxy URL like http://host:3128")
    return Proxy(host, port or 80, _authorization(parts.username, parts.password))


def _authorization(user: str | None, password: str | None) -> str | None:
    if user is None:
        return None
    login = f"{unquote(user)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(login.encode()).decode()


@attrs.frozen
class Proxies:
    """The choice for one upstream."""

    always: Proxy | None = None
    by_scheme: Mapping[str, Proxy] = attrs.field(factory=dict)
    exceptions: tuple[str, ...] = ()

    @classmethod
    def of(cls, setting: str | None, environ: Mapping[str, str], key: str = "proxy") -> Proxies:
        """Raises ConfigError naming ``key``, the setting's, or the variable."""
        if setting is not None:
            return cls(always=parse_proxy(setting, key))
        found = {}
        for scheme in ("http", "https"):
            for variable in (f"{scheme.upper()}_PROXY", f"{scheme}_proxy"):
                if environ.get(variable, "").strip():
                    found[scheme] = parse_proxy(environ[variable].strip(), variable)
                    break
        listed = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
        entries = (entry.strip().lower() for entry in listed.split(","))
        return cls(by_scheme=found, exceptions=tuple(entry for entry in entries if entry))

    def choose(self, scheme: str, host: str, port: int) -> Proxy | None:
        """``host`` has no brackets."""
        if self.always is not None:
            return self.always
        proxy = self.by_scheme.get(scheme)
        if proxy is None or self._excepted(host.lower().rstrip("."), port):
            return None
        return proxy

    def _excepted(self, host: str, port: int) -> bool:
        address = _address(host)
        if host == "localhost" or (address is not None and address.is_loopback):
            return True
        return any(_covers(entry, host, port, address) for entry in self.exceptions)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _covers(entry: str, host: str, port: int, address: _Address | None) -> bool:
    """One entry of NO_PROXY: ``*``, a network, or a host or domain with an optional port."""
    if entry == "*":
        return True
    if address is not None and "/" in entry:
        return _in_network(entry, address)
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit() and (":" not in name or name.endswith("]")):
        if int(only) != port:
            return False
        entry = name
    if address is not None:
        return _address(entry) == address
    domain = entry.removeprefix("*").removeprefix(".").rstrip(".")
    return host.endswith(f".{domain}") or (host == domain and not entry.startswith((".", "*")))


def _in_network(entry: str, address: _Address) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
