"""One search for one segment."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from nodecache.failures import PeerFailure, PeerKind
from nodecache.membership import Address
from nodecache.peerwire.answers import (
    Elsewhere,
    Fetching,
    Refusal,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.questions import Mode
from nodecache.sourcing.candidates import (
    RANKED,
    Candidate,
    Why,
    asked_by_an_owner,
    asked_by_others,
)
from nodecache.sourcing.steps import Ask, Pause, Refused, SearchBudget, Step, Upstream

#: The part of the silence that is left which one peer may take, so that the next is asked as well.
_SHARE: Final = 2 / 3

#: The part of a peer's silence for which it may keep us waiting.
_WAIT: Final = 0.6

#: Seconds. After "not yet" the next one is asked later each time, from and up to this: who is
#: left alone for longer may have it meanwhile, and the last nodes of a herd wait for nothing else.
_SOONEST: Final = 0.05
_LATEST: Final = 0.5

#: Seconds. So long who asks to come again and again is left alone at most, if it names no time.
_LONGEST_PAUSE: Final = 0.5

#: Of the silence, the part after which what is left is too little to ask anybody.
_ENOUGH: Final = 0.9

_SILENT: Final = frozenset({PeerKind.TIMEOUT, PeerKind.REFUSED})


class Search:
    """Whom to ask for one segment (or manifest), until somebody gives it or nobody does.

    ``ranked`` are node ids, the best first (``me`` may be among them; three
    count). ``as_owner``: a peer asked this node to fetch. ``holders`` are peers
    known or likely to have it, the best first: three are asked before the owner,
    all of them by an owner. ``asked_stand_ins``: this has been done for the
    lane and fill; those who rank before an owner are asked each time, since
    others take them for the owner. ``started`` and ``now`` are seconds of one
    clock.

    Each ``Ask`` is followed by ``answered`` or ``failed``, unless bytes came.
    When these break off, another search is made, and told of the peers that
    ``failed`` before its first step.
    """

    def __init__(
        self,
        ranked: Sequence[str],
        me: str,
        *,
        as_owner: bool,
        holders: Sequence[str],
        asked_stand_ins: bool,
        started: float,
        budget: SearchBudget,
    ) -> None:
        self._me = me
        self._budget = budget
        self._deadline = started + budget.seconds
        self._longest = started + budget.longest
        first = list(ranked[:RANKED])
        #: Whether nobody is made to fetch it by this search.
        self.as_owner = as_owner or first[:1] == [me]
        self._line = deque(
            asked_by_an_owner(first, me, holders, asked_stand_ins=asked_stand_ins)
            if self.as_owner
            else asked_by_others(first, me, holders)
        )
        self._referrals: deque[Candidate] = deque()
        self._asking: tuple[Candidate, float] | None = None
        self._again: tuple[Candidate, float] | None = None
        self._pause: float | None = None
        self._end: Upstream | Refused | None = None
        self._gone: set[str] = {me}
        self._lacking: set[str] = set()
        self._round: set[str] = set()
        self._in_a_row = 0
        self._silence = 0.0
        self._only_if_have = False
        self._started = self._follow_until = started
        self._follow_pause = self._lull = 0.0
        self._returns = 0
        self.questions = 0
        #: Peers that were named in referrals.
        self.referred: dict[str, Address] = {}
        self._deputy: str | None = None

    def offer(self, peer: str, patience: float) -> None:
        """Before the first step: ask ``peer`` before those that rank, as their deputy.

        While it names others, or asks to come again, it is followed, for
        ``patience`` seconds. An owner asks no deputy.
        """
        if self.as_owner:
            return
        others = [each for each in self._line if each.peer != peer]
        place = next((n for n, each in enumerate(others) if each.why is Why.RANK), 0)
        others.insert(place, Candidate(peer, Mode.ONLY_IF_HAVE, Why.DEPUTY))
        self._deputy = peer
        self._line = deque(others)
        self._follow_until = self._started + patience

    def take_over(self) -> None:
        """A peer waits for this node to fetch it: from the next step on as an owner does.

        Idempotent. Whoever is asked now, or has named others, is not dropped.
        """
        self.as_owner = self._only_if_have = True
        self._line = deque(each for each in self._line if each.why is not Why.DEPUTY)
        self._follow_until = self._started

    @property
    def asked_stand_ins(self) -> bool:
        """As an owner: all who rank have been asked whether they have it."""
        waiting = {each.peer for each in self._line if each.why is Why.RANK}
        return self.as_owner and not waiting

    def is_told_of(self, peer: str) -> bool:
        """Whether it is the deputy, or was named by somebody."""
        return peer == self._deputy or peer in self.referred

    # What is next

    def next(self, now: float) -> Step:
        """The next step. ``Upstream`` and ``Refused`` are final."""
        if self._end is None and self._is_spent(now):
            self._end = Upstream()
        if self._end is not None:
            return self._end
        if self._pause is not None:
            return self._paused(now)
        candidate = self._referral()
        if candidate is None and self._again is not None:
            self._come_back(now)
            return self._paused(now)
        candidate = candidate or self._in_line()
        if candidate is None:
            self._end = Upstream()
            return self._end
        return self._ask(candidate, now)

    def _is_spent(self, now: float) -> bool:
        return (
            now >= min(self._deadline, self._longest)
            or self._silence >= self._budget.silence * _ENOUGH
            or self.questions >= self._budget.questions
        )

    def _paused(self, now: float) -> Pause:
        pause, self._pause = self._pause or 0.0, None
        left = min(self._deadline, self._longest) - now
        return Pause(min(max(pause, self._budget.pause), left))

    def _referral(self) -> Candidate | None:
        while self._referrals and self._in_a_row < self._budget.referrals:
            candidate = self._referrals.popleft()
            if candidate.peer not in self._gone and candidate.peer not in self._round:
                self._in_a_row += 1
                return candidate
        self._referrals.clear()
        return None

    def _in_line(self) -> Candidate | None:
        while self._line:
            candidate = self._line.popleft()
            if candidate.peer not in self._gone | self._lacking:
                if self._only_if_have:
                    return attrs.evolve(candidate, mode=Mode.ONLY_IF_HAVE)
                return candidate
        return None

    def _ask(self, candidate: Candidate, now: float) -> Ask:
        self._round.add(candidate.peer)
        self._asking = candidate, now
        self.questions += 1
        left = self._budget.silence - self._silence
        silence = left * _SHARE if left > self._budget.silence / 2 else left
        patient = candidate.mode is Mode.ONLY_IF_HAVE and not self.as_owner
        wait = silence * _WAIT if patient else 0.0
        return Ask(candidate.peer, candidate.mode, silence, candidate.address, self.as_owner, wait)

    def _come_back(self, now: float) -> None:
        """To the peer that named others, now that all of them have been asked."""
        assert self._again is not None
        candidate, due = self._again
        self._again, self._pause = None, max(0.0, due - now)
        self._begin_round(candidate)

    def _begin_round(self, candidate: Candidate) -> None:
        self._round.clear()
        self._in_a_row = 0
        self._line.appendleft(candidate)

    # What came of it

    def answered(self, peer: str, refusal: Refusal, now: float) -> None:
        """``peer``, which was asked, gives no bytes; this is why."""
        candidate = self._taken(peer)
        if candidate is None:
            return
        match refusal:
            case Fetching(retry):
                self._hope(now)
                self._pause = retry
                self._begin_round(candidate)
            case Elsewhere():
                self._go_elsewhere(candidate, refusal, now)
            case UpstreamAbsent() if candidate.mode is Mode.MAY_FETCH:
                self._end = Refused(refusal)
            case UpstreamBroken() if candidate.mode is Mode.MAY_FETCH:
                self._gone.add(peer)
                self._only_if_have = True
            case _:
                self._gone_unless_referred(candidate)

    def failed(self, peer: str, failure: PeerFailure, now: float) -> None:
        """``peer`` was asked in vain, or broke off; it is not asked again."""
        self._gone.add(peer)
        if self._asking is None or self._asking[0].peer != peer:
            return
        if failure.problem in _SILENT:
            self._silence += max(0.0, now - self._asking[1])
        self._taken(peer)

    def _taken(self, peer: str) -> Candidate | None:
        if self._asking is None or self._asking[0].peer != peer:
            return None
        candidate, _ = self._asking
        self._asking = None
        if self._again is not None and self._again[0].peer in self._gone:
            self._again = None
        return candidate

    def _hope(self, now: float) -> None:
        """It is in the cluster, or will be: waiting is better than fetching it once more."""
        self._deadline = max(self._deadline, now + self._budget.seconds)

    def _go_elsewhere(self, candidate: Candidate, refusal: Elsewhere, now: float) -> None:
        """Its referrals come next, in its order; then it is asked again itself."""
        named = [(peer, address) for peer, address in refusal.peers if peer not in self._gone]
        if named:
            self._hope(now)
        self.referred.update(named)
        self._lacking.difference_update(peer for peer, _ in named)
        for peer, address in reversed(named):
            self._referrals.appendleft(Candidate(peer, Mode.ONLY_IF_HAVE, Why.REFERRAL, address))
        if refusal.leaving:
            self._gone.add(candidate.peer)
        elif candidate.why is Why.DEPUTY:
            self._follow(candidate, refusal.retry, now)
        elif self._comes_back(candidate):
            if not self.as_owner:
                self._hope(now)  # who names nobody has it or is getting it, and no place yet
            least = min(self._budget.pause * 2**self._returns, _LONGEST_PAUSE)
            self._returns += 1
            self._again = candidate, now + max(refusal.retry, least)
        elif not named and not self.as_owner:
            self._not_yet(refusal.retry, now)

    def _not_yet(self, retry: float, now: float) -> None:
        """It is getting it and has no byte: the others that were named are likely no further."""
        self._hope(now)
        self._lull = min(max(retry, 2 * self._lull, _SOONEST), max(retry, _LATEST))
        self._pause = self._lull
        if self._again is not None and not self._referrals:
            # The last that was named: who named it says itself when to come again.
            self._pause = min(self._lull, max(0.0, self._again[1] - now))

    def _follow(self, deputy: Candidate, retry: float, now: float) -> None:
        """Each time the pause is twice as long, up to a bound."""
        if now < self._follow_until:
            self._follow_pause = min(max(retry, 2 * self._follow_pause), max(retry, _LONGEST_PAUSE))
            self._again = deputy, now + self._follow_pause

    def _comes_back(self, candidate: Candidate) -> bool:
        return candidate.why is Why.RANK or (self.as_owner and candidate.why is Why.HOLDER)

    def _gone_unless_referred(self, candidate: Candidate) -> None:
        """One that is just getting it may be named later, and have it then."""
        if candidate.why is not Why.REFERRAL:
            self._lacking.add(candidate.peer)
