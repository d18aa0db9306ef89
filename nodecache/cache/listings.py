"""``tags/list`` and ``referrers``: upstream's own words, for a short time, or stale."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import attrs

from nodecache.cache.gate import Gate, Subject
from nodecache.cache.lenient import if_possible
from nodecache.cache.links import next_link, tags_link
from nodecache.cache.ports import FetchedListing, ListingShelf, Upstream
from nodecache.cache.tools import Tools
from nodecache.deadline import Deadline
from nodecache.events import ServedStale, Source
from nodecache.failures import OfflineMiss, UpstreamFailure, UpstreamKind
from nodecache.reference import Digest, Repository
from nodecache.results import ListingResult
from nodecache.singleflight import SingleFlight, within
from nodecache.store import StoredListing


@attrs.frozen
class _Page:
    """A page of a listing; what it is kept under names all that chooses it."""

    subject: Subject
    ask: Callable[[Upstream], Awaitable[FetchedListing]]
    link: Callable[[FetchedListing], str | None]

    @property
    def key(self) -> tuple[Repository, str]:
        return self.subject.repository, f"{self.subject.kind} {self.subject.reference}"


class Listings:
    def __init__(self, tools: Tools, gate: Gate) -> None:
        self._shelf: ListingShelf = tools.shelves
        self._gate = gate
        self._clock = tools.clock
        self._wall = tools.wall
        self._observe = tools.observe
        self._life = tools.timeouts.listing_ttl
        self._questions: SingleFlight[tuple[Repository, str], StoredListing] = SingleFlight()

    async def tags(
        self, repository: Repository, n: int | None, last: str | None, deadline: Deadline
    ) -> ListingResult:
        """Raises UpstreamFailure, OfflineMiss."""
        chosen = {"n": n, "last": last}
        query = urlencode({key: value for key, value in chosen.items() if value is not None})
        page = _Page(
            Subject("tags", repository, query),
            lambda upstream: upstream.tags(repository.name, n, last),
            lambda fetched: tags_link(fetched.link, repository, n, fetched.body),
        )
        return await self._page(page, deadline)

    async def referrers(
        self,
        repository: Repository,
        digest: Digest,
        artifact_type: str | None,
        deadline: Deadline,
    ) -> ListingResult:
        """Raises UpstreamFailure, OfflineMiss."""
        query = "" if artifact_type is None else f"?{urlencode({'artifactType': artifact_type})}"
        page = _Page(
            Subject("referrers", repository, f"{digest}{query}"),
            lambda upstream: upstream.referrers(repository.name, digest, artifact_type),
            _no_pages,
        )
        return await self._page(page, deadline)

    async def _page(self, page: _Page, deadline: Deadline) -> ListingResult:
        stored = await self._stored(page)
        if stored is not None and 0 <= self._wall() - stored.fetched_at < self._life:
            return _result(stored, Source.DISK)
        joined = page.key in self._questions
        try:
            waiter = self._questions.run(page.key, lambda: self._fetch(page))
            fetched = await within(waiter, self._clock, deadline)
        except (UpstreamFailure, OfflineMiss) as failure:
            if stored is None or _is_an_answer(failure):
                raise
            return self._stale(page, stored, str(failure))
        return _result(fetched, Source.FLIGHT if joined else Source.FILL)

    async def _fetch(self, page: _Page) -> StoredListing:
        fetched_at = self._wall()
        fetched = await self._gate.ask(page.subject, page.ask)
        listing = StoredListing(
            body=fetched.body,
            media_type=fetched.media_type,
            link=page.link(fetched),
            fetched_at=fetched_at,
            filters=fetched.filters,
        )
        writing = self._shelf.write_listing(*page.key, listing)
        await if_possible(self._observe, "write a listing", writing)
        return listing

    async def _stored(self, page: _Page) -> StoredListing | None:
        reading = self._shelf.read_listing(*page.key)
        return await if_possible(self._observe, "read a listing", reading)

    def _stale(self, page: _Page, stored: StoredListing, reason: str) -> ListingResult:
        repository = page.subject.repository
        self._observe(
            ServedStale(
                namespace=repository.namespace,
                repository=repository.name,
                reference=page.key[1],
                age_seconds=max(0.0, self._wall() - stored.fetched_at),
                reason=reason,
            )
        )
        return _result(stored, Source.STALE, reason)

    def stop(self) -> None:
        self._questions.stop()


def _is_an_answer(failure: Exception) -> bool:
    """A 404 is upstream's word (of ``referrers``: use the tags instead), not a failure of it."""
    return isinstance(failure, UpstreamFailure) and failure.kind is UpstreamKind.NOT_FOUND


def _no_pages(fetched: FetchedListing) -> None:
    """Part of a list of referrers would hide signatures: better that the client asks elsewhere."""
    if next_link(fetched.link or "") is not None:
        message = "upstream lists referrers in pages, which this mirror does not follow"
        raise UpstreamFailure(UpstreamKind.ERROR, message)


def _result(listing: StoredListing, source: Source, warning: str | None = None) -> ListingResult:
    return ListingResult(
        body=listing.body,
        media_type=listing.media_type,
        link=listing.link,
        source=source,
        warning=warning,
        filters=listing.filters,
    )
