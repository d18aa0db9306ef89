"""What stands around the cache: a store in memory, fills that do as they are told, an upstream.

Each of them records what was asked of it, can be told to fail, and can be told
to hold its answer back until the test lets it go.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.byteranges import Span
from nodecache.cache import Cache, Platform, Policy
from nodecache.deadline import Deadline
from nodecache.events import Event
from nodecache.failures import Failure, NoRoom, StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.freshness import TagEntry
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.rules import NameRules
from nodecache.seams import BlobSource
from nodecache.store import StoredListing, StoredManifest

T = TypeVar("T")
E = TypeVar("E", bound=Event)

EPOCH = 1_800_000_000.0
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ALPINE = Repository("docker.io", "library/alpine")
BUSYBOX = Repository("docker.io", "library/busybox")
QUAY = Repository("quay.io", "library/alpine")
LATEST = Tag("latest")


def digest_of(body: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(body).hexdigest())


@attrs.frozen
class Manifest:
    """A manifest as an upstream has it."""

    body: bytes
    media_type: str = IMAGE

    @property
    def digest(self) -> Digest:
        return digest_of(self.body)

    @property
    def stored(self) -> StoredManifest:
        return StoredManifest(self.digest, self.media_type, self.body)


def image(name: str, *blobs: bytes, media_type: str = IMAGE) -> Manifest:
    """An image whose config is ``name`` and whose layers are ``blobs``."""
    descriptors = [
        {"digest": str(digest_of(blob)), "size": len(blob)} for blob in (name.encode(), *blobs)
    ]
    body = {"mediaType": media_type, "config": descriptors[0], "layers": descriptors[1:]}
    return Manifest(json.dumps(body).encode(), media_type)


def index(*children: tuple[Manifest, str], media_type: str = INDEX) -> Manifest:
    """An index of images with their architectures."""
    descriptors = [
        {
            "digest": str(child.digest),
            "size": len(child.body),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for child, architecture in children
    ]
    return Manifest(
        json.dumps({"mediaType": media_type, "manifests": descriptors}).encode(), media_type
    )


class Held:
    """Answers that wait for the test. ``release`` lets go of all that wait."""

    def __init__(self) -> None:
        self.holding = False
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def pause(self) -> Deferred[None]:
        if not self.holding:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def release(self) -> None:
        self.holding = False
        while self._waiting:
            self._waiting.pop(0).callback(None)


class FakeReadable:
    """A blob open for reading; ``closes`` counts. Of one that is ``arriving`` nothing is there."""

    def __init__(self, total: int | None, *, arriving: bool = False) -> None:
        self.total = total
        self.fd = -1
        self.closes = 0
        self.arriving = arriving

    def available(self, offset: int, *, held_back: bool) -> int:
        return 0 if self.arriving else max(0, (self.total or 0) - offset)

    def wait(self, offset: int, *, held_back: bool) -> Deferred[None]:
        return Deferred() if self.arriving else succeed(None)

    def punched(self, offset: int) -> None:
        pass

    def close(self) -> None:
        self.closes += 1


class FakeStore:
    """``broken`` maps the name of a method to what it raises."""

    def __init__(self) -> None:
        self.tag_entries: dict[tuple[Repository, Tag], TagEntry] = {}
        self.manifests: dict[Digest, StoredManifest] = {}
        self.damaged: set[Digest] = set()
        self.blobs: dict[Digest, bytes] = {}
        self.listings: dict[tuple[Repository, str], StoredListing] = {}
        self.broken: dict[str, Exception] = {}
        self.held: defaultdict[str, Held] = defaultdict(Held)
        self.opened: list[FakeReadable] = []
        self.touched: list[Digest] = []
        self.calls: list[str] = []

    async def _begin(self, method: str) -> None:
        self.calls.append(method)
        await self.held[method].pause()
        if method in self.broken:
            raise self.broken[method]

    async def read_tag(self, repository: Repository, tag: Tag) -> TagEntry | None:
        await self._begin("read_tag")
        return self.tag_entries.get((repository, tag))

    def known_tag(self, repository: Repository, tag: Tag) -> TagEntry | None:
        self.calls.append("known_tag")
        return self.tag_entries.get((repository, tag))

    async def write_tag(self, repository: Repository, tag: Tag, entry: TagEntry) -> None:
        await self._begin("write_tag")
        assert TagEntry.from_json(entry.to_json()) == entry, "an entry that could not be read"
        assert Digest.parse(entry.digest) in self.manifests, "a tag without its manifest"
        self.tag_entries[repository, tag] = entry

    def has_manifest(self, digest: Digest) -> bool:
        return digest in self.manifests

    def touch_manifest(self, digest: Digest) -> None:
        self.touched.append(digest)

    async def read_manifest(self, digest: Digest) -> StoredManifest | None:
        await self._begin("read_manifest")
        if digest in self.damaged:
            self.damaged.remove(digest)
            del self.manifests[digest]
        return self.manifests.get(digest)

    async def write_manifest(self, manifest: StoredManifest) -> None:
        await self._begin("write_manifest")
        self.manifests[manifest.digest] = manifest

    def blob_size(self, digest: Digest) -> int | None:
        return len(self.blobs[digest]) if digest in self.blobs else None

    async def open_blob(self, digest: Digest) -> FakeReadable | None:
        await self._begin("open_blob")
        if digest in self.damaged:
            self.damaged.remove(digest)
            del self.blobs[digest]
        if digest not in self.blobs:
            return None
        self.opened.append(FakeReadable(len(self.blobs[digest])))
        return self.opened[-1]

    async def read_listing(self, repository: Repository, key: str) -> StoredListing | None:
        await self._begin("read_listing")
        return self.listings.get((repository, key))

    async def write_listing(self, repository: Repository, key: str, listing: StoredListing) -> None:
        await self._begin("write_listing")
        self.listings[repository, key] = listing

    def fill_with(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            self.manifests[manifest.digest] = manifest.stored


class FakeFlight:
    """Opened at once unless its fills hold; ``failure`` is what it could not be begun for."""

    def __init__(self, fills: FakeFills, digest: Digest) -> None:
        self.digest = digest
        self.total = fills.total
        self.failure: Failure | None = None
        self.readers: list[FakeReadable] = []
        self._fills = fills

    def reader(self) -> FakeReadable:
        self.readers.append(FakeReadable(self.total, arriving=self._fills.arriving))
        return self.readers[-1]

    async def opened(self) -> None:
        await self._fills.opening.pause()
        if self.failure is not None:
            del self._fills.flights[self.digest]
            raise self.failure


class FakeFills:
    """``refusal`` is what ``start`` raises, ``failure`` what ``opened`` of new flights does.

    ``total`` is the size of new flights, as far as known.
    """

    def __init__(self) -> None:
        self.flights: dict[Digest, FakeFlight] = {}
        self.starts: list[tuple[Repository, Digest, int | None]] = []
        self.total: int | None = None
        self.refusal: Failure | None = None
        self.failure: Failure | None = None
        self.arriving = False
        self.starting = Held()
        self.opening = Held()

    def get(self, digest: Digest) -> FakeFlight | None:
        return self.flights.get(digest)

    async def start(
        self, repository: Repository, digest: Digest, size_hint: int | None
    ) -> FakeFlight:
        self.starts.append((repository, digest, size_hint))
        await self.starting.pause()
        if self.refusal is not None:
            raise self.refusal
        flight = self.flights.setdefault(digest, FakeFlight(self, digest))
        flight.failure = self.failure
        return flight


class FakeBody:
    """A body that is only looked at from outside."""

    start = 0
    ranged = False
    peer = None

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.stop_at = total
        self.stopped = False

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        return succeed(None)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True


@attrs.frozen
class Found:
    digest: Digest | None
    media_type: str
    size: int | None


@attrs.frozen
class Fetched:
    digest: Digest
    media_type: str
    body: bytes


@attrs.frozen
class FetchedPage:
    body: bytes
    media_type: str = "application/json"
    link: str | None = None
    filters: str | None = None


@attrs.define
class FakeUpstream:
    """An upstream that has ``manifests`` by tag and by digest, and the sizes of ``blobs``.

    ``failures`` maps a method (HEAD, GET, BLOB, LIST) to what it raises now.
    """

    manifests: dict[tuple[str, Reference], Manifest] = attrs.field(factory=dict)
    blobs: dict[Digest, int | None] = attrs.field(factory=dict)
    pages: dict[tuple[object, ...], FetchedPage] = attrs.field(factory=dict)
    failures: dict[str, Failure] = attrs.field(factory=dict)
    remembered: UpstreamFailure | None = None
    held: defaultdict[str, Held] = attrs.field(factory=lambda: defaultdict(Held))
    asked: list[str] = attrs.field(factory=list)
    says_digest: bool = True
    says_size: bool = True
    says_type: bool = True
    bodies: list[FakeBody] = attrs.field(factory=list)

    def has(self, repository: Repository, tag: Tag | None, *manifests: Manifest) -> None:
        """``tag`` now means the first of ``manifests``; all of them can be had by digest."""
        for manifest in manifests:
            self.manifests[repository.name, manifest.digest] = manifest
        if tag is not None:
            self.manifests[repository.name, tag] = manifests[0]

    def down(self) -> UpstreamFailure | None:
        return self.remembered

    async def _begin(self, method: str, what: str) -> None:
        self.asked.append(f"{method} {what}")
        await self.held[method].pause()
        if method in self.failures:
            raise self.failures[method]

    def _find(self, name: str, reference: Reference) -> Manifest:
        if (name, reference) not in self.manifests:
            raise UpstreamFailure(UpstreamKind.NOT_FOUND, "upstream says 404", status=404)
        return self.manifests[name, reference]

    async def head_manifest(self, name: str, reference: Reference) -> Found:
        await self._begin("HEAD", _short(name, reference))
        found = self._find(name, reference)
        return Found(
            found.digest if self.says_digest else None,
            found.media_type if self.says_type else "",
            len(found.body) if self.says_size else None,
        )

    async def get_manifest(self, name: str, reference: Reference) -> Fetched:
        await self._begin("GET", _short(name, reference))
        found = self._find(name, reference)
        return Fetched(found.digest, found.media_type, found.body)

    async def head_blob(self, name: str, digest: Digest) -> int:
        await self._begin("SIZE", _short(name, digest))
        if digest not in self.blobs:
            raise UpstreamFailure(UpstreamKind.NOT_FOUND, "upstream says 404", status=404)
        return self.blobs[digest] or 0

    def blob_source(self, name: str, digest: Digest) -> BlobSource:
        return FakeSource(self, name, digest)

    async def tags(self, name: str, n: int | None, last: str | None) -> FetchedPage:
        await self._begin("LIST", f"{name} {n} {last}")
        return self._page(name, n, last)

    async def referrers(self, name: str, digest: Digest, artifact_type: str | None) -> FetchedPage:
        await self._begin("LIST", f"{_short(name, digest)} {artifact_type}")
        return self._page(name, digest, artifact_type)

    def _page(self, *key: object) -> FetchedPage:
        if key not in self.pages:
            raise UpstreamFailure(UpstreamKind.NOT_FOUND, "upstream says 404", status=404)
        return self.pages[key]


@attrs.frozen
class FakeSource(BlobSource):
    upstream: FakeUpstream
    name: str
    digest: Digest

    async def fetch(self, span: Span | None, deadline: Deadline) -> FakeBody:
        await self.upstream._begin("BLOB", _short(self.name, self.digest))
        if self.digest not in self.upstream.blobs:
            raise UpstreamFailure(UpstreamKind.NOT_FOUND, "upstream says 404", status=404)
        self.upstream.bodies.append(FakeBody(self.upstream.blobs[self.digest]))
        return self.upstream.bodies[-1]


def _short(name: str, reference: Reference) -> str:
    """The name's last part and the tag, or the digest's first digits."""
    short = name.rpartition("/")[2]
    if isinstance(reference, Digest):
        return f"{short}@{reference.hex[:6]}"
    return f"{short}:{reference}"


def open_policy(tag_ttl: float) -> Policy:
    """Two upstreams without rules, on a machine of the usual kind."""
    return Policy(
        rules={"docker.io": NameRules(), "quay.io": NameRules()},
        tag_ttl=tag_ttl,
        offline=False,
        platform=Platform("linux", "amd64"),
    )


class CacheTestCase(SynchronousTestCase):
    """A cache in front of Docker Hub and Quay, on a node of amd64."""

    tag_ttl = 60.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.store = FakeStore()
        self.fills = FakeFills()
        self.hub = FakeUpstream()
        self.quay = FakeUpstream()
        self.events: list[Event] = []
        self.timeouts = Timeouts()
        self.limits = Limits()
        self.cache = self.make_cache()

    def make_cache(self) -> Cache:
        """A new one, as after a restart: what it knows is on disk."""
        return Cache(
            self.store,
            self.fills,
            self,
            open_policy(self.tag_ttl),
            clock=self.clock,
            wall=self.wall,
            observe=self.events.append,
            limits=self.limits,
            timeouts=self.timeouts,
        )

    def get(self, namespace: str) -> FakeUpstream:
        """The cache's ``Upstreams``."""
        return {"docker.io": self.hub, "quay.io": self.quay}[namespace]

    def wall(self) -> float:
        return EPOCH + self.clock.seconds()

    def go_offline(self) -> None:
        self.cache.policy = attrs.evolve(self.cache.policy, offline=True)

    def start(self, work: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(work)

    def now(self, work: Any) -> Any:
        """The result of work that must be done at once."""
        return self.successResultOf(self.start(work))

    def refused(self, work: Any, kind: type[T]) -> T:
        """The failure of work that must fail at once."""
        error = self.failureResultOf(self.start(work)).value
        assert isinstance(error, kind), error
        return error

    def manifest(
        self,
        reference: Reference = LATEST,
        *,
        head: bool = False,
        repository: Repository = ALPINE,
    ) -> Any:
        return self.cache.manifest(repository, reference, head=head)

    def told(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def asked(self) -> list[str]:
        """What was asked of Docker Hub since the last time."""
        asked, self.hub.asked = self.hub.asked, []
        return asked

    def entry(self, tag: Tag = LATEST, repository: Repository = ALPINE) -> TagEntry | None:
        return self.store.tag_entries.get((repository, tag))


def upstream_failures() -> list[tuple[str, UpstreamFailure]]:
    """Every way in which an upstream fails, by a name for it."""
    kind = UpstreamKind
    return [
        ("404", UpstreamFailure(kind.NOT_FOUND, "upstream says 404", status=404)),
        ("401", UpstreamFailure(kind.DENIED, "upstream says 401", status=401)),
        ("403", UpstreamFailure(kind.DENIED, "upstream says 403", status=403)),
        ("429", UpstreamFailure(kind.LIMITED, "upstream says 429", status=429)),
        ("500", UpstreamFailure(kind.ERROR, "upstream says 500", status=500)),
        ("503", UpstreamFailure(kind.ERROR, "upstream says 503", status=503)),
        ("timeout", UpstreamFailure(kind.TIMEOUT, "upstream is silent")),
        ("unreachable", UpstreamFailure(kind.UNREACHABLE, "connection refused")),
        ("cut", UpstreamFailure(kind.CUT, "the body ended early")),
        ("HTML", UpstreamFailure(kind.WRONG, "a page of HTML", status=200)),
        ("down", UpstreamFailure(kind.DOWN, "failed a moment ago")),
    ]


FULL = NoRoom("the disk is full")
BROKEN = StoreFailure("read: Input/output error")
