"""Manifests in memory: the ones asked for most, and those the disk had no room for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs

from nodecache.cache.descriptors import Named
from nodecache.events import Source
from nodecache.reference import Digest
from nodecache.results import ManifestResult
from nodecache.store import StoredManifest

#: Seconds between two attempts to write to disk what was evicted there, or had no room.
WRITE_BACK: Final = 60.0
#: Bytes of memory that a manifest takes beside its body: by itself, and for each digest
#: that it names (measured).
_EACH: Final = 1024
_NAMED: Final = 320


@attrs.frozen
class Known:
    """A manifest whose bytes matched its digest, and what it names."""

    manifest: StoredManifest
    named: Named

    @property
    def memory(self) -> int:
        """Bytes that it takes, about."""
        count = len(self.named.blobs) + len(self.named.children)
        return len(self.manifest.body) + _EACH + count * _NAMED


@attrs.frozen
class _Kept:
    known: Known
    since: float
    result: ManifestResult


def manifest_result(known: Known, source: Source, warning: str | None = None) -> ManifestResult:
    """The answer that gives ``known`` to a client."""
    manifest = known.manifest
    return ManifestResult(
        digest=manifest.digest,
        media_type=manifest.media_type,
        size=len(manifest.body),
        body=manifest.body,
        source=source,
        warning=warning,
    )


class HotManifests:
    """At most ``room`` bytes of memory; those longest unused go first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._kept: OrderedDict[Digest, _Kept] = OrderedDict()

    def __contains__(self, digest: Digest) -> bool:
        return digest in self._kept

    @property
    def used(self) -> int:
        """Bytes of memory that all of them take."""
        return self._used

    def get(self, digest: Digest) -> Known | None:
        kept = self._kept.get(digest)
        if kept is None:
            return None
        self._kept.move_to_end(digest)
        return kept.known

    def result(self, digest: Digest) -> ManifestResult | None:
        """The answer that gives it to a client, the same object each time; that is no use of it."""
        kept = self._kept.get(digest)
        return None if kept is None else kept.result

    def is_due(self, digest: Digest, now: float) -> bool:
        """Whether it is time to write it to disk again; ``now`` as given to ``put``."""
        kept = self._kept.get(digest)
        return kept is None or now - kept.since >= WRITE_BACK

    def put(self, known: Known, now: float) -> None:
        digest = known.manifest.digest
        self.drop(digest)
        if known.memory > self._room:
            return
        self._kept[digest] = _Kept(known, now, manifest_result(known, Source.DISK))
        self._used += known.memory
        while self._used > self._room:
            self.drop(next(iter(self._kept)))

    def drop(self, digest: Digest) -> None:
        kept = self._kept.pop(digest, None)
        if kept is not None:
            self._used -= kept.known.memory
