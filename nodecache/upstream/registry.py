"""An upstream's registry calls: manifests and listings (blobs have a room of their own)."""

from __future__ import annotations

from urllib.parse import urlencode

from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.limits import Limits
from nodecache.reference import Digest, Reference
from nodecache.seams import BlobSource
from nodecache.upstream.blobs import UpstreamBlob, head_blob
from nodecache.upstream.body import read_whole
from nodecache.upstream.courier import Attempt, Letter
from nodecache.upstream.fetched import (
    ACCEPT,
    FetchedListing,
    FetchedManifest,
    ManifestHead,
    digest_in,
    is_page,
    judge_listing,
    judge_manifest,
    media_type_of,
)
from nodecache.upstream.origin import Ask, Origin
from nodecache.upstream.turns import Turns
from nodecache.upstream.waits import TimedOut
from nodecache.upstream.wire import Reply


class Upstream:
    """One namespace. Every call raises UpstreamFailure only, and may be cancelled.

    Names are full repository names (``library/alpine``) that this node's rules
    permit; whoever calls has seen to that.
    """

    def __init__(self, namespace: str, turns: Turns, limits: Limits) -> None:
        self.namespace = namespace
        self._turns = turns
        self._courier = turns.courier
        self._limits = limits

    def down(self) -> UpstreamFailure | None:
        """The failure that every call would have now, without asking; None when it may be asked."""
        return self._turns.down()

    async def head_manifest(
        self, name: str, reference: Reference, deadline: Deadline | None = None
    ) -> ManifestHead:
        """What a tag or digest is now; costs nothing of a rate limit.

        All is unknown of an upstream that takes no HEAD: GET is to be asked.
        """
        ask = Ask("manifest", "HEAD", name, f"manifests/{reference}", {"Accept": ACCEPT})

        async def turn(origin: Origin, attempt: Attempt) -> ManifestHead:
            reply = await self._turns.ask(origin, ask, attempt)
            if reply.status in {405, 501}:
                self._courier.discard(reply)
                return ManifestHead(None, "", None)
            if reply.status != 200:
                raise self._turns.refused(origin, ask, reply, f"{name}:{reference}")
            self._courier.discard(reply)
            if is_page(reply.header("Content-Type")):
                raise self._wrong(ask, reply, "a web page came for a manifest")
            digest = digest_in(reply.header("Docker-Content-Digest"))
            return ManifestHead(digest, media_type_of(reply.header("Content-Type")), reply.length)

        return await self._turns.take(turn, deadline)

    async def get_manifest(
        self, name: str, reference: Reference, deadline: Deadline | None = None
    ) -> FetchedManifest:
        """The manifest's bytes; those of a digest match it."""
        ask = Ask("manifest", "GET", name, f"manifests/{reference}", {"Accept": ACCEPT})
        wanted = reference if isinstance(reference, Digest) else None

        async def turn(origin: Origin, attempt: Attempt) -> FetchedManifest:
            reply = await self._turns.ask(origin, ask, attempt)
            if reply.status != 200:
                raise self._turns.refused(origin, ask, reply, f"{name}:{reference}")
            body = await self._read(ask, reply, self._limits.manifest_bytes, attempt)
            named = digest_in(reply.header("Docker-Content-Digest"))
            try:
                return judge_manifest(body, reply.header("Content-Type"), named, wanted)
            except UpstreamFailure as failure:
                raise self._wrong(ask, reply, failure.message) from failure

        return await self._turns.take(turn, deadline)

    async def tags(
        self, name: str, n: int | None, last: str | None, deadline: Deadline | None = None
    ) -> FetchedListing:
        """A page of ``tags/list``."""
        query = [
            (key, str(value)) for key, value in (("n", n), ("last", last)) if value is not None
        ]
        path = f"tags/list?{urlencode(query)}" if query else "tags/list"
        return await self._listing(name, path, deadline)

    async def referrers(
        self,
        name: str,
        digest: Digest,
        artifact_type: str | None,
        deadline: Deadline | None = None,
    ) -> FetchedListing:
        """NOT_FOUND also stands for a registry without this interface."""
        path = f"referrers/{digest}"
        if artifact_type is not None:
            path += "?" + urlencode({"artifactType": artifact_type})
        return await self._listing(name, path, deadline)

    async def _listing(self, name: str, path: str, deadline: Deadline | None) -> FetchedListing:
        ask = Ask("listing", "GET", name, path, {"Accept": "application/json, */*;q=0.1"})

        async def turn(origin: Origin, attempt: Attempt) -> FetchedListing:
            reply = await self._turns.ask(origin, ask, attempt)
            if reply.status != 200:
                raise self._turns.refused(origin, ask, reply, f"{name}/{path.partition('?')[0]}")
            body = await self._read(ask, reply, self._limits.listing_bytes, attempt)
            link, filters = reply.header("Link"), reply.header("OCI-Filters-Applied")
            try:
                return judge_listing(body, reply.header("Content-Type"), link, filters)
            except UpstreamFailure as failure:
                raise self._wrong(ask, reply, failure.message) from failure

        return await self._turns.take(turn, deadline)

    async def head_blob(self, name: str, digest: Digest, deadline: Deadline | None = None) -> int:
        """The blob's size in bytes, without its bytes."""
        return await head_blob(self._turns, name, digest, deadline)

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        """For one fill of the blob."""
        return UpstreamBlob(self._turns, name, digest)

    async def _read(self, ask: Ask, reply: Reply, most: int, attempt: Attempt) -> bytes:
        courier, began = self._courier, self._courier.now()
        stream = courier.stream(ask.leg, reply)
        left = attempt.deadline.remaining(began)
        try:
            encoding = reply.header("Content-Encoding")
            return await read_whole(courier.clock, stream, encoding, most, left)
        except TimedOut as timed_out:
            words = "its answer has no end in time"
            letter = _letter(ask, reply)
            raise courier.timed_out(letter, attempt, began, timed_out, words) from None
        except UpstreamFailure as failure:
            raise courier.failed(
                _letter(ask, reply), failure.kind, failure.message, began
            ) from failure

    def _wrong(self, ask: Ask, reply: Reply, words: str) -> UpstreamFailure:
        return self._courier.failed(_letter(ask, reply), UpstreamKind.WRONG, words)


def _letter(ask: Ask, reply: Reply) -> Letter:
    return Letter(ask.leg, ask.method, reply.url)
