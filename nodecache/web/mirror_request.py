"""A request on the mirror port: what it asks, whose it is, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodecache.answers import Answer, Asked, answer, asked_for, seemingly_asked
from nodecache.body import Outcome, Sender
from nodecache.failures import BadRequest, Failure, RequestProblem
from nodecache.reference import (
    BasePath,
    BlobPath,
    Digest,
    ManifestPath,
    Query,
    ReferrersPath,
    RegistryPath,
    Repository,
    parse_path,
    parse_query,
)
from nodecache.results import Registry
from nodecache.traces import CURRENT
from nodecache.web.channel import READING_METHODS
from nodecache.web.direct import write_now
from nodecache.web.exchange import AGENT_LENGTH, METHOD_LENGTH, Exchange, client_name, printable
from nodecache.web.mirror_channel import MirrorChannel
from nodecache.web.ready import API_VERSION, Plain
from nodecache.web.request import GuardedRequest

if TYPE_CHECKING:
    from nodecache.web.mirror_site import MirrorSite


class MirrorRequest(GuardedRequest):
    """``where`` and ``query`` are what was asked; ``exchange`` is what will be told of it."""

    channel: MirrorChannel | None
    site: MirrorSite
    where: RegistryPath
    query: Query
    exchange: Exchange
    _asked = Asked.OTHER
    _sender: Sender | None = None

    @property
    def is_head(self) -> bool:
        return bool(self.method == b"HEAD")

    def header(self, name: str) -> str | None:
        """The one value of a header; None where there is none, or where there are several."""
        values = self.requestHeaders.getRawHeaders(name.encode("ascii"), [])
        return values[0].decode("latin-1") if len(values) == 1 else None

    # What is known is answered at once.

    def plain(self) -> Plain | None:
        """None where the answer depends on more than what ``Plain`` holds."""
        channel, headers = self.channel, self.requestHeaders
        if channel is None or not channel.persistent or self.clientproto != b"HTTP/1.1":
            return None
        if headers.hasHeader(b"Range") or headers.hasHeader(b"Expect"):
            return None
        return Plain(self.method, self.uri, self._agent(), self.header("traceparent"))

    def respond_at_once(self) -> bool:
        plain = self.plain()
        if plain is None or self.channel is None:
            return False
        try:
            given = self.site.ready.give(plain, self._client(), self.started_at)
        except Exception:
            self._begin_exchange()  # of which something is told in any case
            raise
        if given is None:
            return False
        self.channel.understood(plain)
        self.exchange = given.exchange
        self.startedWriting, self.sentLength = 1, given.size
        self.first_byte_at = self.site.clock.seconds()
        write_now(self.channel.transport, given.data)
        self.finish()
        return True

    def _agent(self) -> str:
        agents = self.requestHeaders.getRawHeaders(b"User-Agent", [b""])
        return printable(agents[0], AGENT_LENGTH)

    def _client(self) -> str:
        return client_name(getattr(self.getClientAddress(), "host", ""))

    # What is asked.

    def respond(self) -> None:
        self.setHeader(*API_VERSION)
        self._begin_exchange()
        self.setHeader("Nodecache-Request-Id", self.exchange.request_id)
        try:
            self._read()
        except BadRequest as problem:
            self.respond_with(self.reply_failure(problem))
            return
        if isinstance(self.where, BasePath):  # whose headers are settled
            self.responseHeaders.removeHeader("Nodecache-Request-Id")
        # klein routes on the kind of path, and sees nothing of the path itself.
        self.prepath, self.postpath = [], [self._asked.value.encode("ascii")]
        self.render(self.site.resource)

    def _begin_exchange(self) -> None:
        self.exchange = Exchange(
            request_id=self.site.next_id(),
            client=self._client(),
            agent=self._agent(),
            method=printable(self.method, METHOD_LENGTH),
            started_at=self.started_at,
            trace=self.site.trace_of(self.header("traceparent")),
        )

    def _read(self) -> None:
        """Raises BadRequest."""
        path, _, query = self.uri.partition(b"?")
        self._asked = seemingly_asked(path)
        self.exchange.kind = self._asked.value
        if self.method not in READING_METHODS:
            raise BadRequest(RequestProblem.METHOD, "this mirror is read-only")
        self.where = parse_path(path)
        self._asked = asked_for(self.where)
        self.exchange.kind = self._asked.value
        self.query = parse_query(query)
        self._name_exchange()

    def _name_exchange(self) -> None:
        self.exchange.namespace = self.query.namespace or ""
        if not isinstance(self.where, BasePath):
            self.exchange.repository = self.where.name
        if isinstance(self.where, ManifestPath):
            self.exchange.reference = str(self.where.reference)
        elif isinstance(self.where, BlobPath | ReferrersPath):
            self.exchange.reference = str(self.where.digest)

    def enter(self, registry: Registry, name: str) -> Repository:
        """The repository that ``name`` means here. Raises UnknownNamespace, NameDenied."""
        repository = registry.repository(name, self.query.namespace)
        if self.query.namespace is not None:
            self.setHeader("OCI-Namespace", self.query.namespace)
        self.exchange.namespace = repository.namespace
        self.exchange.repository = repository.name
        if isinstance(self.where, ManifestPath | BlobPath):
            self.site.pulls.started(self.exchange)
        CURRENT.set(self.exchange.trace)  # within the coroutine that answers, and what it starts
        return repository

    def resolved(self, digest: Digest) -> None:
        """The tag that was asked for means ``digest``."""
        self.site.pulls.resolved(self.exchange, str(digest))

    # How it is answered.

    def stream(self, sender: Sender) -> None:
        """Let ``sender`` answer; it ends the request, with ``body_ended``."""
        self._sender = sender
        self.site.active_bodies.add(sender)
        sender.start()

    def body_ended(self, outcome: Outcome, reason: str) -> None:
        self.exchange.outcome = outcome
        self.exchange.reason = reason or self.exchange.reason
        sender, self._sender = self._sender, None
        if sender is not None:
            self.site.active_bodies.discard(sender)

    def cut(self, reason: str) -> None:
        if self._sender is None:
            super().cut(reason)
        else:
            self._sender.abort(reason)

    def answer_to(self, failure: Failure) -> Answer:
        return answer(failure, self._asked, sole_registry=self.site.sole_registry)

    def reply_failure(self, failure: Failure) -> bytes:
        return self.reply_error(self.answer_to(failure))

    def reply_error(self, refusal: Answer) -> bytes:
        self.exchange.source = "none"
        self.exchange.code = refusal.code
        self.exchange.reason = refusal.message
        return super().reply_error(refusal)

    def over(self, *, complete: bool) -> None:
        if complete and self.exchange.outcome is None:
            self.exchange.outcome = Outcome.COMPLETE
        now = self.site.clock.seconds()
        self.site.told(
            self.exchange,
            self.exchange.finished(self.code, self.sentLength, self.first_byte_at, now),
        )
