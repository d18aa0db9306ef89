"""``export``: images as one archive, sent through a pipe while they are read from the disk."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import attrs

from nodecache.archives import Document as Manifest
from nodecache.archives import Entry, Exported, archive_of
from nodecache.archives.tar import END
from nodecache.archives.writing import bytes_of
from nodecache.config import format_size
from nodecache.events import Source
from nodecache.failures import BadRequest, Failure, StoreFailure
from nodecache.freshness import TagEntry
from nodecache.limits import MIB, Limits, Timeouts
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.reference.images import Image, parse_image
from nodecache.results import BlobResult, ManifestResult, PassThroughResult
from nodecache.seams import DiskPool, Readable
from nodecache.steering.lasting import Lasting, Stop
from nodecache.steering.pipes import BrokenPipe, open_pipe, put, writable
from nodecache.steering.telling import next_step
from nodecache.steering.verbs import Document, Refused, Tell, Verb
from nodecache.steering.warm import Chosen, Permit
from nodecache.store import StoredManifest
from nodecache.warming import Plan, Ports, Warming, matches

#: Bytes that one disk job reads.
_STEP: Final = MIB
_FORMATS: Final = ("oci", "docker")
_FETCH: Final = "Leave --offline out to fetch it; 'nodecache list' shows what is here."


class Shelf(Protocol):
    """What an export reads."""

    def blob_size(self, digest: Digest) -> int | None: ...

    async def open_blob(self, digest: Digest) -> Readable | None: ...

    async def drop_blob(self, digest: Digest) -> None: ...

    async def read_manifest(self, digest: Digest) -> StoredManifest | None: ...

    async def read_tag(self, repository: Repository, tag: Tag) -> TagEntry | None: ...


@attrs.frozen
class ExportPorts:
    """What an export works with."""

    warming: Warming
    shelf: Shelf
    ports: Ports
    pool: DiskPool
    reactor: Any
    limits: Limits
    timeouts: Timeouts
    known: Callable[[], Sequence[str]]
    permit: Permit
    platform: Callable[[], str]


class _NotHere(Failure):
    """It would have to be fetched, and the order says that nothing is."""


class OnDisk:
    """The cache without its upstreams: what a tag means by the last word on it."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def manifest(
        self, repository: Repository, reference: Reference, *, head: bool
    ) -> ManifestResult:
        """Raises _NotHere, StoreFailure."""
        del head
        digest = reference
        if isinstance(digest, Tag):
            entry = await self._shelf.read_tag(repository, digest)
            digest = digest if entry is None else Digest.parse(entry.digest)
        found = None if isinstance(digest, Tag) else await self._shelf.read_manifest(digest)
        if found is None:
            mark = ":" if isinstance(reference, Tag) else "@"
            raise _NotHere(f"{repository}{mark}{reference} is not here")
        body = found.body
        return ManifestResult(found.digest, found.media_type, len(body), body, Source.DISK)

    async def blob(
        self, repository: Repository, digest: Digest, *, whole: bool
    ) -> BlobResult | PassThroughResult:
        """Raises _NotHere: it is asked for what is missing only."""
        del whole
        raise _NotHere(f"{repository}@{digest} is not here")


class Exporting:
    """The verb ``export``: ``images``, ``format`` (oci or docker), ``platforms`` or ``every``,
    ``offline`` (fetch nothing), and the ``path`` of the pipe.

    Told are ``fetch`` and ``progress``, and ``ready`` once the pipe is open.
    """

    def __init__(self, ports: ExportPorts, lasting: Lasting) -> None:
        self._ports = ports
        self._lasting = lasting
        on_disk = attrs.evolve(ports.ports, cache=OnDisk(ports.shelf))
        self._offline = Warming(on_disk, ports.limits, ports.timeouts)

    def verb(self) -> Verb:
        return Verb("export", self.run)

    async def run(self, given: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Raises Refused."""
        document = Document(given)
        path, names, kind = document.text("path"), document.texts("images"), document.text("format")
        chosen = Chosen.of(document)
        if kind not in _FORMATS:
            raise Refused(f"there is no format {kind!r}", f"There is {' and '.join(_FORMATS)}.")
        if not names:
            raise Refused("no image is named")
        plans = await self._plans(names, chosen, offline=document.flag("offline"), tell=tell)
        platform = (chosen.platforms or (self._ports.platform(),))[0]
        images = [exported(image, plan, platform) for image, plan in plans]
        entries = archive_of(images, docker=kind == "docker")
        try:
            await self._lasting.run(lambda stop: self._send(entries, path, tell, stop))
        except BrokenPipe as broken:
            raise Refused(str(broken)) from None
        return {
            "images": [str(image) for image, _ in plans],
            "bytes": bytes_of(entries),
            "platform": platform,
        }

    # What is in it.

    async def _plans(
        self, names: Sequence[str], chosen: Chosen, *, offline: bool, tell: Tell
    ) -> list[tuple[Image, Plan]]:
        warming = self._offline if offline else self._ports.warming
        found = []
        for name in dict.fromkeys(names):
            image = self._image(name)
            asked = chosen.asked(image, self._ports.platform())
            plan = await self._of(name, warming.plan(asked))
            missing = warming.missing(plan)
            if missing:
                total = sum(missing.values())
                if offline:
                    raise Refused(
                        f"{name}: {len(missing)} of its blobs are not here ({format_size(total)})",
                        "Leave --offline out to fetch them, or choose another --platform.",
                    )
                tell({"event": "fetch", "image": name, "bytes": total, "blobs": len(missing)})
                await self._of(name, warming.fetch(plan, lambda *_: None))
            found.append((image, plan))
        return found

    def _image(self, name: str) -> Image:
        try:
            image = parse_image(name, self._ports.known())
            self._ports.permit(image.repository.name, image.repository.namespace)
        except (BadRequest, Failure) as failure:
            raise Refused(f"{name or repr(name)}: {failure}", next_step(failure)) from None
        return image

    async def _of(self, name: str, work: Awaitable[Any]) -> Any:
        try:
            return await work
        except _NotHere as missing:
            raise Refused(f"{name}: {missing}", _FETCH) from None
        except Failure as failure:
            raise Refused(f"{name}: {failure}", next_step(failure)) from None

    # Sending it.

    async def _send(self, entries: Sequence[Entry], path: str, tell: Tell, stop: Stop) -> None:
        pool, total = self._ports.pool, bytes_of(entries)
        fd = await pool.run(lambda: open_pipe(path, writing=True))
        try:
            tell({"event": "ready", "bytes": total})
            sent = 0
            for entry in entries:
                await self._put(fd, entry.header, stop)
                if entry.body is not None:
                    await self._put(fd, entry.body, stop)
                else:
                    await self._send_blob(fd, entry, stop)
                await self._put(fd, entry.padding, stop)
                sent += entry.bytes_in_tar
                tell({"event": "progress", "bytes": sent, "total": total})
            await self._put(fd, END, stop)
        finally:
            await pool.run(functools.partial(os.close, fd))

    async def _send_blob(self, fd: int, entry: Entry, stop: Stop) -> None:
        assert entry.digest is not None
        blob = await self._ports.shelf.open_blob(entry.digest)
        if blob is None or blob.total != entry.size:
            if blob is not None:
                blob.close()
            raise StoreFailure(f"{entry.digest} went away meanwhile: export it again")
        try:
            await self._copy(fd, blob, entry, stop)
        finally:
            blob.close()

    async def _copy(self, fd: int, blob: Readable, entry: Entry, stop: Stop) -> None:
        """The last piece is held back until the digest is known to be right."""
        hasher, offset = hashlib.sha256(), 0
        assert entry.digest is not None

        def step() -> bytes:
            data = os.pread(blob.fd, _STEP, offset)
            hasher.update(data)
            return data

        while offset < entry.size:
            data = await self._ports.pool.run(step)
            offset += len(data)
            if not data or (offset >= entry.size and hasher.hexdigest() != entry.digest.hex):
                await self._ports.shelf.drop_blob(entry.digest)
                raise StoreFailure(f"{entry.digest} is damaged on disk, and was removed: try again")
            await self._put(fd, data, stop)

    async def _put(self, fd: int, data: bytes, stop: Stop) -> None:
        left = memoryview(data)
        while left:
            stop.check()
            taken = put(fd, left)
            left = left[taken:]
            if not taken:
                await stop.wait(writable(self._ports.reactor, fd))


def exported(image: Image, plan: Plan, platform: str) -> Exported:
    """``plan`` as it is written; Docker's own format is about the manifest for ``platform``."""
    tag = "" if image.tag is None and image.digest else str(image.tag or "latest")
    name = f"{image.repository}:{tag}" if tag else ""
    named = attrs.evolve(image, tag=Tag(tag), digest=None) if tag else image
    return Exported(
        name, str(named), tag, plan.top, _main(plan, platform), plan.documents, dict(plan.blobs)
    )


def _main(plan: Plan, platform: str) -> Manifest:
    images = {each.digest: each for each in plan.images}
    for document in plan.documents:
        for child in document.children:
            if child.piece.digest in images and matches(platform, child.platform):
                return images[child.piece.digest]
    return plan.images[0]
