"""One fill, from its first question to the store."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from twisted.internet.defer import CancelledError, Deferred, DeferredLock

from nodecache.deadline import Deadline
from nodecache.events import DiskFailed, FillFinished, FillStarted, Unexpected
from nodecache.failures import Failure, NoRoom, StoreFailure
from nodecache.fill.answers import Contradiction
from nodecache.fill.connections import Line
from nodecache.fill.course import Course
from nodecache.fill.demand import Demand
from nodecache.fill.first import First
from nodecache.fill.landing import Landing
from nodecache.fill.lending import Lending
from nodecache.fill.names import Sources
from nodecache.fill.question import FirstQuestion
from nodecache.fill.tools import Tools
from nodecache.fill.verdict import (
    Distrusted,
    Lapsed,
    Mismatch,
    Outcome,
    Stopped,
    Verdict,
    verdict_on,
)
from nodecache.inflight import Flight, Status
from nodecache.inflight.waiters import Waiters
from nodecache.segments import segment_count, segment_of


class Fill:
    """Fills ``flight`` as far as ``demand`` says.

    ``hint`` is the size in bytes that a manifest named, if any did. One that begins without a
    client of this node has its place in ``Tools.peer_line`` already, and no connection of it has
    one in line. ``outcome`` is None until it ended; ``worth_another``: it was a peer's fault, and
    clients were reading.
    """

    def __init__(self, flight: Flight, hint: int | None, demand: Demand, tools: Tools) -> None:
        self.outcome: Outcome | None = None
        self.forgiven = self.worth_another = False
        self.hint = hint
        self._flight = flight
        self._demand = demand
        self._tools = tools
        self._sources = Sources(flight.names, flight.digest, tools.factory, tools.clock)
        self._landing = Landing(flight.digest, demand, tools)
        self.lending = Lending(flight, demand, self._landing, tools, self._lapse)
        self._course: Course | None = None
        self._place: Line | None = None if demand.local else tools.peer_line
        self._joins = DeferredLock()
        self._joined = Waiters(tools.clock)
        self._truths: dict[int, tuple[int, ...]] = {}
        self._must_finish = False
        self._stopped: Stopped | Lapsed = Stopped()
        self._task: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """Begin. Fires when everything is closed and ``outcome`` is set."""
        self._task = Deferred.fromCoroutine(self._run())
        return self._task

    def stop(self) -> None:
        """End soon, keeping what can be resumed. What is being stored or closed is finished."""
        if self._task is not None and not self._must_finish:
            self._flight.shut()
            self._task.cancel()

    def _lapse(self) -> None:
        if not self._must_finish:
            self._stopped = Lapsed()
            self.stop()

    async def join(self, hint: int | None) -> None:
        """A client of this node wants the blob. Raises NoRoom, StoreFailure: it can not have it."""
        if self._flight.status is not Status.WHOLE:
            self._tools.store.refuse_if_broken()
        if self._demand.local:
            return
        self.hint = self.hint or hint
        self.lending.enter()
        try:
            await self._joins.run(lambda: Deferred.fromCoroutine(self._join()))
        finally:
            self.lending.leave()

    async def _join(self) -> None:
        if self._demand.local:
            return
        total = self._flight.total
        if self._flight.status is Status.ARRIVING and total is not None:
            await self._landing.reserve_whole(total)
        # Otherwise room for all of it is spoken for on the way, or was.
        self._demand.local = True
        if self._place is self._tools.peer_line and self._tools.line.enter_now():
            self._leave_line()
            self._place = self._tools.line
        if self._course is not None and self._flight.status is Status.ARRIVING:
            self._course.crew.go_on()
        self._joined.wake()

    def widen(self) -> None:
        """Another fill has ended: there may be more to be had for this one."""
        if self._course is not None and self._flight.status is Status.ARRIVING:
            self._course.crew.go_on()

    def distrust(self, sums: Mapping[int, tuple[int, ...]]) -> None:
        """``sums`` are the right ones. What was verified stays; else all goes if ours differ."""
        self._truths.update(sums)
        if self._course is not None and self._flight.status is not Status.WHOLE:
            ours = self._course.assembly.sums
            if any(ours.get(index, right) != right for index, right in self._truths.items()):
                self._course.broken(Distrusted())

    async def _run(self) -> None:
        reason, keep, outcome = "", False, Outcome.STORED
        try:
            await self._drive()
        except Exception as error:  # CancelledError, too: this is where a stopped fill ends
            error = self._stopped if isinstance(error, CancelledError) else error
            verdict = verdict_on(error)
            outcome, keep, reason = verdict.outcome, verdict.keep, str(verdict.cause)
            self._fail(verdict)
            self._tell_failure(error)
        self._must_finish = True
        await self._close(keep=keep)
        self.outcome = outcome
        self._tell(outcome, reason)
        self._flight.end()

    def _fail(self, verdict: Verdict) -> None:
        clients = self._flight.clients
        self._flight.shut()
        self._flight.fail(verdict.cause, mute=verdict.mute)
        if verdict.outcome is Outcome.MISMATCH and self._course is not None:
            self.forgiven = self._is_forgiven(verdict.cause, self._course)
            self.worth_another = self.forgiven and clients > 0

    def _is_forgiven(self, cause: Failure, course: Course) -> bool:
        if isinstance(cause, Distrusted):
            return True
        senders = course.crew.senders
        if isinstance(cause, Contradiction):
            senders.vouched(cause.peer, 0)
        return self._tools.blame.mismatched(
            self._flight.digest, senders.by_segment(), course.assembly.sums
        )

    async def _drive(self) -> None:
        if self._place is None:
            await self._tools.line.enter(self._soon())
            self._place = self._tools.line
        partial = await self._landing.open()
        course = self._course = Course(
            self._flight, partial, self._sources, self._demand, self._tools
        )
        course.resume(partial.total, self._landing.present())
        self.distrust({})
        await self._speak_for_some(course)
        self._tell_started(course)
        self._flight.give(self._landing.share())
        self.lending.crew = course.crew
        await self._fetch(course)
        total = await course.over()
        if course.digest.hexdigest() != self._flight.digest.hex:
            raise Mismatch(course.digest.hexdigest())
        self._flight.verify(total)
        self._tools.blame.verified(self._flight.digest, course.assembly.sums)
        await self._joined.wait(lambda: self._demand.local)
        await self._store(course, total)

    async def _speak_for_some(self, course: Course) -> None:
        """Room, as far as it is known what will be needed, before anybody is asked."""
        total = course.crew.total
        if self._demand.local:
            size = self.hint if total is None else total
            if size is not None:
                await self._landing.reserve_whole(size)
            return
        await self._landing.reserve(course.crew.accepted.total())
        for segment in self._demand:
            if total is None or segment < segment_count(total):
                await self._landing.reserve_segment(segment, total)

    async def _speak_for(self, total: int | None, first: First | None) -> None:
        """Room, now that it is known; a client may come while it is made."""
        size = self._tools.limits.reserve_step if total is None else total
        while True:
            local = self._demand.local
            if local:
                await self._landing.reserve_whole(size)
            elif first is not None and first.answer.stream:
                await self._landing.reserve(size)
            elif first is not None:
                await self._landing.reserve_segment(segment_of(first.asked.start), total)
            if local == self._demand.local:
                return

    async def _fetch(self, course: Course) -> None:
        """Ask, unless all that is wanted is on disk, and let the bytes come."""
        question = FirstQuestion(self._sources, course, self._soon)
        if not question.is_due:
            await self._speak_for(course.crew.total, None)
            course.begin(course.crew.total, self._landing, None)
            return
        # Where only peers ask, nobody waits in line; and none is left behind if a client joins.
        place = self._demand.local
        if place:
            await self._tools.connections.enter(self._soon())
        try:
            first = await question.ask(lambda: self.hint)
            total = first.answer.total
            try:
                await self._speak_for(total, first)
            except BaseException:
                first.body.stop()
                raise
        except BaseException:
            if place:
                self._tools.connections.leave()
            raise
        if total == 0:
            # Headers that say 0 are a complete body: the digest comes first.
            first.body.stop()
            if place:
                self._tools.connections.leave()
            course.resume(0, course.crew.accepted)
            return
        course.begin(total, self._landing, first, place=place)

    def _soon(self) -> Deadline:
        """For one step: what came before it (a turn in line, segments read again) may take long;
        what a client waits in all, the cache bounds.
        """
        return Deadline(self._tools.clock.seconds() + self._tools.timeouts.upstream_answer)

    async def _store(self, course: Course, total: int) -> None:
        self._must_finish = True
        if course.narrow:
            raise NoRoom("there was no room to keep it")
        await self._landing.reserve_whole(total)
        await self._landing.commit(total)

    async def _close(self, *, keep: bool) -> None:
        self.lending.close()
        if self._course is not None:
            await self._course.close()
            keep = keep and self._course.assembly.recorded
        await self._landing.close(keep=keep)
        self._leave_line()

    def _leave_line(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave()

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
        elif not isinstance(error, Failure | Stopped | Lapsed):
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
                connections=crew.staff.most if crew is not None else 0,
                resumes=crew.resumes if crew is not None else 0,
                reason=reason,
                from_peers=crew.senders.bytes_of_peers if crew is not None else 0,
                senders=self._flight.senders,
            )
        )
