"""Runs one cell, and says what is wrong with what came of it."""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from nodecache.events import (
    Coalesced,
    Event,
    FillFinished,
    FillResumed,
    PassedThrough,
    PeerAsked,
    PeerFailed,
    RequestFinished,
    Unexpected,
    UpstreamAnswered,
    UpstreamFailed,
)
from nodecache.limits import Timeouts
from tests.fakes_client import Begun, Got, until
from tests.fakes_http import Gate, Plan, hold
from tests.node_case import descriptors
from tests.store_case import disk_size
from tests.trust.cells import Cell
from tests.trust.ground import Ground
from tests.trust.shapes import BLOBS, Cause, Expect, Leg, State

#: Of the readers in flight: the whole, the whole as a range, and a part.
RANGES: Final = (None, "bytes=0-", "bytes=1000-79999")
#: Seconds after which a cell hangs.
LONGEST: Final = 50.0
#: Bytes that a client of a drip waits for.
SIP: Final = 3
Lift = Callable[[], Awaitable[None]]


@attrs.frozen
class Outcome:
    """``answers`` say in short what each client got; ``problems`` are none where all is well."""

    cell: Cell
    answers: tuple[str, ...]
    seconds: float
    problems: tuple[str, ...]
    causes: tuple[str, ...] = ()


@attrs.frozen
class Before:
    """What the process had open before the cell."""

    files: set[str]
    calls: set[Any]
    readers: set[Any]
    threads: set[str]

    @classmethod
    def now(cls, reactor: Any) -> Before:
        sockets = (*reactor.getReaders(), *reactor.getWriters())
        return cls(
            descriptors(),
            {call for call in reactor.getDelayedCalls() if "TestCase._run" not in str(call)},
            {each for each in sockets if "_signals" not in type(each).__module__},
            _threads(),
        )

    def left(self, reactor: Any) -> list[str]:
        """What is open now and was not."""
        now = Before.now(reactor)
        found = [("descriptor", now.files - self.files), ("timer", now.calls - self.calls)]
        found += [("socket", now.readers - self.readers), ("thread", now.threads - self.threads)]
        return [f"left open: {kind} {one}" for kind, every in found for one in every]


def _threads() -> set[str]:
    """Without those of the reactor's own pool, which it keeps."""
    return {
        f"{each.name} {each.ident}"
        for each in threading.enumerate()
        if "twisted.internet.reactor" not in each.name
    }


def bound(timeouts: Timeouts) -> tuple[float, float]:
    """Seconds until headers, and until the end: generous, for machines that are busy."""
    head = 2 * timeouts.answer + 2
    return head, head + 3 * (timeouts.silence + timeouts.stall_total)


async def run(reactor: Any, cell: Cell, seed: int) -> Outcome:
    """Never raises for what a node does."""
    before = Before.now(reactor)
    ground = Ground(reactor, cell.fault, cell.leg, cell.state, seed)
    trial = Trial(ground, cell)
    began = reactor.seconds()
    try:
        try:
            await ground.open()
            await Deferred.fromCoroutine(trial.run()).addTimeout(LONGEST, reactor)
        finally:
            await ground.close()
    except Exception as error:
        trial.wrong(f"{type(error).__name__}: {error} {_place(error)}")
    seconds = reactor.seconds() - began
    give_up = reactor.seconds() + 3
    while (left := before.left(reactor)) and reactor.seconds() < give_up:
        await deferLater(reactor, 0.01)
    problems = (*trial.problems, *left)
    return Outcome(cell, tuple(trial.answers), seconds, problems, tuple(trial.causes()))


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return "; ".join(f"{frame.name}:{frame.lineno}" for frame in frames)


class Trial:
    """One cell on its ground."""

    def __init__(self, ground: Ground, cell: Cell) -> None:
        self._ground = ground
        self._cell = cell
        self.answers: list[str] = []
        self.problems: list[str] = []

    def wrong(self, words: str) -> None:
        self.problems.append(words)

    async def run(self) -> None:
        ground, cell = self._ground, self._cell
        if cell.state in (State.WARM, State.STALE):
            await self._warm_up()
        asked = len(ground.hub.requests)
        if cell.state is State.FLIGHT and cell.leg in (*BLOBS, Leg.PEER):
            lift = await self._blob_in_flight()
        elif cell.state is State.FLIGHT:
            lift = await self._manifest_in_flight()
        else:
            lift = await ground.begin_fault()
            await self._ask_once()
        if cell.state is State.WARM:
            if len(ground.hub.requests) != asked:
                self.wrong("upstream was asked for what is fresh on disk")
        else:
            await self._check_cause()
        changed = cell.leg is not Leg.PEER and cell.fault.arrange is None
        if changed and (ground.met > 0) is (cell.state is State.WARM):
            self.wrong(f"the fault was met {ground.met} times")
        await lift()
        await self._recovers()
        await self._is_tidy()

    # Getting there

    async def _warm_up(self) -> None:
        ground = self._ground
        await ground.pull(ground.image)
        if self._cell.state is not State.STALE:
            return
        if self._cell.leg is Leg.TOKEN:
            ground.hub.expire_tokens()
        if self._cell.leg in (Leg.GET, Leg.PEER):
            ground.move()

    async def _ask_once(self) -> None:
        ground = self._ground
        old = ground.layer
        began = ground.reactor.seconds()
        begun = await ground.begin(ground.path(), ground.method)
        self._in_time(began, 0, "headers")
        if self._cell.state is State.COLD and self._cell.expect is Expect.SLOW:
            await self._sip(begun)
            return
        got = await begun.whole()
        self._in_time(began, 1, "the end")
        self._judge(got, None, old)

    async def _sip(self, begun: Begun) -> None:
        """As slow as upstream is, and never ahead of it; then the client leaves."""
        ground = self._ground
        await until(ground.reactor, lambda: begun.received >= SIP)
        begun.leave()
        got = await begun.whole()
        self._note(got)
        if not ground.layer.startswith(got.body):
            self.wrong("wrong bytes were sent")

    async def _manifest_in_flight(self) -> Lift:
        """Two join the one whose question is held."""
        ground = self._ground
        gate = Gate()
        held = ground.fault.arrange is None
        lift = await ground.begin_fault(*([hold(gate)] if held else []))
        began = ground.reactor.seconds()
        asking = [Deferred.fromCoroutine(ground.ask())]
        if held:
            await until(ground.reactor, lambda: gate.waiting or asking[0].called)
        asking += [Deferred.fromCoroutine(ground.ask()) for _ in range(2)]
        if held:
            await until(
                ground.reactor, lambda: len(self._joined()) >= 2 or all(a.called for a in asking)
            )
            gate.open()
        for ok, got in await DeferredList(asking, consumeErrors=True):
            self._in_time(began, 1, "the end")
            if ok:
                self._judge(got, None, ground.layer)
            else:
                self.wrong(f"no answer at all: {got}")
        return lift

    def _joined(self) -> list[Event]:
        return [each for each in self._ground.told(Coalesced) if each.kind in ("tag", "manifest")]

    async def _blob_in_flight(self) -> Lift:
        """Three readers; the first body breaks off in the middle, and what comes next is so."""
        ground = self._ground
        gate = Gate()
        half = len(ground.layer) // 2

        def broken_off(plan: Plan) -> Plan:
            if plan.body.size != len(ground.layer) or gate.is_open:
                return plan
            return attrs.evolve(plan, stall_at=half, gate=gate, cut_at=half + 1)

        peer = ground.leg is Leg.PEER
        site = ground.hub.registry if ground.leg is Leg.REGISTRY else ground.hub.cdn
        first = site.fault(broken_off, when=lambda seen: not peer and ground.concerns(seen))
        lift = await ground.begin_fault() if peer else None
        began = ground.reactor.seconds()
        named = [{} if each is None else {"Range": each} for each in RANGES]
        bodies = [await ground.begin(ground.path(), "GET", **each) for each in named]
        if lift is None:
            await until(ground.reactor, lambda: bodies[0].received >= half)
            first.lift()
            lift = await self._fault_from_now(gate)
        if self._cell.expect is Expect.SLOW:
            await until(ground.reactor, lambda: bodies[0].received >= half + SIP)
            for each in bodies[:2]:
                each.leave()
        for body, ranged in zip(bodies, RANGES, strict=True):
            got = await body.whole()
            self._in_time(began, 1, "the end")
            self._judge(got, ranged, ground.layer)
        return lift

    async def _fault_from_now(self, gate: Gate) -> Lift:
        """A fault of the whole site ends the body that is held by itself."""
        lift = await self._ground.begin_fault()
        gate.open()
        return lift

    # Judging

    def _in_time(self, began: float, which: int, what: str) -> None:
        took = self._ground.reactor.seconds() - began
        if took > (most := bound(self._ground.timeouts)[which]):
            self.wrong(f"{what} took {took:.1f} s, more than {most:.1f} s")

    def _note(self, got: Got) -> None:
        stale = " stale" if got.header("Warning") else ""
        words = "" if got.broken is None else f" broken off after {len(got.body)} bytes"
        self.answers.append(f"{got.status}{stale}{words}")

    def _judge(self, got: Got, ranged: str | None, layer: bytes) -> None:
        self._note(got)
        ground, cell = self._ground, self._cell
        blob = "/blobs/" in ground.path()
        manifest = ground.hub._repositories["library/app"].manifests
        right = [layer] if blob else [each.body for each in manifest.values()]
        if ranged == RANGES[2]:
            right = [layer[1000:80000]]
        whole = got.status in (200, 206) and got.broken is None
        # A body that is wrong at its source is found out at its end: what was asked for of it
        # alone has gone by then, and so has a part of what was asked for as a whole.
        found_late = blob and cell.expect in (Expect.BROKEN, Expect.EITHER)
        closed = found_late and ranged == RANGES[2]
        if whole and ground.method == "GET" and got.body not in right and not closed:
            self.wrong(f"a whole body of {len(got.body)} wrong bytes")
        prefix = any(each.startswith(got.body) for each in right)
        if got.broken is not None and not (found_late or prefix):
            self.wrong("wrong bytes were sent before it broke off")
        if got.broken is not None and got.length is not None and len(got.body) >= got.length:
            self.wrong("all bytes came before it broke off")
        expect = self._expected(blob=blob)
        if ranged == RANGES[2] and whole:
            return  # all of it was there
        fits = {
            Expect.FINE: whole and not got.header("Warning"),
            Expect.ABSENT: got.status == 404,
            Expect.AWAY: got.status == (404 if blob else 503),
            Expect.BROKEN: got.broken is not None or got.status == 404,
            Expect.EITHER: whole or got.broken is not None or got.status == 404,
            Expect.SLOW: got.broken is not None,
        }
        if cell.state is State.STALE and expect is not Expect.FINE:
            stale = whole and got.header("Nodecache-Source") == "stale"
            if not (stale and (got.header("Warning") or "").startswith("299 ")):
                self.wrong(f"{got.status} and not what is here, stale, with a warning")
        elif not fits[expect]:
            self.wrong(f"{self.answers[-1]} and not {expect.value}: {got.body[:200]!r}")
        if got.status >= 400 and ground.method == "GET":
            self._check_code(got, blob=blob)

    def _check_code(self, got: Got, *, blob: bool) -> None:
        absent = b"BLOB_UNKNOWN" if blob else b"MANIFEST_UNKNOWN"
        if (b"UNAVAILABLE" if got.status == 503 else absent) not in got.body:
            self.wrong(f"{got.status} with another code: {got.body[:200]!r}")
        if got.header("WWW-Authenticate") is not None:
            self.wrong("it asks for a login")

    def _expected(self, *, blob: bool) -> Expect:
        expect, state = self._cell.expect, self._cell.state
        if state is State.WARM or (self._cell.leg is Leg.PEER and not blob):
            return Expect.FINE
        failing = expect in (Expect.ABSENT, Expect.AWAY)
        return Expect.BROKEN if blob and failing and state is State.FLIGHT else expect

    # Causes

    def causes(self) -> list[str]:
        found = {
            f"{each.leg} {each.status}"
            for each in self._ground.told(UpstreamAnswered)
            if each.status >= 300 and each.status not in (307, 401)
        }
        found |= {f"{e.leg} {e.kind}: {e.reason}" for e in self._ground.told(UpstreamFailed)}
        found |= {f"fill {e.outcome}: {e.reason}" for e in self._ground.told(FillFinished)}
        found |= {f"{e.what} {e.kind}: {e.reason}" for e in self._ground.told(PeerFailed)}
        found |= {f"request {e.status}: {e.reason}" for e in self._ground.told(RequestFinished)}
        return sorted(found)

    async def _check_cause(self) -> None:
        """A client may be answered a moment before the question of the node has failed."""
        give_up = self._ground.reactor.seconds() + 2 * self._ground.timeouts.answer
        while (missing := self._missing_cause()) is not None:
            if self._ground.reactor.seconds() > give_up:
                self.wrong(f"no event and metric of {missing}")
                return
            await deferLater(self._ground.reactor, 0.02)

    def _missing_cause(self) -> str | None:
        fault = self._cell.fault
        if self._ground.leg is Leg.PEER:
            if not fault.peer_kinds or self._peer_named(fault.peer_kinds):
                return None
            asked = {(e.what, e.outcome, e.reason) for e in self._ground.told(PeerAsked)}
            return f"the peer's fault, but {asked}"
        cause = fault.cause[self._cell.leg]
        if cause.status is not None and not self._status_named(cause.status):
            return f"the status {cause.status}"
        if cause.kinds and not any(self._kind_named(each, cause) for each in cause.kinds):
            return f"{'/'.join(cause.kinds)} {cause.words!r}"
        return None

    def _peer_named(self, kinds: tuple[str, ...]) -> bool:
        ground = self._ground
        for kind in kinds:
            asked = any(each.outcome == kind for each in ground.told(PeerAsked))
            failed = any(each.kind == kind for each in ground.told(PeerFailed))
            if asked and ground.metric("peer_requests_total", outcome=kind):
                return True
            if failed and ground.metric("peer_failures_total", kind=kind):
                return True
            if kind == "mismatch" and self._kind_named(kind, Cause()):
                return True
        return False

    def _status_named(self, status: int) -> bool:
        told = any(each.status == status for each in self._ground.told(UpstreamAnswered))
        return told and self._ground.metric("upstream_requests_total", status=str(status)) > 0

    def _kind_named(self, kind: str, cause: Cause) -> bool:
        ground = self._ground
        if kind == "resumed":
            return bool(ground.told(FillResumed)) and ground.metric("fill_resumes_total") > 0
        if kind == "mismatch":
            told = any(each.outcome == kind for each in ground.told(FillFinished))
            return told and ground.metric("fills_total", outcome=kind) > 0
        if kind == "passed":
            return bool(ground.told(PassedThrough))
        told = any(
            each.kind == kind and cause.words in each.reason for each in ground.told(UpstreamFailed)
        )
        return told and ground.metric("upstream_failures_total", kind=kind) > 0

    # Afterwards

    async def _recovers(self) -> None:
        """Once the fault is over, the same question is answered as if nothing had been."""
        ground = self._ground
        give_up = ground.reactor.seconds() + 2 * bound(ground.timeouts)[1]
        while True:
            got = await ground.ask()
            if got.status == 200 and got.broken is None and not got.header("Warning"):
                break
            if ground.reactor.seconds() > give_up:
                self.wrong(f"it did not recover: {got.status} {got.body[:200]!r}")
                return
            await deferLater(ground.reactor, 0.02)
        wanted = ground.layer if "/blobs/" in ground.path() else ground.image.manifest.body
        if ground.method == "GET" and got.body != wanted:
            self.wrong("wrong bytes once the fault was over")

    async def _is_tidy(self) -> None:
        """Nothing reserved, no temporary file, and the accounts say what the disk holds."""
        ground = self._ground
        assert ground.node is not None
        store = ground.node._store
        give_up = ground.reactor.seconds() + 5
        while found := self._untidy(store):
            if ground.reactor.seconds() > give_up:
                self.problems += found
                break
            await deferLater(ground.reactor, 0.02)
        for defect in ground.told(Unexpected):
            self.wrong(f"a defect was met: {defect}")

    def _untidy(self, store: Any) -> list[str]:
        ground, usage = self._ground, store.usage()
        found = []
        if ground.filling():
            found.append(f"{ground.filling()} fills go on")
        if usage.reserved:
            found.append(f"{usage.reserved} bytes stay reserved")
        if (here := on_disk(ground.data_dir)) != usage.bytes:
            found.append(f"the accounts say {usage.bytes} bytes, the disk has {here}")
        scratch = ground.data_dir / "v1" / "tmp"
        found += [f"left in tmp: {name}" for name in os.listdir(scratch)]
        return found


def on_disk(data_dir: Any) -> int:
    """Bytes of the files that count, in whole blocks."""
    total = 0
    home = os.path.join(data_dir, "v1")
    for folder, _, names in os.walk(home):
        for name in names:
            path = os.path.join(folder, name)
            if path != os.path.join(home, "running"):
                with contextlib.suppress(FileNotFoundError):  # it has gone this moment
                    total += disk_size(path, sparse="segments" in folder)
    return total
