"""An image is fetched by waiting until each of its blobs is whole, and kept."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.archives import BadArchive
from nodecache.events import Source
from nodecache.failures import Failure, FlightFailed, NoRoom, UpstreamFailure, UpstreamKind
from nodecache.limits import Limits, Timeouts
from nodecache.reference import Digest, Reference, Repository, Tag
from nodecache.results import BlobResult, ManifestResult
from nodecache.warming import Asked, Plan, Ports, Warming
from tests.archive_kit import Made, indexed, made

ALPINE = Repository("docker.io", "library/alpine")
IMAGE = made([b"one"])


@attrs.define
class FakeReader:
    """``total`` bytes, of which ``present`` are here."""

    total: int | None
    present: int = 0
    fd: int = -1
    closed: int = 0
    waiting: list[Deferred[None]] = attrs.Factory(list)

    def available(self, offset: int, *, held_back: bool) -> int:
        return self.present - offset

    def wait(self, offset: int, *, held_back: bool) -> Deferred[None]:
        if self.present > offset:
            return succeed(None)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def punched(self, offset: int) -> None: ...

    def close(self) -> None:
        self.closed += 1

    def come(self, present: int) -> None:
        self.present = present
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)

    def fail(self, cause: Failure) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.errback(FlightFailed(cause))


class FakeFlight:
    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    async def over(self) -> None:
        await self.ended


class FakeNode:
    """Cache, flights and shelf in one."""

    def __init__(self, image: Made) -> None:
        self.documents = {
            digest: body
            for digest, body in image.blobs.items()
            if body.startswith(b'{"schemaVersion"')
        }
        self.top = image
        self.readers: dict[Digest, list[FakeReader]] = {}
        self.flights: dict[Digest, FakeFlight] = {}
        self.stored: set[Digest] = set()
        self.failures: list[Failure] = []
        self.asked = 0

    async def manifest(
        self, repository: Repository, reference: Reference, *, head: bool
    ) -> ManifestResult:
        digest = str(reference) if isinstance(reference, Digest) else self.top.digest
        body = self.documents[digest]
        kind = json.loads(body)["mediaType"]
        return ManifestResult(Digest.parse(digest), kind, len(body), body, Source.DISK)

    async def blob(self, repository: Repository, digest: Digest, *, whole: bool) -> BlobResult:
        assert not whole, "it could be passed through"
        self.asked += 1
        if self.failures:
            raise self.failures.pop()
        reader = FakeReader(len(self.top.blobs[str(digest)]))
        self.readers.setdefault(digest, []).append(reader)
        self.flights[digest] = FakeFlight()
        return BlobResult(reader, Source.FILL)

    def get(self, digest: Digest) -> FakeFlight | None:
        return self.flights.get(digest)

    def blob_size(self, digest: Digest) -> int | None:
        return len(self.top.blobs[str(digest)]) if digest in self.stored else None

    def keep(self, digest: Digest) -> None:
        """The fill has ended well."""
        self.stored.add(digest)
        self.flights.pop(digest).ended.callback(None)


class WarmingTests(SynchronousTestCase):
    def warming(self, image: Made = IMAGE, **limits: int) -> Warming:
        self.clock = Clock()
        self.node: Any = FakeNode(image)
        ports = Ports(self.node, self.node, self.node, self.clock)
        return Warming(ports, Limits(**limits), Timeouts())

    def plan(self, warming: Warming, **more: Any) -> Plan:
        asked = Asked(ALPINE, Tag("3"), **{"platforms": ("linux/amd64",), **more})
        return self.successResultOf(Deferred.fromCoroutine(warming.plan(asked)))

    def fetch(self, warming: Warming, plan: Plan) -> Deferred[int]:
        self.told: list[tuple[Digest, int, int]] = []
        return Deferred.fromCoroutine(
            warming.fetch(plan, lambda *progress: self.told.append(progress))
        )

    def reader(self, digest: Digest) -> FakeReader:
        found: FakeReader = self.node.readers[digest][-1]
        return found

    def test_it_is_over_when_all_blobs_are_in_the_store(self) -> None:
        warming = self.warming()
        plan = self.plan(warming)
        fetching = self.fetch(warming, plan)
        for digest, size in plan.blobs.items():
            self.assertNoResult(fetching)
            self.reader(digest).come(1)
            self.reader(digest).come(size)
            self.assertEqual(self.told[-2:], [(digest, 1, size), (digest, size, size)])
            self.assertNoResult(fetching)
            self.node.keep(digest)
            self.assertEqual(self.reader(digest).closed, 1)
        self.assertEqual(self.successResultOf(fetching), sum(plan.blobs.values()))

    def test_what_is_here_is_not_asked_for(self) -> None:
        warming = self.warming()
        plan = self.plan(warming)
        self.node.stored.update(plan.blobs)
        self.assertEqual(self.successResultOf(self.fetch(warming, plan)), 0)
        self.assertEqual(self.node.asked, 0)

    def test_no_more_blobs_at_a_time_than_the_limit(self) -> None:
        warming = self.warming(warm_blobs=1)
        plan = self.plan(warming)
        fetching = self.fetch(warming, plan)
        self.assertEqual(self.node.asked, 1)
        for digest, size in plan.blobs.items():
            self.reader(digest).come(size)
            self.node.keep(digest)
        self.successResultOf(fetching)

    def test_what_fails_for_a_moment_is_asked_for_again_later_and_later(self) -> None:
        warming = self.warming(warm_blobs=1)
        plan = self.plan(warming)
        self.node.failures = [UpstreamFailure(UpstreamKind.CUT, "cut")] * 3
        fetching = self.fetch(warming, plan)
        for asked, pause in ((1, 1), (2, 2), (3, 4)):
            self.assertEqual(self.node.asked, asked)
            self.clock.advance(pause)
        self.assertEqual(self.node.asked, 4)
        self.assertNoResult(fetching)
        self.node.failures = [UpstreamFailure(UpstreamKind.CUT, "cut")] * 4
        self.reader(next(iter(plan.blobs))).fail(UpstreamFailure(UpstreamKind.CUT, "the end"))
        self.assertEqual(str(self.failureResultOf(fetching).value), "the end")

    def test_what_is_not_there_is_asked_for_once(self) -> None:
        warming = self.warming(warm_blobs=1)
        plan = self.plan(warming)
        self.node.failures = [UpstreamFailure(UpstreamKind.NOT_FOUND, "no such blob")]
        failure = self.failureResultOf(self.fetch(warming, plan), UpstreamFailure)
        self.assertEqual((str(failure.value), self.node.asked), ("no such blob", 1))

    def test_a_blob_that_will_not_be_kept_is_not_fetched_to_its_end(self) -> None:
        """The room ended in the middle: bytes flow on for clients, and go past the disk."""
        warming = self.warming(warm_blobs=1)
        plan = self.plan(warming)
        fetching = self.fetch(warming, plan)
        digest = next(iter(plan.blobs))
        self.reader(digest).come(1)
        del self.node.flights[digest]
        self.reader(digest).come(2)
        self.failureResultOf(fetching, NoRoom)
        self.assertEqual(self.reader(digest).closed, 1)

    def test_a_blob_that_is_gone_at_the_end_was_not_kept(self) -> None:
        warming = self.warming(warm_blobs=1)
        plan = self.plan(warming)
        fetching = self.fetch(warming, plan)
        digest, size = next(iter(plan.blobs.items()))
        self.reader(digest).come(size)
        self.node.flights.pop(digest).ended.callback(None)
        self.failureResultOf(fetching, NoRoom)

    def test_whoever_leaves_closes_all_and_begins_nothing_more(self) -> None:
        warming = self.warming(warm_blobs=1)
        plan = self.plan(warming)
        fetching = self.fetch(warming, plan)
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)
        self.assertEqual(self.reader(next(iter(plan.blobs))).closed, 1)
        self.assertEqual(self.node.asked, 1)

    def test_an_index_brings_what_is_wanted_of_it(self) -> None:
        arm = made([b"arm"], arch="arm64")
        index = indexed({"linux/amd64": IMAGE, "linux/arm64": arm})
        warming = self.warming(index)
        plan = self.plan(warming)
        self.assertEqual(
            [str(each.digest) for each in plan.documents], [IMAGE.digest, index.digest]
        )
        plan = self.plan(warming, every=True)
        self.assertEqual(len(plan.images), 2)
        self.assertEqual(plan.bytes, sum(map(len, index.blobs.values())))

    def test_indexes_that_lead_to_indexes_end(self) -> None:
        image = IMAGE
        for _ in range(7):
            image = indexed({"linux/amd64": image})
        warming = self.warming(image)
        asked = Asked(ALPINE, Tag("3"), ("linux/amd64",))
        failing = Deferred.fromCoroutine(warming.plan(asked))
        self.failureResultOf(failing, UpstreamFailure)

    def test_a_manifest_that_can_not_be_understood_says_so(self) -> None:
        warming = self.warming()
        self.node.documents[IMAGE.digest] = b'{"mediaType": "text/plain"}'
        asked = Asked(ALPINE, Tag("3"), ("linux/amd64",))
        failing = Deferred.fromCoroutine(warming.plan(asked))
        self.failureResultOf(failing, BadArchive)
