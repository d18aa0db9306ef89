"""What a scripted site answers, and how it breaks, as values.

A site (``fakes_site``) asks for a ``Plan``, the honest answer to a request,
and lets the faults that match change it. A fault is made of functions from
Plan to Plan, so that they combine:

    site.fault(cut(5), method="GET", times=1)       # cut after 5 bytes, once
    site.fault(no_range, no_length)                 # for ever
    gate = Gate(); site.fault(hold_at(100, gate))   # stops at byte 100 until gate.open()

Everything that was asked is in ``site.requests``, in order, with the status
and the number of body bytes that were sent.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, succeed


class Content(Protocol):
    """Bytes that can be read from any place."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, stop: int) -> bytes: ...


@attrs.frozen
class Bytes:
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        return self.data[start:stop]


@attrs.frozen
class Pattern:
    """``size`` bytes that repeat ``block``: big bodies that cost no memory."""

    size: int
    block: bytes

    def read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size)
        first = start % len(self.block)
        wanted = stop - start
        repeats = (first + wanted) // len(self.block) + 1
        return (self.block * repeats)[first : first + wanted]


class Gate:
    """Shut until ``open`` is called; then open for good."""

    def __init__(self) -> None:
        self._waiters: list[Deferred[None]] = []
        self.is_open = False

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def wait(self) -> Deferred[None]:
        if self.is_open:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def open(self) -> None:
        self.is_open = True
        for waiter in tuple(self._waiters):
            if not waiter.called:  # one waiter's end may cancel another
                waiter.callback(None)
        self._waiters.clear()


@attrs.frozen(kw_only=True)
class Plan:
    """What is about to be answered. Offsets are in bytes of this answer's body."""

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: Content = Bytes(b"")
    media_type: str = "application/octet-stream"
    ranges: bool = True  # a Range is honoured with 206, else ignored
    shift: int = 0  # a 206 begins this many bytes off
    length: bool = True  # Content-Length is sent, else the body is chunked
    silent: bool = False  # accepted, read, never answered
    hang_up: bool = False  # closed without a byte
    raw: bytes | None = None  # sent instead of an answer; then the connection is closed
    before: Gate | None = None  # headers wait for this
    cut_at: int | None = None  # the connection is closed after these bytes
    stall_at: int | None = None  # no byte more after these, until ``gate`` opens
    gate: Gate | None = None
    drip: tuple[int, float] | None = None  # bytes, and the pause after them in seconds


Change = Callable[[Plan], Plan]


def answer(
    status: int, body: bytes = b"", media_type: str = "text/plain", **headers: str
) -> Change:
    """Another answer altogether; ``Retry_After="3"`` stands for a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def change(plan: Plan) -> Plan:
        return attrs.evolve(
            plan, status=status, body=Bytes(body), media_type=media_type, headers=named
        )

    return change


def html(status: int = 200) -> Change:
    return answer(status, b"<html><body>Please log in to this network.</body></html>", "text/html")


def with_headers(**headers: str) -> Change:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda plan: attrs.evolve(plan, headers={**plan.headers, **named})


def without_header(name: str) -> Change:
    return lambda plan: attrs.evolve(
        plan, headers={k: v for k, v in plan.headers.items() if k.lower() != name.lower()}
    )


no_digest = without_header("Docker-Content-Digest")


def no_length(plan: Plan) -> Plan:
    return attrs.evolve(plan, length=False)


def no_range(plan: Plan) -> Plan:
    return attrs.evolve(plan, ranges=False)


def shifted(by: int) -> Change:
    return lambda plan: attrs.evolve(plan, shift=by)


def cut(at: int) -> Change:
    return lambda plan: attrs.evolve(plan, cut_at=at)


def stall(at: int) -> Change:
    return lambda plan: attrs.evolve(plan, stall_at=at, gate=None)


def hold_at(at: int, gate: Gate) -> Change:
    return lambda plan: attrs.evolve(plan, stall_at=at, gate=gate)


def hold(gate: Gate) -> Change:
    return lambda plan: attrs.evolve(plan, before=gate)


def drip(size: int, pause: float) -> Change:
    return lambda plan: attrs.evolve(plan, drip=(size, pause))


def black_hole(plan: Plan) -> Plan:
    return attrs.evolve(plan, silent=True)


def hang_up(plan: Plan) -> Plan:
    return attrs.evolve(plan, hang_up=True)


def raw(data: bytes) -> Change:
    return lambda plan: attrs.evolve(plan, raw=data)


def corrupt(plan: Plan) -> Plan:
    """The right length, wrong bytes."""
    size = plan.body.size
    return attrs.evolve(plan, body=Pattern(size, b"\xa5wrong"))


def truncated(to: int) -> Change:
    """Ends cleanly after ``to`` bytes, as if that were all."""
    return lambda plan: attrs.evolve(plan, body=Bytes(plan.body.read(0, to)))


def gzipped(plan: Plan) -> Plan:
    """Encoded although nobody asked for it."""
    body = gzip.compress(plan.body.read(0, plan.body.size), mtime=0)
    headers = {**plan.headers, "Content-Encoding": "gzip"}
    return attrs.evolve(plan, body=Bytes(body), headers=headers, ranges=False)


@attrs.define
class Seen:
    """One request as it came in, and what was done about it."""

    site: str
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, list[str]]  # lower case names
    serial: int = 0  # order over all sites of a double
    kind: str = "other"
    name: str = ""
    reference: str = ""
    status: int = 0
    sent: int = 0

    def header(self, name: str) -> str | None:
        values = self.headers.get(name.lower())
        return ", ".join(values) if values else None


@attrs.define
class Fault:
    matches: Callable[[Seen], bool]
    changes: tuple[Change, ...]
    left: int | None
    skip: int
    used: int = 0

    def applies(self, seen: Seen) -> bool:
        if self.left == 0 or not self.matches(seen):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        self.used += 1
        return True

    def lift(self) -> None:
        """It is over."""
        self.left = 0
