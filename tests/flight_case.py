"""Fills over a real store without threads, a scripted origin, and clients that read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from nodecache import segments
from nodecache.byteranges import Span
from nodecache.failures import Failure, FlightFailed
from nodecache.fill import Fills, allotment, crew, first, halves, landing, stride, sums
from nodecache.inflight import Flight
from nodecache.limits import KIB, Limits
from nodecache.reference import Digest, Repository
from nodecache.seams import DiskPool, Readable
from tests.fakes_disk import HeldPool, InlinePool
from tests.fakes_source import FakeBody, Origin
from tests.store_case import StoreCase, digest_of, some_bytes

#: These tests work at an eighth of the real sizes: a MiB, and a segment.
M = 128 * KIB
SEGMENT = 8 * M


def small_limits(**others: int) -> Limits:
    """The real limits at an eighth, but for ``others``; a segment is more than may wait."""
    real = Limits()
    names = ("job_first", "job_reread", "ramp_bytes", "reserve_step", "narrow_window", "tail")
    eighth = {name: getattr(real, name) // 8 for name in names}
    waiting = {"disk_queue": SEGMENT // 2, "job_bytes": M, "job_wanted": M // 2}
    return attrs.evolve(real, **(eighth | waiting | others))


ALPINE = Repository("docker.io", "library/alpine")
BUSYBOX = Repository("docker.io", "library/busybox")
QUAY = Repository("quay.io", "team/app")


class Client:
    """Reads a body as a client at the mirror port would: all that there is, or ``most`` at a time.

    ``wanted`` is the span of a closed range; None is the whole body, or, with
    ``start``, what is behind it. ``outcome`` is None while it reads, else
    "complete", "broken", "left", or "unsatisfiable" (it begins behind the end).
    """

    def __init__(
        self, reader: Readable, wanted: Span | None = None, *, start: int = 0, most: int = 1 << 60
    ) -> None:
        self.reader = reader
        self.start = start if wanted is None else wanted.start
        self.got = bytearray()
        self.outcome: str | None = None
        self.cause: Failure | None = None
        self.most = most
        self.reading = False
        self._wanted = wanted
        self._wait: Deferred[None] | None = None

    @property
    def at(self) -> int:
        return self.start + len(self.got)

    @property
    def held_back(self) -> bool:
        return self._wanted is None

    @property
    def stop(self) -> int | None:
        total = self.reader.total
        if self._wanted is None:
            return total
        return self._wanted.stop if total is None else min(self._wanted.stop, total)

    def go(self) -> Client:
        """Read on until there is nothing, then wait for more, until ``pause``."""
        self.reading = True
        if self._wait is None:
            self._next()
        return self

    def pause(self) -> None:
        """Stop reading, as a slow client does."""
        self.reading = False
        self._forget_wait()

    def leave(self) -> None:
        """The client goes away."""
        self.pause()
        if self.outcome is None:
            self.outcome = "left"
            self.reader.close()

    def read(self) -> int:
        """One read; returns its size."""
        count = min(self.most, self.reader.available(self.at, held_back=self.held_back))
        if self._wanted is not None:
            count = min(count, self._wanted.stop - self.at)
        if count > 0:
            data = os.pread(self.reader.fd, count, self.at)
            assert len(data) == count, "the file is shorter than what was promised"
            self.got += data
            self.reader.punched(self.at)
        return max(0, count)

    def _next(self) -> None:
        while self.reading and self.outcome is None:
            if self.stop is not None and self.at >= self.stop:
                beyond = self.start and not self.got
                return self._end("unsatisfiable" if beyond else "complete")
            if not self.read():
                return self._wait_for_more()
        return None

    def _wait_for_more(self) -> None:
        wait = self._wait = self.reader.wait(self.at, held_back=self.held_back)
        wait.addCallbacks(self._woken, self._broken)

    def _woken(self, _: None) -> None:
        self._wait = None
        self._next()

    def _broken(self, reason: Any) -> None:
        self._wait = None
        if self.reading:
            failed = reason.value
            assert isinstance(failed, FlightFailed)
            self.cause = failed.cause
            self._end("broken")

    def _end(self, outcome: str) -> None:
        self.outcome = outcome
        self.reader.close()

    def _forget_wait(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.cancel()


class FlightCase(StoreCase):
    """``fills`` over ``store`` and ``origin``. ``turn`` lets what is due happen."""

    limits = small_limits()

    def setUp(self) -> None:
        for module in (segments, allotment, crew, first, landing, stride):
            self.patch(module, "SEGMENT", SEGMENT)
        for module in (segments, sums, halves):
            self.patch(module, "CHECKSUM_BLOCK", M)
        super().setUp()
        self.origin = Origin()
        self.pool: DiskPool = InlinePool()
        self.held = HeldPool()
        self.fills = self.new_fills()

    def close_all(self) -> None:
        stopped = Deferred.fromCoroutine(self.fills.stop())
        self.run_jobs()
        self.successResultOf(stopped)
        super().close_all()

    def new_fills(self) -> Fills:
        return Fills(
            self.store,
            self.pool,
            self.origin.source,
            self.clock,
            self.events.append,
            self.limits,
            self.timeouts,
            **self.sharing(),
        )

    def sharing(self) -> dict[str, Any]:
        """What fills are told of peers: nothing."""
        return {}

    def hold_jobs(self) -> None:
        """From now on the jobs of fills (not of the store) wait in ``held``."""
        self.pool = self.held
        self.fills = self.new_fills()

    def run_jobs(self) -> None:
        """Run held jobs until there are no more, with what becomes due by them."""
        self.settle()
        while self.held.step():
            self.settle()

    def finish_with_jobs(self) -> None:
        """``finish``, when jobs are held."""
        for _ in range(10_000):
            bodies = [body for body in self.origin.open_bodies if body.delivering]
            for body in bodies:
                if body.delivering and not body.paused:
                    body.finish()
            self.run_jobs()
            if not self.origin.open_bodies:
                break

    def turn(self, seconds: float = 0.0) -> None:
        """Let ``seconds`` pass, and what then is due happen, the callLater(0) of those included."""
        self.clock.advance(seconds)
        for _ in range(8):
            self.clock.advance(0)

    def settle(self) -> None:
        """Let what waits for the disk be written."""
        self.turn(self.timeouts.flush)

    def blob(self, size: int, seed: int = 0) -> tuple[Digest, bytes]:
        """A blob that the origin has."""
        data = some_bytes(size, seed)
        digest = digest_of(data)
        self.origin.blobs[digest] = data
        return digest, data

    def starting(
        self, digest: Digest, name: Repository = ALPINE, hint: int | None = None
    ) -> Deferred[Flight]:
        return Deferred.fromCoroutine(self.fills.start(name, digest, hint))

    def started(self, digest: Digest, name: Repository = ALPINE, hint: int | None = None) -> Flight:
        starting = self.starting(digest, name, hint)
        self.turn()
        return self.successResultOf(starting)

    def headers(self, flight: Flight) -> Deferred[None]:
        return Deferred.fromCoroutine(flight.opened())

    def flying(self, digest: Digest, name: Repository = ALPINE, hint: int | None = None) -> Flight:
        flight = self.started(digest, name, hint)
        opening = self.headers(flight)
        self.turn()
        self.successResultOf(opening)
        return flight

    def read_at_once(self, digest: Digest) -> Readable:
        """As the cache does it: a reader in the turn in which the headers came."""

        async def read() -> Readable:
            flight = await self.fills.start(ALPINE, digest, None)
            await flight.opened()
            return flight.reader()

        reading = Deferred.fromCoroutine(read())
        self.turn()
        return self.successResultOf(reading)

    def client(self, flight: Flight, wanted: Span | None = None, **more: Any) -> Client:
        """One that reads on by itself."""
        return Client(flight.reader(), wanted, **more).go()

    @property
    def body(self) -> FakeBody:
        """The only body that is open."""
        (body,) = self.origin.open_bodies
        return body

    def finish(self, until: Callable[[], bool] = lambda: False) -> None:
        """Let every body send all of it, until no more are asked for."""
        for _ in range(10_000):
            bodies = [body for body in self.origin.open_bodies if body.delivering]
            if not bodies or until():
                break
            for body in bodies:
                if body.delivering and not body.paused:
                    body.finish()
            self.turn()
        self.settle()

    def stored(self, digest: Digest) -> bytes | None:
        return self.read_blob(digest)

    def outcome(self) -> str:
        """How the last fill ended."""
        return str(self.told("fill")[-1].outcome)

    def nothing_is_left(self) -> None:
        """No flight, no connection, no place taken, no room spoken for or claimed."""
        self.turn()
        self.assertEqual(self.fills.active(), [])
        self.assertEqual(self.origin.open_bodies, [])
        self.assertEqual(self.store.usage().reserved, 0)
        self.assertEqual(self.places(), (0, 0, 0))
        self.assertEqual(self.fills._tools.share.taken, 0)

    def places(self) -> tuple[int, ...]:
        """How many places are taken: of the connections, of the fills, of those for peers only."""
        tools = self.fills._tools
        return tuple(
            line._semaphore.limit - line._semaphore.tokens
            for line in (tools.connections, tools.line, tools.peer_line)
        )
