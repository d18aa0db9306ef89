"""Requests of one client for one image, put together into a pull.

The protocol knows no pulls, only requests, so that this is a guess: requests
of one client for one repository belong together as long as one of them is
open or the last one ended less than ``idle`` seconds ago. A tag that is asked
when none is open begins another pull, if it is another tag or blobs were
already asked: runtimes ask the tag first and the blobs last.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from collections import Counter

import attrs

from nodecache.events import PullFinished, RequestFinished

#: Kinds of requests that a pull is made of.
KINDS = frozenset({"manifest", "blob"})


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
    bytes_by_source: Counter[str] = attrs.field(factory=Counter)

    def ends_before(self, tag: str) -> bool:
        """Whether a request for ``tag`` now is the begin of another pull."""
        return self.open == 0 and (self.blobs or self.tag not in ("", tag))


class Pulls:
    """The pulls that are going on, at most ``most``; beyond that the oldest is told early."""

    def __init__(self, idle: float = 1.0, most: int = 1024) -> None:
        self._idle = idle
        self._most = most
        self._going: dict[_Key, _Pull] = {}
        self._over: list[PullFinished] = []

    def started(
        self, client: str, namespace: str, repository: str, reference: str, now: float
    ) -> None:
        """A request for a manifest or blob came in; ``finished`` is owed for it.

        ``reference`` is a tag or a digest. The names are those that the
        ``RequestFinished`` of the request will carry.
        """
        key = _Key(client, namespace, repository)
        tag = "" if ":" in reference else reference
        going = self._going.get(key)
        if going is not None and tag and going.ends_before(tag):
            self._end(key)
        pull = self._pull(key, reference, now)
        pull.tag = pull.tag or tag
        pull.open += 1

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
            pull.bytes_by_source[event.source] += event.bytes
        if event.kind == "blob":
            pull.blobs = True
        elif ":" in event.reference:
            pull.digest = pull.digest or event.reference

    def resolved(self, namespace: str, repository: str, tag: str, digest: str) -> None:
        """A tag was found to mean ``digest``: the pulls of that tag are told by it."""
        for key, pull in self._going.items():
            if (key.namespace, key.repository, pull.tag) == (namespace, repository, tag):
                pull.digest = digest

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
        event = PullFinished(
            client=key.client,
            agent=pull.agent,
            namespace=key.namespace,
            repository=key.repository,
            reference=pull.tag or pull.digest or pull.reference,
            digest=pull.digest,
            requests=pull.requests,
            bytes=pull.bytes_by_source.total(),
            seconds=pull.ended - pull.began,
            bytes_by_source=dict(pull.bytes_by_source),
            failed=pull.failed,
        )
        self._over.append(event)
