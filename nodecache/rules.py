"""Which repository names an upstream's rules permit."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import attrs

from nodecache.reference import DOCKER_HUB


@attrs.frozen
class NameRules:
    """Shell patterns over the whole name; ``*`` also matches slashes.

    An empty ``allow`` permits all; ``deny`` wins over it.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    @classmethod
    def of(cls, namespace: str, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> NameRules:
        """The rules as an administrator writes them for an upstream.

        On Docker Hub, where ``alpine`` means ``library/alpine``, a pattern
        without a slash is about that repository as well.
        """
        return cls(_with_library(namespace, allow), _with_library(namespace, deny))

    def permits(self, name: str) -> bool:
        """``name`` is the full one: ``library/alpine``."""
        if any(fnmatchcase(name, pattern) for pattern in self.deny):
            return False
        return not self.allow or any(fnmatchcase(name, pattern) for pattern in self.allow)


def _with_library(namespace: str, patterns: Iterable[str]) -> tuple[str, ...]:
    written = tuple(patterns)
    if namespace != DOCKER_HUB:
        return written
    return written + tuple(f"library/{pattern}" for pattern in written if "/" not in pattern)
