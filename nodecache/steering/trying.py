"""``bench``: a blob and a manifest of noise to measure by, for as long as somebody does."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from nodecache.cache.placing import STEP, Placing, WrongBytes
from nodecache.config import format_size
from nodecache.failures import Failure, StoreFailure
from nodecache.limits import MIB
from nodecache.reference import Digest
from nodecache.seams import DiskPool
from nodecache.steering.lasting import Lasting, Stop
from nodecache.steering.verbs import Refused, Tell, Verb
from nodecache.steering.warm import Permit
from nodecache.store import StoredManifest

#: Bytes of the blob.
_LEAST: Final = MIB
_MOST: Final = 1024 * MIB
#: The blob repeats a block of noise.
_BLOCK: Final = MIB
_OCI: Final = "application/vnd.oci.image."
#: Under which name it is asked for.
_NAME: Final = ("library/nodecache-bench", "docker.io")


@attrs.frozen
class Spare:
    """Bytes: what the cache may still take, and the disk above its floor."""

    cache: int
    disk: int


@attrs.frozen
class TryPorts:
    """``known`` and ``permit`` are as for an import."""

    placing: Placing
    pool: DiskPool
    spare: Callable[[], Spare]
    known: Callable[[], Any]
    permit: Permit


class Trying:
    """The verb ``bench``: told is ``ready``, with digests and a name to ask for them by.

    It lasts until whoever gave the order hangs up; then all of it is removed.
    Nothing is evicted for it.
    """

    def __init__(self, ports: TryPorts, lasting: Lasting) -> None:
        self._ports = ports
        self._lasting = lasting

    def verb(self) -> Verb:
        return Verb("bench", self.run)

    async def run(self, given: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Raises Refused."""
        size = given.get("bytes")
        if type(size) is not int or not _LEAST <= size <= _MOST:
            raise Refused(f"'bytes' is no number from {_LEAST} to {_MOST}")
        spare = self._ports.spare()
        if size > min(spare.cache, spare.disk):
            what = "cache" if spare.cache < spare.disk else "disk"
            raise Refused(
                f"the {what} has no room for a test blob of {format_size(size)}"
                " without evicting something",
                "Measure with a smaller one, or purge images: nodecache bench --size MIB.",
            )
        name, namespace = self._name()
        try:
            return await self._lasting.run(
                lambda stop: self._try(size, {"name": name, "namespace": namespace}, tell, stop)
            )
        except (StoreFailure, WrongBytes) as failure:
            raise Refused(f"the test blob can not be kept: {failure}") from None

    def _name(self) -> tuple[str, str]:
        name, namespace = _NAME
        for each in dict.fromkeys((namespace, *self._ports.known())):
            try:
                self._ports.permit(name, each)
            except Failure:
                continue
            return name, each
        raise Refused("this node's rules allow no name for a test blob")

    async def _try(
        self, size: int, called: dict[str, str], tell: Tell, stop: Stop
    ) -> dict[str, Any]:
        noise = Noise(size)
        digest = await self._hashed(noise, stop)
        manifest = _manifest(digest, size)
        try:
            await self._ports.placing.blob(digest, size, noise.read, lambda _: stop.check())
            await self._ports.placing.manifest(manifest)
            told = {"digest": str(digest), "bytes": size, "manifest": str(manifest.digest)}
            tell({"event": "ready", **told, **called})
            await stop.wait(Deferred())
        finally:
            await self._ports.placing.drop(digest)
            await self._ports.placing.drop_manifest(manifest.digest)
        return {}

    async def _hashed(self, noise: Noise, stop: Stop) -> Digest:
        hasher, offset = hashlib.sha256(), 0
        while offset < noise.size:
            data = await self._ports.pool.run(functools.partial(noise.hashed, hasher, offset))
            offset += data
            stop.check()
        return Digest("sha256", hasher.hexdigest())


class Noise:
    """``size`` bytes that no other blob has."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._block = os.urandom(_BLOCK)

    def read(self, offset: int, size: int) -> bytes:
        """As of a blob."""
        stop = min(self.size, offset + size)
        first = offset % _BLOCK
        blocks = -(-(first + stop - offset) // _BLOCK)
        return (self._block * blocks)[first : first + stop - offset]

    def hashed(self, hasher: Any, offset: int) -> int:
        """Blocks: so many bytes from ``offset`` on were hashed."""
        data = self.read(offset, STEP)
        hasher.update(data)
        return len(data)


def _manifest(digest: Digest, size: int) -> StoredManifest:
    described = {"digest": str(digest), "size": size, "mediaType": f"{_OCI}layer.v1.tar"}
    config = {**described, "mediaType": f"{_OCI}config.v1+json"}
    kind = f"{_OCI}manifest.v1+json"
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": config,
        "layers": [described],
    }
    body = json.dumps(document).encode("ascii")
    return StoredManifest(Digest("sha256", hashlib.sha256(body).hexdigest()), kind, body)
