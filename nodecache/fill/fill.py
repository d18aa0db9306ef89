"""One fill, from its first question to the store."""

from __future__ import annotations

import enum
import traceback

import attrs
from twisted.internet.defer import CancelledError, Deferred

from nodecache.deadline import Deadline
from nodecache.events import DiskFailed, FillFinished, FillStarted, Unexpected
from nodecache.failures import Failure, NoRoom, StoreFailure, UpstreamFailure, UpstreamKind
from nodecache.fill.answers import Contradiction
from nodecache.fill.course import Course
from nodecache.fill.first import First, ask
from nodecache.fill.landing import Landing
from nodecache.fill.names import Sources
from nodecache.fill.tools import Tools
from nodecache.inflight import Flight


class Outcome(enum.Enum):
    """How a fill ended; the value is that of ``FillFinished.outcome``."""

    STORED = "stored"
    MISMATCH = "mismatch"
    FAILED = "failed"
    DISCARDED = "discarded"
    STOPPED = "stopped"


class Mismatch(UpstreamFailure):
    """All bytes came, and they are not those of the digest."""

    def __init__(self, found: str) -> None:
        super().__init__(UpstreamKind.WRONG, f"the bytes that came have the digest sha256:{found}")


@attrs.frozen
class _Verdict:
    """What an error makes of a fill, and what its readers are told (``Flight.fail``)."""

    outcome: Outcome
    cause: Failure
    mute: bool
    keep: bool


def _verdict(error: Exception) -> _Verdict:
    if isinstance(error, CancelledError):
        stopping = StoreFailure("this node is stopping")
        return _Verdict(Outcome.STOPPED, stopping, mute=True, keep=True)
    if isinstance(error, Mismatch | Contradiction):
        return _Verdict(Outcome.MISMATCH, error, mute=True, keep=False)
    if isinstance(error, NoRoom):
        return _Verdict(Outcome.DISCARDED, error, mute=False, keep=True)
    if isinstance(error, StoreFailure):
        return _Verdict(Outcome.FAILED, error, mute=True, keep=False)
    if isinstance(error, Failure):
        return _Verdict(Outcome.FAILED, error, mute=False, keep=True)
    bug = StoreFailure(f"an error of this program: {type(error).__name__}")
    return _Verdict(Outcome.FAILED, bug, mute=True, keep=False)


class Fill:
    """Fills ``flight``. ``hint`` is the size in bytes that a manifest named, if any did.

    ``outcome`` is None until it ended.
    """

    def __init__(self, flight: Flight, hint: int | None, tools: Tools) -> None:
        self.outcome: Outcome | None = None
        self._flight = flight
        self._hint = hint
        self._tools = tools
        self._sources = Sources(flight.names, flight.digest, tools.factory, tools.clock)
        self._landing = Landing(flight.digest, tools)
        self._course: Course | None = None
        self._in_line = False
        self._must_finish = False
        self._task: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """Begin. Fires when everything is closed and ``outcome`` is set."""
        self._task = Deferred.fromCoroutine(self._run())
        return self._task

    def stop(self) -> None:
        """End soon, keeping what can be resumed. What is being stored or closed is finished."""
        if self._task is not None and not self._must_finish:
            self._task.cancel()

    async def _run(self) -> None:
        reason, keep, outcome = "", False, Outcome.STORED
        try:
            await self._drive()
        except Exception as error:  # CancelledError, too: this is where a stopped fill ends
            verdict = _verdict(error)
            outcome, keep, reason = verdict.outcome, verdict.keep, str(verdict.cause)
            self._flight.fail(verdict.cause, mute=verdict.mute)
            self._tell_failure(error)
        self._must_finish = True
        await self._close(keep=keep)
        self.outcome = outcome
        self._tell(outcome, reason)
        self._flight.end()

    async def _drive(self) -> None:
        await self._tools.line.enter(self._soon())
        self._in_line = True
        partial = await self._landing.open()
        course = self._course = Course(self._flight, partial, self._sources, self._tools)
        course.resume(partial.total, self._landing.present())
        size = self._hint if partial.total is None else partial.total
        if size is not None:
            await self._landing.reserve(size)
        self._tell_started(course)
        self._flight.give(self._landing.share())
        await self._fetch(course)
        total = await course.over()
        if course.assembly.hexdigest() != self._flight.digest.hex:
            raise Mismatch(course.assembly.hexdigest())
        self._flight.verify(total)
        await self._store(course, total)

    async def _fetch(self, course: Course) -> None:
        """Ask, unless all of it is on disk, and let the bytes come."""
        if course.crew.whole:
            assert course.crew.total is not None
            course.begin(course.crew.total, await self._landing.reserve(course.crew.total), None)
            return
        await self._tools.connections.enter(self._soon())
        try:
            first = await self._ask(course)
            total = first.answer.total
            room = self._tools.limits.reserve_step if total is None else total
            try:
                reservation = await self._landing.reserve(room)
            except BaseException:
                first.body.stop()
                raise
        except BaseException:
            self._tools.connections.leave()
            raise
        if total == 0:
            # Headers that say 0 are a complete body: the digest comes first.
            first.body.stop()
            self._tools.connections.leave()
            course.resume(0, course.crew.accepted)
            return
        course.begin(total, reservation, first)

    async def _ask(self, course: Course) -> First:
        try:
            first = await ask(
                self._sources, course.crew.first_span(), course.crew.total, self._soon()
            )
        except Contradiction:
            if course.crew.total is None:
                raise
            # What an earlier fill left is part of a blob of another size.
            course.forget()
            first = await ask(self._sources, course.crew.first_span(), None, self._soon())
        if first.answer.total is None:
            sized = attrs.evolve(first.answer, total=self._hint, stop=self._hint)
            return attrs.evolve(first, answer=sized)
        return first

    def _soon(self) -> Deadline:
        """For one step: what came before it (a turn in line, segments read again) may take long.

        What a client waits in all, the cache bounds.
        """
        return Deadline(self._tools.clock.seconds() + self._tools.timeouts.upstream_answer)

    async def _store(self, course: Course, total: int) -> None:
        self._must_finish = True
        if course.narrow:
            raise NoRoom("there was no room to keep it")
        await self._landing.reserve(total)
        await self._landing.commit(total)

    async def _close(self, *, keep: bool) -> None:
        if self._course is not None:
            await self._course.close()
            keep = keep and self._course.assembly.recorded
        await self._landing.close(keep=keep)
        if self._in_line:
            self._tools.line.leave()

    def _tell_started(self, course: Course) -> None:
        name = self._sources.current
        self._tools.observe(
            FillStarted(
                digest=str(self._flight.digest),
                namespace=name.namespace,
                repository=name.name,
                resumed_bytes=course.crew.accepted.total(),
            )
        )

    def _tell_failure(self, error: Exception) -> None:
        if isinstance(error, StoreFailure) and not isinstance(error, NoRoom):
            self._tools.observe(DiskFailed(operation="fill", reason=str(error)))
        elif not isinstance(error, Failure | CancelledError):
            trace = "".join(traceback.format_exception(error))
            self._tools.observe(Unexpected(where="fill", error=repr(error), trace=trace))

    def _tell(self, outcome: Outcome, reason: str) -> None:
        name = self._sources.current
        crew = self._course.crew if self._course is not None else None
        self._tools.observe(
            FillFinished(
                digest=str(self._flight.digest),
                namespace=name.namespace,
                repository=name.name,
                outcome=outcome.value,
                total=self._flight.total or 0,
                fetched=self._flight.fetched,
                seconds=self._tools.clock.seconds() - self._flight.began_at,
                connections=crew.most if crew is not None else 0,
                resumes=crew.resumes if crew is not None else 0,
                reason=reason,
            )
        )
