"""The mirror port: registry requests, answered from the cache.

A request's path and query are read by ``reference`` alone, from the bytes that
were sent; klein routes on the kind of path that came out, so that its own
decoding, merging and redirecting of paths has no say. It brings what a
coroutine needs: when the client leaves while an answer is looked for, the
search is cancelled. Once an answer has a body to stream, klein hands the
request over (``Streaming``) and keeps out of it.
"""

from __future__ import annotations

from typing import Any

from klein import Klein
from twisted.python.failure import Failure as Reason
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from nodecache.answers import stale_warning
from nodecache.body import BlobSender, BlobTools, Part, PassThroughSender, Sender
from nodecache.byteranges import ContentRange, RangeRequest, Span, parse_range
from nodecache.events import Source
from nodecache.failures import Failure
from nodecache.reference import BlobPath, Digest, ManifestPath, ReferrersPath, Tag, TagsPath
from nodecache.results import (
    BlobResult,
    ListingResult,
    ManifestResult,
    PassThroughResult,
    Registry,
)
from nodecache.seams import Readable
from nodecache.web.mirror_request import MirrorRequest
from nodecache.web.ranges import RangesAnswered, frame_blob, is_empty_digest, wanted_range
from nodecache.web.request import JSON

BLOB_TYPE = "application/octet-stream"


class Streaming(Resource):
    """What klein is given when ``sender`` answers the request and ends it."""

    isLeaf = True

    def __init__(self, sender: Sender) -> None:
        super().__init__()
        self._sender = sender

    def render(self, request: Any) -> int:
        request.stream(self._sender)
        return NOT_DONE_YET


class Mirror:
    """``tail`` is the number of bytes that a body passed through holds back."""

    app = Klein()

    def __init__(self, registry: Registry, tools: BlobTools, tail: int) -> None:
        self._registry = registry
        self._tools = tools
        self._tail = tail
        self._ranges = RangesAnswered()

    # klein's types know no request but its own.
    @app.handle_errors(Failure)  # type: ignore[arg-type]
    def refused(self, request: MirrorRequest, reason: Reason) -> bytes:
        assert isinstance(reason.value, Failure)
        return request.reply_failure(reason.value)

    @app.route("/base", methods=["GET"])
    def base(self, request: MirrorRequest) -> bytes:
        return request.reply(200, b"{}", JSON)

    # Manifests and listings: small bodies, in memory.

    @app.route("/manifest", methods=["GET"])
    async def manifest(self, request: MirrorRequest) -> bytes:
        path = request.where
        assert isinstance(path, ManifestPath)
        repository = request.enter(self._registry, path.name)
        result = await self._registry.manifest(repository, path.reference, head=request.is_head)
        if isinstance(path.reference, Tag):
            request.resolved(result.digest)
        if result.body is None and not request.is_head:
            raise ValueError("the cache gave no body for a manifest")
        span = None if request.is_head else _manifest_range(request, result)
        _manifest_headers(request, result)
        if result.body is None:
            request.reply(200, b"", result.media_type)
            request.setHeader("Content-Length", str(result.size))
            return b""
        if span is None:
            return request.reply(200, result.body, result.media_type)
        request.setHeader("Content-Range", str(ContentRange(span, result.size)))
        return request.reply(206, result.body[span.start : span.stop], result.media_type)

    @app.route("/tags", methods=["GET"])
    async def tags(self, request: MirrorRequest) -> bytes:
        path = request.where
        assert isinstance(path, TagsPath)
        repository = request.enter(self._registry, path.name)
        query = request.query
        return _listing(request, await self._registry.tags(repository, query.n, query.last))

    @app.route("/referrers", methods=["GET"])
    async def referrers(self, request: MirrorRequest) -> bytes:
        path = request.where
        assert isinstance(path, ReferrersPath)
        repository = request.enter(self._registry, path.name)
        wanted = request.query.artifact_type
        return _listing(request, await self._registry.referrers(repository, path.digest, wanted))

    # Blobs.

    @app.route("/blob", methods=["GET"])
    async def blob(self, request: MirrorRequest) -> bytes | Streaming:
        path = request.where
        assert isinstance(path, BlobPath)
        repository = request.enter(self._registry, path.name)
        if request.is_head:
            head = await self._registry.blob_head(repository, path.digest)
            _blob_headers(request, path.digest, head.source, head.size)
            return b""
        etag = _etag(path.digest)
        wanted = wanted_range(request.header("Range"), request.header("If-Range"), etag)
        whole = self._takes_whole(wanted, path.digest)
        result = await self._registry.blob(repository, path.digest, whole=whole)
        if isinstance(result, PassThroughResult):
            return self._passed_through(request, result)
        return self._from_file(request, result, wanted, path.digest)

    def _takes_whole(self, wanted: RangeRequest | None, digest: Digest) -> bool:
        if wanted is None:
            return True
        return wanted.is_everything and self._ranges.total(digest) is None

    def _from_file(
        self,
        request: MirrorRequest,
        result: BlobResult,
        wanted: RangeRequest | None,
        digest: Digest,
    ) -> Streaming:
        readable = result.readable
        try:
            status, part = frame_blob(wanted, self._total(readable, wanted, digest), digest)
        except Failure:
            readable.close()
            raise
        size = None if part.stop is None else part.stop - part.start
        _blob_headers(request, digest, result.source, size)
        if status == 206:
            self._cut_into_ranges(request, part, digest)
        return Streaming(BlobSender(request, readable, part, self._tools, request.body_ended))

    def _total(self, readable: Readable, wanted: RangeRequest | None, digest: Digest) -> int | None:
        """The size of the blob, from an earlier answer if need be for a range."""
        if readable.total is None and wanted is not None:
            return self._ranges.total(digest)
        return readable.total

    def _cut_into_ranges(self, request: MirrorRequest, part: Part, digest: Digest) -> None:
        assert part.stop is not None
        assert part.total is not None
        self._ranges.remember(digest, part.total)
        request.setResponseCode(206)
        span = Span(part.start, part.stop)
        request.setHeader("Content-Range", str(ContentRange(span, part.total)))

    def _passed_through(self, request: MirrorRequest, result: PassThroughResult) -> Streaming:
        if result.total == 0 and not is_empty_digest(result.digest):
            result.body.stop()
            raise ValueError("an empty body is passed through under another digest")
        _blob_headers(request, result.digest, Source.FILL, result.total)
        sender = PassThroughSender(request, result, self._tail, self._tools, request.body_ended)
        return Streaming(sender)


def _etag(digest: Digest) -> str:
    return f'"{digest}"'


def _manifest_range(request: MirrorRequest, result: ManifestResult) -> Span | None:
    if_range = request.header("If-Range")
    if if_range is not None and if_range.strip() != _etag(result.digest):
        return None
    return parse_range(request.header("Range"), result.size)


def _manifest_headers(request: MirrorRequest, result: ManifestResult) -> None:
    request.setHeader("Docker-Content-Digest", str(result.digest))
    request.setHeader("ETag", _etag(result.digest))
    request.setHeader("Accept-Ranges", "bytes")
    _came_from(request, result.source, result.warning)


def _blob_headers(request: MirrorRequest, digest: Digest, source: Source, size: int | None) -> None:
    """``size`` is None where the body goes out in chunks."""
    request.setResponseCode(200)
    request.setHeader("Content-Type", BLOB_TYPE)
    request.setHeader("Docker-Content-Digest", str(digest))
    request.setHeader("ETag", _etag(digest))
    request.setHeader("Accept-Ranges", "bytes")
    if size is not None:
        request.setHeader("Content-Length", str(size))
    _came_from(request, source, None)


def _came_from(request: MirrorRequest, source: Source, warning: str | None) -> None:
    request.exchange.source = source.value
    request.setHeader("Nodecache-Source", source.value)
    if warning is not None:
        request.exchange.reason = warning
        request.setHeader("Warning", stale_warning(warning))


def _listing(request: MirrorRequest, result: ListingResult) -> bytes:
    _came_from(request, result.source, result.warning)
    if result.link is not None:
        request.setHeader("Link", result.link)
    if result.filters is not None:
        request.setHeader("OCI-Filters-Applied", result.filters)
    return request.reply(200, result.body, result.media_type)
