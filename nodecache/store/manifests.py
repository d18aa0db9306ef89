"""Manifests: small, verified whenever they are read, each with a sidecar for its media type."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress

import attrs
from twisted.internet.defer import Deferred

from nodecache.diskpool import shielded
from nodecache.events import CorruptionFound
from nodecache.eviction import BLOCK, whole_blocks
from nodecache.limits import Limits
from nodecache.reference import Digest
from nodecache.seams import DiskPool, Observe, WallClock
from nodecache.store.disk import Disk
from nodecache.store.keys import Kind, key_of
from nodecache.store.layout import Layout
from nodecache.store.records import read_file, write_file
from nodecache.store.room import Room

_MEDIA_TYPE = re.compile(rb"[!-~]{1,255}")


@attrs.frozen
class StoredManifest:
    """``body`` is byte for byte what upstream sent; ``digest`` is of it."""

    digest: Digest
    media_type: str
    body: bytes


def room_for(manifest_size: int) -> int:
    """Bytes that a manifest and its sidecar take."""
    return whole_blocks(manifest_size) + BLOCK


class Manifests:
    def __init__(
        self,
        room: Room,
        layout: Layout,
        disk: Disk,
        pool: DiskPool,
        wall: WallClock,
        observe: Observe,
        limits: Limits,
    ) -> None:
        self._room = room
        self._accounts = room.accounts
        self._layout = layout
        self._disk = disk
        self._pool = pool
        self._wall = wall
        self._observe = observe
        self._limits = limits

    async def read(self, digest: Digest) -> StoredManifest | None:
        """See ``Store.read_manifest``."""
        key = key_of(Kind.MANIFEST, digest)
        if not self._accounts.has(key):
            return None
        self._accounts.pin(key)
        try:
            touch = self._accounts.used(key)
            found = await self._pool.run(lambda: self._read(digest, touch))
        finally:
            self._accounts.unpin(key)
        if found is None and self._accounts.has(key):
            self._observe(CorruptionFound(kind="manifest", digest=str(digest), found_by="read"))
            await self._room.drop(key)
        return found

    def _read(self, digest: Digest, touch: float | None) -> StoredManifest | None:
        """Blocks. None unless both files are there and right."""
        body = read_file(self._disk, self._layout.manifest(digest), self._limits.manifest_bytes)
        media_type = read_file(self._disk, self._layout.media_type(digest), BLOCK)
        if body is None or hashlib.sha256(body).hexdigest() != digest.hex:
            return None
        if media_type is None or not _MEDIA_TYPE.fullmatch(media_type):
            return None
        if touch is not None:
            with suppress(OSError):
                self._disk.used_at(self._layout.manifest(digest), touch)
        return StoredManifest(digest, media_type.decode("ascii"), body)

    async def write(self, manifest: StoredManifest) -> None:
        """See ``Store.write_manifest``."""
        await shielded(Deferred.fromCoroutine(self._write(manifest)), bool)

    async def _write(self, manifest: StoredManifest) -> None:
        key = key_of(Kind.MANIFEST, manifest.digest)
        if self._accounts.has(key):
            self._accounts.used(key)
            return
        size = room_for(len(manifest.body))
        reservation = await self._room.reserve(size)
        try:
            await self._room.settled(key)
            now = self._wall()
            await self._pool.run(lambda: self._put(manifest, now))
            self._accounts.add(key, size, reserved=reservation.take())
        finally:
            reservation.release()

    def _put(self, manifest: StoredManifest, now: float) -> None:
        """Blocks. The sidecar first: a body without it is no manifest."""
        media_type = manifest.media_type.encode("ascii")
        scratch = self._layout.scratch
        write_file(self._disk, scratch, self._layout.media_type(manifest.digest), media_type, now)
        write_file(self._disk, scratch, self._layout.manifest(manifest.digest), manifest.body, now)
