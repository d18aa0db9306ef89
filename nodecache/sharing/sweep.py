"""Looking for bytes among all peers, where upstream does not give them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.python.failure import Failure as Raised

from nodecache.membership import Peer
from nodecache.peerwire.answers import UpstreamAbsent
from nodecache.seams import BlobBody
from nodecache.sharing.findings import Findings
from nodecache.sharing.questions import Quest, Questions
from nodecache.sharing.race import Race
from nodecache.sharing.tools import Tools

#: Seconds for which a sweep without a find stands for those of the other segments.
_REST: Final = 5.0

#: So many known holders are asked before the others.
_HOLDERS: Final = 8


class Sweep:
    """For one quest. ``run`` it once.

    All peers are asked whether they have it, ``Limits.peer_sweep`` at a time,
    the nearest first, and among them those that rank first. Who says yes is
    asked for the bytes, one after the other; the first that sends some has been
    found. A fill makes one sweep at a time: what it finds is likely to have the
    other segments as well.
    """

    def __init__(
        self, tools: Tools, questions: Questions, findings: Findings, quest: Quest, key: str
    ) -> None:
        self._tools = tools
        self._questions = questions
        self._findings = findings
        self._quest = quest
        self._key = key
        self._found: list[str] = []
        self._looked = False
        self._taking = DeferredLock()
        self._race: Race[BlobBody] = Race(lambda body: body.stop())

    async def run(self) -> BlobBody | None:
        """None when nobody had it until the quest's deadline. Nothing runs on when it returns."""
        clock = self._tools.clock
        left = self._quest.deadline.remaining(clock.seconds())
        task = Deferred.fromCoroutine(self._in_turn())
        body = await task.addTimeout(left, clock, _too_late)
        if body is None and self._looked:
            self._findings.fruitless_until = clock.seconds() + _REST
        return body

    async def _in_turn(self) -> BlobBody | None:
        await self._findings.sweeping.acquire()
        try:
            known = self._findings.holders.best(_HOLDERS)
            self._found = [peer for peer in known if self._may_have(peer)]
            body = await self._take()
            if body is None and self._tools.clock.seconds() >= self._findings.fruitless_until:
                body = await self._look_around()
            return body
        finally:
            self._findings.sweeping.release()

    async def _look_around(self) -> BlobBody | None:
        self._looked = True
        peers = self._peers()
        line = iter(peers)
        for _ in range(min(len(peers), self._tools.limits.peer_sweep)):
            self._race.add(self._ask_around(line))
        return await self._race.first()

    def _peers(self) -> list[Peer]:
        view = self._tools.cluster.view()
        ranked = view.rank(self._key, len(view.peers) + 1)
        others = [peer for peer in ranked if peer.id != view.me.id and self._may_have(peer.id)]
        return sorted(others, key=lambda peer: peer.zone != view.me.zone)

    def _may_have(self, peer: str) -> bool:
        broken = self._findings.broken(self._quest.segment)
        return peer not in self._quest.lacking and peer not in broken

    async def _ask_around(self, line: Iterator[Peer]) -> BlobBody | None:
        for peer in line:
            if await self._questions.has(self._quest, peer):
                self._found.append(peer.id)
                await self._taking.acquire()
                try:
                    body = await self._take()
                finally:
                    self._taking.release()
                if body is not None:
                    return body
        return None

    async def _take(self) -> BlobBody | None:
        """The bytes from one of those that were found since."""
        found, self._found = self._found, []
        if not found:
            return None
        clock, timeouts = self._tools.clock, self._tools.timeouts
        left = self._quest.deadline.remaining(clock.seconds())
        seconds = min(left, timeouts.peer_sweep_after)
        search = self._questions.among(found, seconds=seconds, longest=left)
        body = await self._questions.follow(search, self._quest, primed=True)
        return None if isinstance(body, UpstreamAbsent) else body


def _too_late(result: BlobBody | Raised | None, _: float) -> BlobBody | Raised | None:
    if isinstance(result, Raised) and result.check(CancelledError):
        return None
    return result
