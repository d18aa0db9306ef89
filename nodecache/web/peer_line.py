"""The line before this node's uplink: the clock and the waiting to ``Admission``.

Every body that goes to a peer, and every fetch that is begun for one, has a
``Pass``. Whoever holds one finishes it, whatever happens; whoever stands in
the line leaves it as soon as the peer is gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodecache.admission import Admission, Admitted, Queued, Referred, Ticket


class Pass:
    """Leave to send one segment to one peer. ``finish`` is idempotent."""

    def __init__(self, line: Line, ticket: Ticket) -> None:
        self._line = line
        self._ticket: Ticket | None = ticket

    def rests(self, *, begun: bool) -> None:
        """There is nothing to send for now; if some was sent before (``begun``), others may go."""
        if self._ticket is not None:
            self._line.rests(self._ticket, begun=begun)

    def goes_on(self) -> None:
        """There is something to send again."""
        if self._ticket is not None:
            self._line.goes_on(self._ticket)

    def finish(self, *, complete: bool) -> None:
        """``complete``: the peer has all of it, and others can be sent there."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            self._line.finished(ticket, complete=complete)


class Line:
    def __init__(self, admission: Admission, clock: IReactorTime) -> None:
        self._admission = admission
        self._clock = clock
        self._waiting: dict[int, Deferred[bool]] = {}

    def __len__(self) -> int:
        """How many stand in it."""
        return len(self._waiting)

    async def enter(
        self, key: str, asker: str, zone: str, patience: float, *, urgent: bool = False
    ) -> Pass | Referred:
        """Leave to send ``key`` to ``asker``, if it is to be had within so many seconds.

        ``urgent``: see ``Admission.ask``. Cancelling it, as when the peer has left, gives the
        place up.
        """
        answer = self._admission.ask(key, asker, self._clock.seconds(), zone, urgent=urgent)
        if isinstance(answer, Admitted):
            return Pass(self, answer.ticket)
        if isinstance(answer, Queued):
            if await self._its_turn(answer.ticket, patience):
                return Pass(self, answer.ticket)
            return self.refer(key, asker, zone)
        return answer

    async def _its_turn(self, ticket: Ticket, patience: float) -> bool:
        called: Deferred[bool] = Deferred()
        self._waiting[ticket.number] = called
        its_turn = False
        try:
            its_turn = await called.addTimeout(
                max(0.0, patience), self._clock, lambda _result, _seconds: False
            )
        finally:
            if not its_turn:
                del self._waiting[ticket.number]
                self._admission.given_up(ticket, self._clock.seconds())
        return its_turn

    def refer(self, key: str, asker: str, zone: str = "") -> Referred:
        """Nodes that have it, or are getting it."""
        return self._admission.refer(key, asker, self._clock.seconds(), zone)

    def introduce(self, key: str, asker: str) -> Referred | None:
        """``key`` is not here: who went to its owner; None for one who shall go there too."""
        return self._admission.introduce(key, asker, self._clock.seconds())

    def rests(self, ticket: Ticket, *, begun: bool) -> None:
        """For ``Pass`` alone."""
        self._call(self._admission.rests(ticket, self._clock.seconds(), begun=begun))

    def goes_on(self, ticket: Ticket) -> None:
        """For ``Pass`` alone."""
        self._admission.goes_on(ticket, self._clock.seconds())

    def finished(self, ticket: Ticket, *, complete: bool) -> None:
        """For ``Pass`` alone."""
        now = self._clock.seconds()
        self._call(self._admission.finished(ticket, now, complete=complete))

    def _call(self, tickets: Iterable[Ticket]) -> None:
        for called in tickets:
            self._waiting.pop(called.number).callback(True)
