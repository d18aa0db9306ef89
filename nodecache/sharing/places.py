"""The upstream connections of the node, shared out among its fills."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nodecache.deadline import Deadline
from nodecache.failures import UpstreamFailure, UpstreamKind
from nodecache.sharing.duties import Leave


class UpstreamPlaces:
    """At most ``most`` at a time for the node, and ``most_each`` for one fill.

    A fill that has no place goes before those that have one, and one that had
    one before goes before those that never had: what has begun shall end.
    """

    def __init__(self, most: int, most_each: int, clock: IReactorTime) -> None:
        self._most = most
        self._most_each = most_each
        self._clock = clock
        self._line: list[_Waiting] = []
        self.taken = 0

    @property
    def waiting(self) -> int:
        return len(self._line)

    def share(self) -> Share:
        """For one fill."""
        return Share(self)

    async def take(self, share: Share, deadline: Deadline) -> Leave:
        """Returns what gives the place back. Raises UpstreamFailure(TIMEOUT) at ``deadline``."""
        waiting = _Waiting(share)
        turn: Deferred[Leave] = Deferred(lambda _: self._line.remove(waiting))
        waiting.turn = turn
        self._line.append(waiting)
        self._admit()

        def too_late(*_: object) -> Leave:
            raise UpstreamFailure(UpstreamKind.TIMEOUT, "too many blobs are being fetched")

        return await turn.addTimeout(
            deadline.remaining(self._clock.seconds()), self._clock, too_late
        )

    def _admit(self) -> None:
        while self.taken < self._most and (waiting := self._next()) is not None:
            self._line.remove(waiting)
            assert waiting.turn is not None
            waiting.turn.callback(self._give(waiting.share))

    def _next(self) -> _Waiting | None:
        may = [each for each in self._line if each.share.held < self._most_each]
        return min(may, key=lambda each: each.share.standing, default=None)

    def _give(self, share: Share) -> Leave:
        self.taken += 1
        share.held += 1
        share.had = True
        over = False

        def leave() -> None:
            nonlocal over
            if not over:
                over = True
                self.taken -= 1
                share.held -= 1
                self._admit()

        return leave


class Share:
    """What one fill has of the places: ``held`` now, ``had`` any before."""

    def __init__(self, places: UpstreamPlaces) -> None:
        self._places = places
        self.held = 0
        self.had = False

    @property
    def standing(self) -> tuple[bool, bool]:
        """The lowest goes first."""
        return self.held > 0, not self.had

    async def take(self, deadline: Deadline) -> Leave:
        """As ``UpstreamPlaces.take``."""
        return await self._places.take(self, deadline)


@attrs.define(eq=False)
class _Waiting:
    share: Share
    turn: Deferred[Leave] | None = None
