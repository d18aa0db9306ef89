"""Manifests in memory: the ones asked for most, and those the disk had no room for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from nodecache.cache.descriptors import Named
from nodecache.reference import Digest
from nodecache.store import StoredManifest

#: After this many seconds the copy on disk is read again: that tells the store
#: that it is in use, which would otherwise evict what is asked for most.
HOT_LIFE: Final = 600.0


@attrs.frozen
class Known:
    """A manifest whose bytes matched its digest, and what it names."""

    manifest: StoredManifest
    named: Named


@attrs.frozen
class _Kept:
    known: Known
    since: float


class HotManifests:
    """At most ``room`` bytes of bodies; those longest unused go first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._kept: OrderedDict[Digest, _Kept] = OrderedDict()

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._kept

    @property
    def used(self) -> int:
        """Bytes of all bodies kept."""
        return self._used

    def get(self, digest: Digest) -> Known | None:
        kept = self._kept.get(digest)
        if kept is None:
            return None
        self._kept.move_to_end(digest)
        return kept.known

    def is_due(self, digest: Digest, now: float) -> bool:
        """Whether the copy on disk is to be looked at again; ``now`` as given to ``put``."""
        kept = self._kept.get(digest)
        return kept is None or now - kept.since >= HOT_LIFE

    def put(self, known: Known, now: float) -> None:
        digest = known.manifest.digest
        self.drop(digest)
        if len(known.manifest.body) > self._room:
            return
        self._kept[digest] = _Kept(known, now)
        self._used += len(known.manifest.body)
        while self._used > self._room:
            self.drop(next(iter(self._kept)))

    def drop(self, digest: Digest) -> None:
        kept = self._kept.pop(digest, None)
        if kept is not None:
            self._used -= len(kept.known.manifest.body)
