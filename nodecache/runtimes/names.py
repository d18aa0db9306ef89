"""Registries, mirrors and versions as they are named on the command line and in files."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from nodecache.reference import DOCKER_HUB, canonical_namespace, is_namespace

#: Where a node's mirror is asked. Not ``localhost``: that may be ``::1``, where no hostPort leads.
DEFAULT_MIRROR: Final = "http://127.0.0.1:5000"
#: What answers for Docker Hub; ``docker.io`` itself is no registry.
DOCKER_HUB_SERVER: Final = "https://registry-1.docker.io"
#: containerd's folder for every registry that has none of its own.
ANY_REGISTRY: Final = "_default"

_VERSION = re.compile(r"(?<![\d.])v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")

Version = tuple[int, int, int]


class Unusable(ValueError):
    """A value or a file that can not be used; the message says why, in one line."""


def parse_registry(text: str) -> str:
    """The one name of a registry: ``docker.io``, ``ghcr.io``, ``harbor.corp:8443``.

    Raises Unusable.
    """
    if "://" in text or "/" in text:
        raise Unusable(f"{text!r} is no registry: it is a host, like ghcr.io or harbor.corp:8443")
    name = canonical_namespace(text.strip())
    if not is_namespace(name):
        raise Unusable(f"{text!r} is no registry: it is a host, like ghcr.io or harbor.corp:8443")
    return name


def server_of(registry: str) -> str:
    """The URL at which a registry itself is asked."""
    return DOCKER_HUB_SERVER if registry == DOCKER_HUB else f"https://{registry}"


def parse_mirror(text: str) -> str:
    """``http://127.0.0.1:5000``, without a slash at the end. Raises Unusable."""
    hint = f"it is like {DEFAULT_MIRROR}"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise Unusable(f"{text!r} is no URL of a mirror: {hint}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unusable(f"{text!r} is no URL of a mirror: {hint}")
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise Unusable(f"{text!r} has more than a host and a port: {hint}")
    if any(char.isspace() or char in "\"'\\" for char in parts.netloc):
        raise Unusable(f"{text!r} is no URL of a mirror: {hint}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")


def same_url(one: str, other: str) -> bool:
    """Whether two URLs of hosts lead to the same place; one without a scheme is any."""
    return _bare(one) == _bare(other)


def _bare(url: str) -> str:
    text = url.strip().lower().rstrip("/")
    text = text.removesuffix("/v2").rstrip("/")
    return text.partition("://")[2] or text


def parse_version(text: str) -> Version | None:
    """The first version in ``text``: that of ``containerd --version``, ``1.7``, ``v2.1.9``."""
    match = _VERSION.search(text)
    if match is None:
        return None
    return int(match[1]), int(match[2]), int(match[3] or 0)


def shown(version: Version) -> str:
    """``2.1.9``."""
    return ".".join(str(number) for number in version)
