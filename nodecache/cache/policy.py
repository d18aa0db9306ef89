"""What the administrator decided that the cache acts by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from nodecache.rules import NameRules

#: Machine names of the kernel (``uname -m``) and what image indexes call them.
_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
}


@attrs.frozen
class Platform:
    """A platform as image indexes name it (OCI image-spec, image-index.md)."""

    os: str
    architecture: str

    @classmethod
    def of_machine(cls, machine: str) -> Platform:
        """The platform of Linux on ``machine``, as ``uname -m`` names it."""
        return cls("linux", _ARCHITECTURES.get(machine, machine))


@attrs.frozen
class Policy:
    """``rules`` are the upstreams' by canonical namespace, in their order: the closed list.

    ``tag_ttl`` is in seconds. ``platform`` is that of the images this node runs.
    """

    rules: Mapping[str, NameRules]
    tag_ttl: float
    offline: bool
    platform: Platform
