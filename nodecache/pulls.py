"""Requests of one client for one image, put together into a pull.

The protocol knows no pulls, only requests, so that this is a guess: requests
of one client for one repository belong together as long as one of them is
open or the last one ended less than ``idle`` seconds ago. A tag that is asked
when none is open begins another pull, if it is another tag or blobs were
already asked: runtimes ask the tag first and the blobs last.

What a request was given is told by its source; whether a fetch brought it from
upstream or from other nodes shows only when the fetch is over, and is put in
then (``fetched``).

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping

import attrs

from nodecache.agents import runtime_of
from nodecache.events import FillFinished, PullFinished, RequestFinished, Source
from nodecache.traces import NO_TRACE, Trace

#: Kinds of requests that a pull is made of.
KINDS = frozenset({"manifest", "blob"})
#: What other nodes brought, beside the values of Source.
PEER = "peer"
#: Nodes that are named as senders of a pull.
NAMED = 8
#: Blobs of a pull, and fetches of a node, of which it is known what peers brought.
REMEMBERED = 1024

_FETCHED = frozenset({Source.FILL.value, Source.FLIGHT.value})


@attrs.frozen
class _Share:
    """Which ``part`` of a fetch the peers brought, and who of them how many bytes."""

    part: float
    senders: Mapping[str, int]


_NOTHING = _Share(0.0, {})


@attrs.frozen
class _Key:
    client: str
    namespace: str
    repository: str


@attrs.define
class _Pull:
    began: float
    ended: float
    reference: str
    tag: str = ""
    digest: str = ""
    agent: str = ""
    open: int = 0
    requests: int = 0
    failed: int = 0
    blobs: bool = False
    trace: Trace | None = None
    bytes_by_source: Counter[str] = attrs.field(factory=Counter)
    fetched: Counter[tuple[str, str]] = attrs.field(factory=Counter)  # by source and digest

    def ends_before(self, tag: str) -> bool:
        """Whether a request for ``tag`` now is the begin of another pull."""
        return self.open == 0 and (self.blobs or self.tag not in ("", tag))

    def traced(self, trace: Trace, span_id: str) -> Trace:
        """What a request of this pull belongs to; the first one says what the pull does."""
        if self.trace is None:
            self.trace = attrs.evolve(trace, span_id=span_id)
        if trace.parent_id:  # its client knows better
            return trace
        mine = self.trace
        return Trace(mine.trace_id, trace.span_id, mine.span_id, mine.sampled)

    def gave(self, event: RequestFinished) -> None:
        """What a request was answered with."""
        self.bytes_by_source[event.source] += event.bytes
        key = (event.source, event.reference)
        known = key in self.fetched or len(self.fetched) < REMEMBERED
        if event.kind == "blob" and event.source in _FETCHED and known:
            self.fetched[key] += event.bytes


class Pulls:
    """The pulls that are going on, at most ``most``; beyond that the oldest is told early."""

    def __init__(self, idle: float = 1.0, most: int = 1024) -> None:
        self._idle = idle
        self._most = most
        self._going: dict[_Key, _Pull] = {}
        self._shares: OrderedDict[str, _Share] = OrderedDict()  # of peers, by digest
        self._over: list[PullFinished] = []

    def started(
        self,
        client: str,
        namespace: str,
        repository: str,
        reference: str,
        now: float,
        trace: Trace | None = None,
        span_id: str = "",
    ) -> Trace | None:
        """A request for a manifest or blob came in; ``finished`` is owed for it.

        ``reference`` is a tag or a digest. The names are those that the
        ``RequestFinished`` of the request will carry. ``trace`` is the
        request's own, ``span_id`` what its pull is called if it begins one;
        the trace that it belongs to is returned.
        """
        key = _Key(client, namespace, repository)
        tag = "" if ":" in reference else reference
        going = self._going.get(key)
        if going is not None and tag and going.ends_before(tag):
            self._end(key)
        pull = self._pull(key, reference, now)
        pull.tag = pull.tag or tag
        pull.open += 1
        return None if trace is None else pull.traced(trace, span_id)

    def finished(self, event: RequestFinished, now: float) -> None:
        """The request ended; kinds that are no part of a pull are ignored."""
        if event.kind not in KINDS:
            return
        key = _Key(event.client, event.namespace, event.repository)
        pull = self._pull(key, event.reference, now)
        pull.ended = now
        pull.open = max(0, pull.open - 1)
        pull.agent = pull.agent or event.agent
        pull.requests += 1
        pull.failed += event.status >= 400 or event.outcome in ("aborted", "stalled")
        if event.bytes:
            pull.gave(event)
        if event.kind == "blob":
            pull.blobs = True
        elif ":" in event.reference:
            pull.digest = pull.digest or event.reference

    def resolved(self, namespace: str, repository: str, tag: str, digest: str) -> None:
        """A tag was found to mean ``digest``: the pulls of that tag are told by it."""
        for key, pull in self._going.items():
            if (key.namespace, key.repository, pull.tag) == (namespace, repository, tag):
                pull.digest = digest

    def fetched(self, event: FillFinished) -> None:
        """A fetch is over: what peers brought of it is theirs in the pulls that waited for it."""
        if event.from_peers > 0 and event.fetched > 0:
            self._shares[event.digest] = _Share(
                min(1.0, event.from_peers / event.fetched), event.senders
            )
            self._shares.move_to_end(event.digest)
            if len(self._shares) > REMEMBERED:
                self._shares.popitem(last=False)
        else:
            self._shares.pop(event.digest, None)

    def due(self, now: float) -> list[PullFinished]:
        """The pulls that are over at ``now``; each is given once."""
        over = [
            key
            for key, pull in self._going.items()
            if pull.open == 0 and now >= pull.ended + self._idle
        ]
        for key in over:
            self._end(key)
        told, self._over = self._over, []
        return told

    def next_due(self) -> float | None:
        """When ``due`` will next have something, if no request comes; None for never.

        A time in the past means now.
        """
        if self._over:
            return 0.0
        ends = [pull.ended + self._idle for pull in self._going.values() if pull.open == 0]
        return min(ends, default=None)

    def stop(self) -> list[PullFinished]:
        """All pulls, those with open requests as well: the node stops."""
        for key in list(self._going):
            self._end(key)
        told, self._over = self._over, []
        return told

    def _pull(self, key: _Key, reference: str, now: float) -> _Pull:
        pull = self._going.get(key)
        if pull is None:
            pull = self._going[key] = _Pull(began=now, ended=now, reference=reference)
            if len(self._going) > self._most:
                self._end(next(iter(self._going)))
        return pull

    def _end(self, key: _Key) -> None:
        pull = self._going.pop(key)
        if not pull.requests:
            return
        (split, senders), trace = self._split(pull), pull.trace or NO_TRACE
        event = PullFinished(
            client=key.client,
            agent=pull.agent,
            runtime=runtime_of(pull.agent),
            namespace=key.namespace,
            repository=key.repository,
            reference=pull.tag or pull.digest or pull.reference,
            digest=pull.digest,
            requests=pull.requests,
            bytes=split.total(),
            seconds=pull.ended - pull.began,
            bytes_by_source=dict(split),
            source=_most(split),
            senders=dict(senders.most_common(NAMED)),
            failed=pull.failed,
            trace_id=trace.trace_id,
            span_id=trace.recorded_id,
            parent_id=trace.parent_id,
        )
        self._over.append(event)

    def _split(self, pull: _Pull) -> tuple[Counter[str], Counter[str]]:
        """Bytes by source, those of peers apart; and these by peer."""
        split, senders = pull.bytes_by_source.copy(), Counter[str]()
        for (source, digest), count in pull.fetched.items():
            share = self._shares.get(digest, _NOTHING)
            theirs = int(count * share.part)
            split[source] -= theirs
            split[PEER] += theirs
            whole = sum(share.senders.values())
            for peer, size in share.senders.items():
                senders[peer] += theirs * size // whole
        return +split, +senders


def _most(split: Counter[str]) -> str:
    """The source of most bytes; of error pages nothing was pulled."""
    given = [(source, count) for source, count in split.items() if source != "none"]
    return max(given, key=lambda each: each[1])[0] if given else "none"
