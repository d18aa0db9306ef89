"""The parts that images are moved with: unpacking, pipes, work that lasts, scratch files."""

from __future__ import annotations

import gzip
import os
import pathlib
import shutil
import tempfile
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from nodecache.archives import BadArchive
from nodecache.failures import NoRoom, StoreFailure
from nodecache.steering import Refused
from nodecache.steering.lasting import Lasting, Stop
from nodecache.steering.pipes import BrokenPipe, open_pipe, put, readable, take, writable
from nodecache.steering.unpacking import Unpacker, is_compressed
from nodecache.store.scratch import Scratch
from tests.fakes_disk import InlinePool

reactor = cast(Any, _reactor)
pieces = st.lists(st.binary(max_size=3000), max_size=4)


def unpacked(archive: bytes, size: int) -> bytes:
    """What comes out of an archive that comes in so many bytes at a time."""
    unpacker, out = Unpacker(), b""
    for start in range(0, len(archive), size):
        out += unpacker.feed(archive[start : start + size])
        while unpacker.has_more:
            out += unpacker.more()
    unpacker.finish()
    return out


@given(pieces, st.integers(8, 5000))
def test_what_was_compressed_in_pieces_comes_out_as_one(parts: list[bytes], size: int) -> None:
    archive = b"".join(gzip.compress(part) for part in parts)
    assert unpacked(archive, size) == b"".join(parts)
    assert is_compressed(archive) == bool(parts)
    padded = archive + bytes(1024) if parts else b""
    assert unpacked(padded, size) == b"".join(parts)


@given(st.binary(min_size=1, max_size=3000), st.integers(8, 5000))
def test_what_is_plain_stays_as_it_is(data: bytes, size: int) -> None:
    plain = b"plain" + data
    assert unpacked(plain, size) == plain
    assert not is_compressed(plain)


@given(st.binary(min_size=1, max_size=3000), st.data())
def test_what_is_cut_off_is_refused(body: bytes, data: st.DataObject) -> None:
    archive = gzip.compress(body)
    cut = archive[: data.draw(st.integers(2, len(archive) - 1))]
    with pytest.raises(BadArchive):
        unpacked(cut, 4096)


@pytest.mark.parametrize("start", [b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"])
def test_other_compressions_are_named_with_what_undoes_them(start: bytes) -> None:
    assert is_compressed(start)
    with pytest.raises(BadArchive, match="pipe it through"):
        unpacked(start + bytes(100), 4096)


def test_what_grows_does_so_a_piece_at_a_time() -> None:
    unpacker = Unpacker()
    most = len(unpacker.feed(gzip.compress(bytes(50 << 20))))
    while unpacker.has_more:
        most = max(most, len(unpacker.more()))
    assert most <= 1 << 20


class LastingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lasting = Lasting()
        self.waited: Deferred[None] = Deferred()
        self.steps: list[str] = []

    async def work(self, stop: Stop) -> str:
        try:
            self.steps.append("step")
            await self.waited
            stop.check()
        finally:
            self.steps.append("tidied up")
        return "done"

    def run_(self) -> Deferred[str]:
        return Deferred.fromCoroutine(self.lasting.run(self.work))

    def idle(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.lasting.idle())

    def test_work_that_is_let_be_gives_what_it_gives(self) -> None:
        running = self.run_()
        self.waited.callback(None)
        self.assertEqual(self.successResultOf(running), "done")
        self.successResultOf(self.idle())

    def test_work_that_is_given_up_goes_on_to_its_next_step_and_tidies_up(self) -> None:
        running = self.run_()
        running.cancel()
        self.failureResultOf(running)
        idle = self.idle()
        self.assertEqual(self.steps, ["step"])
        self.assertNoResult(idle)
        self.waited.callback(None)
        self.assertEqual(self.steps, ["step", "tidied up"])
        self.successResultOf(idle)

    def test_what_it_waits_for_ends_when_it_is_given_up(self) -> None:
        never: Deferred[None] = Deferred()

        async def work(stop: Stop) -> None:
            await stop.wait(never)

        running: Deferred[None] = Deferred.fromCoroutine(self.lasting.run(work))
        running.cancel()
        self.failureResultOf(running)
        self.assertTrue(never.called)
        self.successResultOf(self.idle())

    def test_its_failure_reaches_whoever_waits(self) -> None:
        running = self.run_()
        self.waited.errback(StoreFailure("the disk is broken"))
        self.failureResultOf(running, StoreFailure)
        self.successResultOf(self.idle())

    def test_nothing_is_waited_for_after_it_was_given_up(self) -> None:
        stop = Stop()
        stop.give_up()
        waiting: Deferred[Any] = Deferred.fromCoroutine(stop.wait(Deferred()))
        self.failureResultOf(waiting, Refused)


class PipeTests(TestCase):
    def setUp(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.path = os.path.join(folder, "pipe")
        os.mkfifo(self.path)

    def opened(self, *, writing: bool) -> int:
        fd = open_pipe(self.path, writing=writing)
        self.addCleanup(os.close, fd)
        return fd

    async def test_bytes_come_through_and_the_end_is_told_from_nothing_yet(self) -> None:
        reader = self.opened(writing=False)
        writer = open_pipe(self.path, writing=True)
        self.assertIsNone(take(reader))
        waiting = readable(reactor, reader)
        self.assertEqual(put(writer, memoryview(b"hello")), 5)
        await waiting
        self.assertEqual(take(reader), b"hello")
        waiting = readable(reactor, reader)
        os.close(writer)
        await waiting
        self.assertEqual(take(reader), b"")

    async def test_a_full_pipe_takes_more_once_it_was_read(self) -> None:
        reader, writer = self.opened(writing=False), self.opened(writing=True)
        while put(writer, memoryview(bytes(65536))):
            pass
        waiting = writable(reactor, writer)
        self.assertFalse(waiting.called)
        while take(reader):
            pass
        await waiting
        self.assertGreater(put(writer, memoryview(b"more")), 0)

    async def test_a_reader_that_leaves_is_noticed(self) -> None:
        reader = open_pipe(self.path, writing=False)
        writer = self.opened(writing=True)
        while put(writer, memoryview(bytes(65536))):
            pass
        waiting = writable(reactor, writer)
        os.close(reader)
        await waiting
        with pytest.raises(BrokenPipe, match="is gone"):
            put(writer, memoryview(b"x"))

    def test_a_wait_that_is_cancelled_leaves_nothing_behind(self) -> None:
        reader = self.opened(writing=False)
        before = set(reactor.getReaders())
        waiting: Deferred[None] = readable(reactor, reader)
        waiting.addErrback(lambda _: None)
        waiting.cancel()
        self.assertEqual(set(reactor.getReaders()), before)

    def test_what_is_no_pipe_or_not_there_is_refused(self) -> None:
        for path, words in (
            (__file__, "is no pipe"),
            (self.path + "x", "can not be opened"),
        ):
            with pytest.raises(BrokenPipe, match=words):
                open_pipe(path, writing=False)
        # A pipe that nobody reads can not be opened for writing.
        with pytest.raises(BrokenPipe, match="can not be opened"):
            open_pipe(self.path, writing=True)
        os.symlink(self.path, self.path + "link")
        with pytest.raises(BrokenPipe, match="can not be opened"):
            open_pipe(self.path + "link", writing=False)


class Roomy:
    """A store that has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.given = 0

    async def reserve(self, size: int) -> Any:
        if size > self.room - self.given:
            raise NoRoom("no room")
        self.given += size
        return FakeReservation(self, size)


class FakeReservation:
    def __init__(self, roomy: Roomy, size: int) -> None:
        self.roomy = roomy
        self.size = size

    async def grow(self, more: int) -> None:
        await self.roomy.reserve(more)
        self.size += more

    def release(self) -> None:
        self.roomy.given -= self.size
        self.size = 0


class ScratchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "v1" / "tmp").mkdir(parents=True)

    def opened(self, roomy: Roomy) -> Scratch:
        opening = Scratch.open(str(self.folder), roomy, InlinePool())
        return self.successResultOf(Deferred.fromCoroutine(opening))

    def test_it_has_no_name_and_gives_its_room_back(self) -> None:
        roomy = Roomy(1 << 30)
        scratch = self.opened(roomy)
        self.assertEqual(os.listdir(self.folder / "v1" / "tmp"), [])
        scratch.append(b"one")
        scratch.append(b"two")
        self.assertEqual(os.pread(scratch.fd, 10, 0), b"onetwo")
        self.assertGreater(roomy.given, 0)
        scratch.close()
        scratch.close()
        self.assertEqual(roomy.given, 0)

    def test_it_grows_as_far_as_there_is_room(self) -> None:
        scratch = self.opened(Roomy(100 << 20))
        self.successResultOf(Deferred.fromCoroutine(scratch.grow(64 << 20)))
        self.failureResultOf(Deferred.fromCoroutine(scratch.grow(65 << 20)), NoRoom)
        scratch.close()

    def test_where_it_can_not_be_made_no_room_is_kept(self) -> None:
        roomy = Roomy(1 << 30)
        shutil.rmtree(self.folder / "v1")
        opening = Scratch.open(str(self.folder), roomy, InlinePool())
        self.failureResultOf(Deferred.fromCoroutine(opening), StoreFailure)
        self.assertEqual(roomy.given, 0)
