"""Leave to send, by a rule that a test can foresee: so many a key, then a line, then referral."""

from __future__ import annotations

from collections import defaultdict

from nodecache.admission import Admission, Admitted, Answer, Queued, Referred, Ticket
from nodecache.limits import Limits


class FakeAdmission(Admission):
    """``places`` and ``line`` are for each key. Whoever asked is named to the next.

    ``taken`` are the tickets that are out, ``waiting`` those in line; ``resting``
    is when somebody had nothing to send, and again something; ``given`` counts
    tickets that went out, and every one of them has to come back once.
    """

    def __init__(self, places: int = 4, line: int = 8, retry: float = 0.25) -> None:
        super().__init__(Limits())
        self.places = places
        self.line = line
        self.retry = retry
        self.taken: list[Ticket] = []
        self.waiting: list[Ticket] = []
        self.given = 0
        self.completed: list[str] = []
        self.resting: list[tuple[float, bool]] = []
        self.zones: list[str] = []
        self.urgent: list[bool] = []
        self.asked = 0
        self._known: dict[str, list[str]] = defaultdict(list)

    def ask(
        self, key: str, asker: str, now: float, zone: str = "", *, urgent: bool = False
    ) -> Answer:
        self.asked += 1
        self.zones.append(zone)
        self.urgent.append(urgent)
        ticket = Ticket(self.asked, key, asker)
        if self.leaving:
            return self.refer(key, asker, now, zone)
        if self._has_room(key):
            self._give(ticket)
            return Admitted(ticket)
        if sum(each.key == key for each in self.waiting) < self.line:
            self.waiting.append(ticket)
            return Queued(ticket)
        return self.refer(key, asker, now, zone)

    def _has_room(self, key: str) -> bool:
        return sum(each.key == key for each in self.taken) < self.places

    def _give(self, ticket: Ticket) -> None:
        self.given += 1
        self.taken.append(ticket)
        self._known[ticket.key].append(ticket.asker)

    def refer(self, key: str, asker: str, now: float, zone: str = "") -> Referred:
        named = tuple(each for each in self._known[key] if each != asker)
        self._known[key].append(asker)
        return Referred(named[:4], self.retry)

    def rests(self, ticket: Ticket, now: float, *, begun: bool) -> tuple[Ticket, ...]:
        self.resting.append((now, True))
        return ()

    def goes_on(self, ticket: Ticket, now: float) -> None:
        self.resting.append((now, False))

    def finished(self, ticket: Ticket, now: float, *, complete: bool) -> tuple[Ticket, ...]:
        self.taken.remove(ticket)  # ValueError when it came back before
        if complete:
            self.completed.append(ticket.asker)
        called = []
        for next_one in list(self.waiting):
            if self._has_room(next_one.key):
                self.waiting.remove(next_one)
                self._give(next_one)
                called.append(next_one)
        return tuple(called)

    def given_up(self, ticket: Ticket, now: float) -> None:
        self.waiting.remove(ticket)
