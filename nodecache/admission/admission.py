"""Admission of askers, by key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

import attrs

from nodecache.admission.answers import Admitted, Answer, Queued, Referred, Ticket
from nodecache.admission.receivers import Receivers, State
from nodecache.limits import Limits

#: Keys that are remembered.
_KEYS: Final = 4096
#: A transfer that nobody ended counts no more after so many seconds.
_LOST: Final = 900.0
#: Bounds of ``Referred.retry``, and the first guess of how long a transfer takes; seconds.
_SOONEST: Final = 0.02
_LATEST: Final = 1.0
_FIRST_GUESS: Final = 0.1
#: A transfer that takes longer than these seconds shows that this node sends to too many.
_LONG: Final = 0.5
#: What then becomes of the places; and how many come back after one that took less.
_FEWER: Final = 0.9
_MORE: Final = 1.0
#: Fewer places than these there never are, so that it does not stand still.
_LEAST: Final = 6
#: So many askers of one key are sent on to its owner in so many seconds, and named to others
#: after the last of them.
_SENT_ON: Final = 2
_SENT_ON_FOR: Final = 5.0
_RIPE: Final = 0.15
#: Weight of the last duration in the mean.
_LAST: Final = 0.2


@attrs.define(slots=True, eq=False)
class _Key:
    """What is sent of one key: to whom, who waits, who got it.

    ``sent_on``: when an asker was sent to the owner, since it is not here.
    """

    running: dict[int, Ticket] = attrs.field(factory=dict)
    line: set[int] = attrs.field(factory=set)
    receivers: Receivers = attrs.field(factory=Receivers)
    sent_on: dict[str, float] = attrs.field(factory=dict)


@attrs.define(slots=True, eq=False)
class _Transfer:
    """``rested`` are seconds of it without bytes, until ``rests_since``, from when it has none.

    ``yields``: it takes no place meanwhile.
    """

    ticket: Ticket
    began: float
    rested: float = 0.0
    rests_since: float | None = None
    yields: bool = False

    def go_on(self, now: float) -> bool:
        """Whether it takes a place again."""
        if self.rests_since is not None:
            self.rested += now - self.rests_since
        yielded, self.rests_since, self.yields = self.yields, None, False
        return yielded


class Admission:
    """Places for askers. ``now`` is seconds of one clock.

    Half of ``Limits.peer_transfers`` are places for anything, fewer where
    transfers take long; as many again are for what nobody got from here yet.
    (All 32 for that, a node of 100 Mbit/s that alone had an image sent 24
    things at a time, each for up to 23 s, while all others waited for it.)

    A transfer that has begun and has no bytes for now takes no place, though there
    are at most twice as many transfers as places: it passes on what comes slowly.
    (With such transfers in all their places, the two nodes that had a segment
    refused it to six others for 15 s, their uplinks idle by a third.)

    An asker for whom there is no place is referred to those who came before.
    Only where there is nobody to be named, or it comes back from them in vain,
    does it wait in line: whoever waits here holds up what it could have from
    another at once.

    Set these as they change. ``slow``: this node lags behind; one transfer of a key at a time.
    ``leaving``: it is stopping; everybody is referred. ``behind``: peers whose link is slow;
    nobody is referred to them.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._keys: OrderedDict[str, _Key] = OrderedDict()
        self._started: OrderedDict[int, _Transfer] = OrderedDict()
        self._resting = 0
        self._waiting: OrderedDict[int, tuple[Ticket, str, bool]] = OrderedDict()
        self._count = 0
        self._duration = _FIRST_GUESS
        self._most = -(-limits.peer_transfers // 2)
        # How fast the link is, the first transfers tell.
        self._places = float(min(_LEAST, self._most))
        self.slow = False
        self.leaving = False
        self.behind: Collection[str] = ()

    def ask(
        self, key: str, asker: str, now: float, zone: str = "", *, urgent: bool = False
    ) -> Answer:
        """``asker`` wants ``key``, of which there are bytes here or on the way.

        ``urgent``, as ``is_urgent`` tells: of all places, the last are for that.
        """
        self._expire(now)
        entry = self._entry(key)
        if self.leaving:
            return self._refer(entry, asker, zone)
        ticket = self._ticket(key, asker)
        if self._has_place(entry, urgent=urgent):
            self._start(entry, ticket, now)
            entry.receivers.put(asker, zone, State.GETTING)
            return Admitted(ticket)
        if self._may_refer(entry, asker) or len(entry.line) >= self._limits.peer_queue:
            return self._refer(entry, asker, zone)
        entry.line.add(ticket.number)
        self._waiting[ticket.number] = ticket, zone, urgent
        return Queued(ticket)

    def refer(self, key: str, asker: str, now: float, zone: str = "") -> Referred:
        """For one that waited in line long enough."""
        self._expire(now)
        return self._refer(self._entry(key), asker, zone)

    def introduce(self, key: str, asker: str, now: float) -> Referred | None:
        """``key`` is not here: None for the first few, who are to ask its owner.

        Who comes later is referred to these, once they may have got some of it,
        and comes again till then. So of a herd few come to the owner.
        """
        sent = self._entry(key).sent_on
        for peer in [peer for peer, at in sent.items() if now - at > _SENT_ON_FOR]:
            del sent[peer]
        if asker in sent or len(sent) < _SENT_ON:
            sent.setdefault(asker, now)
            return None
        return Referred(tuple(p for p, at in sent.items() if now - at > _RIPE), _RIPE)

    def rests(self, ticket: Ticket, now: float, *, begun: bool) -> tuple[Ticket, ...]:
        """A transfer has no bytes to send for now; who of those in line goes now. Idempotent.

        ``begun``: some were sent before.
        """
        transfer = self._started.get(ticket.number)
        if transfer is None or transfer.rests_since is not None:
            return ()
        transfer.rests_since, transfer.yields = now, begun
        self._resting += begun
        return self._admit_waiting(now) if begun else ()

    def goes_on(self, ticket: Ticket, now: float) -> None:
        """It has bytes again. Idempotent."""
        transfer = self._started.get(ticket.number)
        if transfer is not None:
            self._resting -= transfer.go_on(now)

    def finished(self, ticket: Ticket, now: float, *, complete: bool) -> tuple[Ticket, ...]:
        """A transfer has ended; who of those in line goes now. Idempotent."""
        transfer = self._started.pop(ticket.number, None)
        if transfer is None:
            return ()
        self._resting -= transfer.go_on(now)
        entry = self._entry(ticket.key)
        entry.running.pop(ticket.number, None)
        if complete:
            seconds = now - transfer.began
            self._duration += (seconds - self._duration) * _LAST
            self._learn(seconds - transfer.rested)
            entry.receivers.put(ticket.asker, "", State.WHOLE)
        else:
            entry.receivers.drop(ticket.asker)
        return self._admit_waiting(now)

    def _learn(self, seconds: float) -> None:
        """A link of 100 Mbit/s sends to a few in the time in which a fast one sends to many."""
        if seconds > _LONG:
            self._places = max(self._places * _FEWER, min(_LEAST, self._most))
        else:
            self._places = min(self._places + _MORE, self._most)

    def given_up(self, ticket: Ticket, now: float) -> None:
        """One in the line waits no more. Idempotent."""
        self._expire(now)
        self._waiting.pop(ticket.number, None)
        entry = self._keys.get(ticket.key)
        if entry is not None:
            entry.line.discard(ticket.number)

    def _entry(self, key: str) -> _Key:
        entry = self._keys.get(key)
        if entry is None:
            entry = self._keys[key] = _Key()
            self._forget()
        self._keys.move_to_end(key)
        return entry

    def _forget(self) -> None:
        """Of too many keys, the least recently asked of which nothing is sent."""
        for key, entry in self._keys.items():
            if len(self._keys) <= _KEYS:
                return
            if not entry.running and not entry.line:
                del self._keys[key]
                return

    def _ticket(self, key: str, asker: str) -> Ticket:
        self._count += 1
        return Ticket(self._count, key, asker)

    def _may_refer(self, entry: _Key, asker: str) -> bool:
        """Whether there is somebody to be named, and naming was not tried before."""
        known = entry.receivers
        return known.has_another(asker, self.behind) and not known.was_referred(asker)

    def _has_place(self, entry: _Key, *, urgent: bool) -> bool:
        """What nobody got yet may go though the places are taken: else no tree grows."""
        most = 1 if self.slow else self._limits.peer_segment_transfers
        if len(entry.running) >= most:
            return False
        everything = self._limits.peer_transfers
        if urgent:
            return len(self._started) < everything
        first = not entry.running and not entry.receivers.has_another("", self.behind)
        places = min(int(self._places) * (2 if first else 1), everything)
        sending = len(self._started) - self._resting
        return sending < places and len(self._started) < min(2 * places, everything)

    def _start(self, entry: _Key, ticket: Ticket, now: float) -> None:
        entry.running[ticket.number] = ticket
        self._started[ticket.number] = _Transfer(ticket, now)

    def _admit_waiting(self, now: float) -> tuple[Ticket, ...]:
        """Those that have waited longest, of keys that have a place."""
        admitted = []
        for number, (ticket, zone, urgent) in list(self._waiting.items()):
            if len(self._started) >= self._limits.peer_transfers:
                break
            entry = self._entry(ticket.key)
            if self._has_place(entry, urgent=urgent):
                del self._waiting[number]
                entry.line.discard(number)
                self._start(entry, ticket, now)
                entry.receivers.put(ticket.asker, zone, State.GETTING)
                admitted.append(ticket)
        return tuple(admitted)

    def _refer(self, entry: _Key, asker: str, zone: str) -> Referred:
        peers = entry.receivers.name(asker, zone, self.behind)
        if peers:
            entry.receivers.put(asker, zone, State.REFERRED)
        retry = min(max(self._duration, _SOONEST), _LATEST)
        return Referred(peers, retry)

    def _expire(self, now: float) -> None:
        while self._started:
            transfer = next(iter(self._started.values()))
            if now - transfer.began < _LOST:
                return
            ticket = transfer.ticket
            self._resting -= transfer.go_on(now)
            del self._started[ticket.number]
            self._entry(ticket.key).running.pop(ticket.number, None)
