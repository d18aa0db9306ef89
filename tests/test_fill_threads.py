"""Fills with the real reactor, real threads and the real sizes."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from nodecache.byteranges import Span
from nodecache.deadline import Deadline
from nodecache.diskpool import ThreadDiskPool
from nodecache.events import Event
from nodecache.fill import Fills
from nodecache.limits import GIB, KIB, MIB, SEGMENT, Limits, Timeouts
from nodecache.reference import Digest, Repository
from nodecache.seams import BlobBody, BlobSource, Readable
from nodecache.store import Store
from tests.fakes_source import FakeBody
from tests.flight_case import ALPINE
from tests.store_case import digest_of

clock: Any = reactor
LIMITS = Limits(connections_per_blob=4, ramp_bytes=MIB)
TIMEOUTS = Timeouts(ramp=0.005)


def started(work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    return Deferred.fromCoroutine(work)


class PushedBody(FakeBody):
    """Sends a read in each turn of the reactor, unless paused; is cut after ``cut_after`` bytes."""

    def __init__(self, data: bytes, span: Span, cut_after: int | None) -> None:
        stop = min(span.stop, len(data))
        super().__init__(
            data[span.start : stop], start=span.start, stop_at=stop, total=len(data), ranged=True
        )
        self._cut_after = cut_after
        self._pushing = False

    def deliver(self, sink: Callable[[bytes], None]) -> Deferred[None]:
        done = super().deliver(sink)
        self._push_later()
        return done

    def resume(self) -> None:
        super().resume()
        self._push_later()

    def _push_later(self) -> None:
        if not self._pushing:
            self._pushing = True
            clock.callLater(0, self._push)

    def _push(self) -> None:
        self._pushing = False
        if self.paused or not self.delivering:
            return
        if self._cut_after is not None and self.sent >= self._cut_after:
            self.cut()
            return
        self.send(256 * KIB)
        if not self.left:
            self.finish()
        self._push_later()


@attrs.define
class PushingSource(BlobSource):
    """Every third answer is cut in the middle."""

    data: bytes
    asked: int = 0

    async def fetch(self, span: Span | None, deadline: Deadline) -> BlobBody:
        assert span is not None
        self.asked += 1
        await deferLater(clock, 0, lambda: None)
        return PushedBody(self.data, span, 3 * MIB + 5 if self.asked % 3 == 2 else None)


class Threads(TestCase):
    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        return started(self.set_up())

    async def set_up(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.events: list[Event] = []
        self.data = random.Random(7).randbytes(45 * MIB + 11)
        self.digest = digest_of(self.data)
        self.source = PushingSource(self.data)
        self.pool = ThreadDiskPool(clock, 4)
        self.pool.start()
        self.store = await Store.open(
            self.folder, self.pool, clock, time.time, self.events.append, cap=GIB, floor=0
        )
        self.fills = self.new_fills()
        # Not tearDown: trial calls that behind the cleanups, and the folder would be gone.
        self.addCleanup(lambda: started(self.close()))

    def new_fills(self) -> Fills:
        def factory(_: Repository, __: Digest) -> BlobSource:
            return self.source

        return Fills(self.store, self.pool, factory, clock, self.events.append, LIMITS, TIMEOUTS)

    async def close(self) -> None:
        await self.fills.stop()
        await self.store.close()
        await self.pool.stop()
        self.assertEqual([event for event in self.events if event.name == "unexpected"], [])

    async def read(self, wanted: Span | None) -> bytes:
        flight = await self.fills.start(ALPINE, self.digest, None)
        reader = flight.reader()
        try:
            await flight.opened()
            return await self.body(reader, wanted)
        finally:
            reader.close()

    async def body(self, reader: Readable, wanted: Span | None) -> bytes:
        held_back = wanted is None
        at = start = 0 if wanted is None else wanted.start
        parts = []
        while at < (stop := (reader.total or 0) if wanted is None else wanted.stop):
            count = min(reader.available(at, held_back=held_back), stop - at, 256 * KIB)
            if not count:
                await reader.wait(at, held_back=held_back)
                continue
            parts.append(os.pread(reader.fd, count, at))
            at += count
            await deferLater(clock, 0, lambda: None)
        self.assertEqual(at - start, sum(map(len, parts)))
        return b"".join(parts)

    def test_many_readers_of_a_source_that_breaks(self) -> Deferred[None]:
        async def test() -> None:
            spans = [None, None, None, Span(30 * MIB, 33 * MIB), Span(5, 9)]
            bodies = await DeferredList([started(self.read(span)) for span in spans])
            for span, (good, found) in zip(spans, bodies, strict=True):
                self.assertTrue(good)
                right = self.data if span is None else self.data[span.start : span.stop]
                self.assertTrue(found == right)
            while self.fills.active():
                await self.fills.active()[0].over()
            blob = await self.store.open_blob(self.digest)
            assert blob is not None
            self.assertTrue(os.pread(blob.fd, len(self.data), 0) == self.data)
            blob.close()

        return started(test())

    def test_a_stop_in_the_middle_and_a_resume(self) -> Deferred[None]:
        async def test() -> None:
            flight = await self.fills.start(ALPINE, self.digest, None)
            reader = flight.reader()
            await flight.opened()
            await reader.wait(SEGMENT - 1, held_back=False)
            reader.close()
            await self.fills.stop()
            self.fills = self.new_fills()
            self.assertTrue(await self.read(None) == self.data)
            begun = [event for event in self.events if event.name == "fill_start"]
            self.assertGreaterEqual(getattr(begun[-1], "resumed_bytes", 0), SEGMENT)

        return started(test())
