"""Manifests: small, verified whenever they are read, each with a sidecar for its media type."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress

import attrs

from nodecache.events import CorruptionFound
from nodecache.eviction import BLOCK
from nodecache.failures import StoreFailure
from nodecache.reference import Digest
from nodecache.store.ground import Ground
from nodecache.store.keys import Kind, key_of
from nodecache.store.records import read_file
from nodecache.store.room import Room
from nodecache.store.sizes import manifest_bytes

_MEDIA_TYPE = re.compile(r"[ -~]{1,255}", re.ASCII)


@attrs.frozen
class StoredManifest:
    """``body`` is byte for byte what upstream sent; ``digest`` is of it."""

    digest: Digest
    media_type: str
    body: bytes


def is_media_type(text: str) -> bool:
    """Whether it can stand in a header line as it is."""
    return _MEDIA_TYPE.fullmatch(text) is not None


class Manifests:
    def __init__(self, ground: Ground, room: Room) -> None:
        self._ground = ground
        self._room = room
        self._accounts = room.accounts

    async def read(self, digest: Digest, *, use: bool = True) -> StoredManifest | None:
        """See ``Store.read_manifest``; ``use``: that is a use of it."""
        key = key_of(Kind.MANIFEST, digest)
        if not self._accounts.has(key):
            return None
        self._accounts.pin(key)
        try:
            touch = self._accounts.used(key) if use else None
            found = await self._ground.pool.run(lambda: self._read(digest, touch))
        finally:
            self._accounts.unpin(key)
        if found is None and self._accounts.has(key):
            self._ground.observe(
                CorruptionFound(kind="manifest", digest=str(digest), found_by="read")
            )
            await self._room.drop(key)
        return found

    def _read(self, digest: Digest, touch: float | None) -> StoredManifest | None:
        """Blocks. None unless both files are there and right."""
        disk, layout = self._ground.disk, self._ground.layout
        body = read_file(disk, layout.manifest(digest), self._ground.limits.manifest_bytes)
        media_type = read_file(disk, layout.media_type(digest), BLOCK)
        if body is None or hashlib.sha256(body).hexdigest() != digest.hex:
            return None
        if media_type is None or not is_media_type(media_type.decode("latin-1")):
            return None
        if touch is not None:
            with suppress(OSError):
                disk.used_at(layout.manifest(digest), touch)
        return StoredManifest(digest, media_type.decode("ascii"), body)

    async def write(self, manifest: StoredManifest) -> None:
        """See ``Store.write_manifest``."""
        await self._ground.owned.shielded(self._write(manifest))

    async def _write(self, manifest: StoredManifest) -> None:
        if not is_media_type(manifest.media_type):
            raise StoreFailure(f"{manifest.digest} has no media type that can be stored")
        key = key_of(Kind.MANIFEST, manifest.digest)
        # One that rotted on the disk is not here, though it has the name.
        if await self.read(manifest.digest) is not None:
            return
        size = manifest_bytes(len(manifest.body))
        reservation = await self._room.reserve(size)
        self._accounts.pin(key)
        try:
            await self._room.settled(key)
            now = self._ground.wall()
            try:
                await self._ground.pool.run(lambda: self._put(manifest, now))
            except StoreFailure:
                await self._room.strand(key, size)
                raise
            self._accounts.add(key, size, reserved=reservation.take())
        finally:
            self._accounts.unpin(key)
            reservation.release()

    def _put(self, manifest: StoredManifest, now: float) -> None:
        """Blocks. The sidecar first: a body without it is no manifest."""
        write, layout = self._ground.drafts.write, self._ground.layout
        media_type = manifest.media_type.encode("ascii")
        write(layout.media_type(manifest.digest), media_type, now, named=False)
        write(layout.manifest(manifest.digest), manifest.body, now)
