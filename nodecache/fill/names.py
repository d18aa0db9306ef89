"""The names under which a blob was asked, as sources to be tried in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twisted.internet.interfaces import IReactorTime

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.failures import PeerFailure, UpstreamFailure, UpstreamKind
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobBody, BlobSource, BlobSourceFactory


class Sources:
    """A ``BlobSource`` made of one for each name; ``names`` may grow meanwhile.

    A name that says 401, 403 or 404 is out for this fill, and the next is
    asked. Any other failure says something about the upstream, so that its
    other names are not worth a try, and those of another upstream are.
    """

    def __init__(
        self,
        names: Sequence[Repository],
        digest: Digest,
        factory: BlobSourceFactory,
        clock: IReactorTime,
    ) -> None:
        self._names = names
        self._digest = digest
        self._factory = factory
        self._clock = clock
        self._sources: dict[Repository, BlobSource] = {}
        self._refused: set[Repository] = set()
        self._refusal = UpstreamFailure(UpstreamKind.NOT_FOUND, "no name to ask for it by")
        #: The name that answered last.
        self.current = names[0]

    async def fetch(self, span: Span | None, deadline: Deadline) -> BlobBody:
        """As ``BlobSource.fetch``. What it raises is an absence only if every name is refused.

        After a PeerFailure it may be called again at once.
        """
        failing: dict[str, UpstreamFailure] = {}
        while (name := self._next(failing)) is not None:
            try:
                body = await self._source(name).fetch(span, self._share(deadline, failing))
            except PeerFailure:
                # Says nothing of the name: the same source knows whom to ask next.
                raise
            except UpstreamFailure as failure:
                if failure.is_absence:
                    self._refused.add(name)
                    self._refusal = failure
                else:
                    failing[name.namespace] = failure
            else:
                self.current = name
                return body
        raise next(iter(failing.values()), self._refusal)

    async def fetch_beside(self, peer: str, span: Span, deadline: Deadline) -> BlobBody | None:
        """As ``BlobSource.fetch_beside``."""
        return await self._source(self.current).fetch_beside(peer, span, deadline)

    def _next(self, failing: dict[str, UpstreamFailure]) -> Repository | None:
        return next(self._candidates(failing), None)

    def _candidates(self, failing: dict[str, UpstreamFailure]) -> Iterator[Repository]:
        for name in (self.current, *self._names):
            if name not in self._refused and name.namespace not in failing:
                yield name

    def _share(self, deadline: Deadline, failing: dict[str, UpstreamFailure]) -> Deadline:
        """Time for one upstream, so that there is some left for the others."""
        upstreams = {name.namespace for name in self._candidates(failing)}
        return deadline.share(self._clock.seconds(), len(upstreams))

    def _source(self, name: Repository) -> BlobSource:
        if name not in self._sources:
            self._sources[name] = self._factory(name, self._digest)
        return self._sources[name]
