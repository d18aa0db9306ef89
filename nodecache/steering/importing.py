"""``import``: images out of an archive, checked byte for byte, and kept until they are unpinned.

All of an archive is placed before the first tag is written. Where anything is
wrong with it, what was placed goes again, and the node is as it was.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from nodecache.archives import (
    BadArchive,
    Found,
    SavedImage,
    SavedLayer,
    Source,
    TarSource,
    as_manifest,
    is_saved,
    open_source,
    read_layout,
    read_saved,
)
from nodecache.archives import Document as Manifest
from nodecache.cache.placing import STEP, Placing, WrongBytes
from nodecache.config import format_size
from nodecache.failures import NoRoom, StoreFailure
from nodecache.reference import Digest
from nodecache.seams import DiskPool
from nodecache.steering.called import Permit, Wanted, described, named
from nodecache.steering.lasting import Lasting, Stop
from nodecache.steering.pipes import BrokenPipe, open_pipe
from nodecache.steering.unpacking import START, is_compressed, unpack
from nodecache.steering.verbs import Document, Refused, Tell, Verb
from nodecache.store import StoredManifest
from nodecache.store.scratch import Roomy, Scratch

_UNCHANGED: Final = "Nothing of it was imported."


@attrs.frozen
class ImportPorts:
    """What an import works with. ``cap`` is in bytes."""

    placing: Placing
    store: Roomy
    pool: DiskPool
    reactor: Any
    data_dir: Callable[[], str]
    known: Callable[[], Sequence[str]]
    permit: Permit
    cap: Callable[[], int]
    manifest_bytes: int


class Importing:
    """The verb ``import``: a ``path`` to read, or with ``pipe``, a pipe that it comes through.

    ``names`` take the place of the archive's own, where it holds one image. Told
    are ``unreadable`` (the path is not for this node's eyes), ``ready`` (the pipe
    is open), ``progress`` and, last, what was imported.
    """

    def __init__(self, ports: ImportPorts, lasting: Lasting) -> None:
        self._ports = ports
        self._lasting = lasting

    def verb(self) -> Verb:
        return Verb("import", self.run)

    async def run(self, given: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Raises Refused."""
        document = Document(given)
        path, names = document.text("path"), document.texts("names")
        pipe = document.flag("pipe")
        try:
            return await self._lasting.run(
                lambda stop: self._import(path, names, tell, stop, pipe=pipe)
            )
        except NoRoom:
            raise Refused(
                "the archive takes more room than the cache has, which may hold "
                f"{format_size(self._ports.cap())}",
                f"{_UNCHANGED} Unpin or purge images, or raise max_size.",
            ) from None
        except (BadArchive, WrongBytes, BrokenPipe, StoreFailure) as failure:
            raise Refused(str(failure), _UNCHANGED) from None
        except OSError as error:
            raise Refused(f"the archive can not be read: {error.strerror}", _UNCHANGED) from None

    async def _import(
        self, path: str, names: Sequence[str], tell: Tell, stop: Stop, *, pipe: bool
    ) -> dict[str, Any]:
        scratch: Scratch | None = None
        source: Source | None = None
        try:
            if pipe or await self._must_be_unpacked(path, tell):
                scratch = await self._unpacked(path, tell, stop, pipe=pipe)
                source = await self._ports.pool.run(functools.partial(TarSource, scratch.take()))
            else:
                source = await self._ports.pool.run(lambda: open_source(path))
            found = await self._found(source, stop)
            wanted = named(found, names, self._ports.known(), self._ports.permit)
            self._refuse_too_big(wanted)
            return await self._place(source, wanted, tell, stop)
        finally:
            if source is not None:
                await self._ports.pool.run(source.close)
            if scratch is not None:
                scratch.close()

    # Reading it.

    async def _must_be_unpacked(self, path: str, tell: Tell) -> bool:
        def look() -> bool:
            kind = os.stat(path).st_mode
            if stat.S_ISDIR(kind):
                os.scandir(path).close()
                return False
            if not stat.S_ISREG(kind):  # to open a pipe may take for ever
                raise OSError(errno.EINVAL, "it is neither a file nor a folder")
            with open(path, "rb") as file:
                return is_compressed(file.read(START))

        try:
            return await self._ports.pool.run(look)
        except OSError as error:
            tell({"event": "unreadable"})
            raise Refused(f"{path} can not be read: {error.strerror}") from None

    async def _unpacked(self, path: str, tell: Tell, stop: Stop, *, pipe: bool) -> Scratch:
        ports = self._ports
        fd = await ports.pool.run(
            lambda: open_pipe(path, writing=False) if pipe else os.open(path, os.O_RDONLY)
        )
        try:
            scratch = await Scratch.open(ports.data_dir(), ports.store, ports.pool)
            try:
                tell({"event": "ready"})
                await unpack(
                    fd,
                    scratch,
                    ports.pool,
                    stop,
                    ports.reactor,
                    lambda came: tell({"event": "progress", "what": "unpack", "bytes": came}),
                )
            except BaseException:
                scratch.close()
                raise
        finally:
            await ports.pool.run(functools.partial(os.close, fd))
        return scratch

    async def _found(self, source: Source, stop: Stop) -> tuple[Found, ...]:
        pool, most = self._ports.pool, self._ports.manifest_bytes
        if not await pool.run(lambda: is_saved(source)):
            return await pool.run(lambda: read_layout(source, most))
        images = await pool.run(lambda: read_saved(source, most))
        return tuple([await self._with_manifest(source, image, stop) for image in images])

    async def _with_manifest(self, source: Source, image: SavedImage, stop: Stop) -> Found:
        digests = [
            layer.digest or await self._hashed(source, layer, stop) for layer in image.layers
        ]
        return as_manifest(image, digests)

    async def _hashed(self, source: Source, layer: SavedLayer, stop: Stop) -> Digest:
        hasher, offset = hashlib.sha256(), 0

        def step() -> int:
            data = source.read(layer.member, offset, STEP)
            hasher.update(data)
            return len(data)

        while count := await self._ports.pool.run(step):
            offset += count
            stop.check()
        return Digest("sha256", hasher.hexdigest())

    # Whether it fits, and placing it.

    def _refuse_too_big(self, wanted: Sequence[Wanted]) -> None:
        blobs = {d: m.size for each in wanted for d, m in each.found.blobs.items()}
        total, cap = sum(blobs.values()), self._ports.cap()
        if total > cap:
            raise Refused(
                f"the archive holds {format_size(total)} of layers, and the cache at most"
                f" {format_size(cap)}",
                f"{_UNCHANGED} Raise max_size, or import fewer images.",
            )

    async def _place(
        self, source: Source, wanted: Sequence[Wanted], tell: Tell, stop: Stop
    ) -> dict[str, Any]:
        placed: list[Digest] = []
        manifests: list[Digest] = []
        try:
            await self._place_blobs(source, wanted, placed, tell, stop)
            for each in wanted:
                await self._place_manifests(each, manifests)
            for each in wanted:
                await self._place_tags(each)
        except BaseException:
            for digest in placed:
                await self._ports.placing.drop(digest)
            for digest in manifests:
                await self._ports.placing.drop_manifest(digest)
            raise
        return {"images": [described(each) for each in wanted], "placed_blobs": len(placed)}

    async def _place_blobs(
        self,
        source: Source,
        wanted: Sequence[Wanted],
        placed: list[Digest],
        tell: Tell,
        stop: Stop,
    ) -> None:
        blobs = {d: m for each in wanted for d, m in each.found.blobs.items()}
        total, before = sum(member.size for member in blobs.values()), 0
        for digest, member in blobs.items():

            def told(count: int, before: int = before) -> None:
                stop.check()
                tell({"event": "progress", "bytes": before + count, "total": total})

            stop.check()
            read = functools.partial(source.read, member)
            if await self._ports.placing.blob(digest, member.size, read, told):
                placed.append(digest)
            before += member.size
            told(0, before)

    async def _place_manifests(self, wanted: Wanted, placed: list[Digest]) -> None:
        for document in wanted.found.documents:
            is_new = await self._ports.placing.manifest(_stored(document))
            placed += [document.digest] if is_new else []

    async def _place_tags(self, wanted: Wanted) -> None:
        for image in wanted.names:
            assert image.tag is not None
            await self._ports.placing.tag(image.repository, image.tag, _stored(wanted.found.top))


def _stored(document: Manifest) -> StoredManifest:
    return StoredManifest(document.digest, document.media_type, document.body)
