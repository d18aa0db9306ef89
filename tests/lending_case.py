"""Fills that lend: peers that ask, and what is told of who is to blame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from nodecache.byteranges import Span
from nodecache.failures import PeerFailure, PeerKind
from nodecache.fill import Blame
from nodecache.limits import Limits
from nodecache.reference import Digest, Repository
from nodecache.results import Loan
from nodecache.segments import Spread
from tests.flight_case import ALPINE, SEGMENT, Client, FlightCase, small_limits

GONE = PeerFailure("p1", PeerKind.REFUSED, "no connection")
#: For a peer that does not know the size.
FAR = 1 << 40


def segment(index: int, total: int = FAR) -> Span:
    return Span(index * SEGMENT, min(total, (index + 1) * SEGMENT))


class Borrower(Client):
    """Reads what it was lent, and gives it back."""

    def __init__(self, loan: Loan, wanted: Span, **more: Any) -> None:
        stop = min(wanted.stop, loan.total)
        super().__init__(loan.readable, Span(min(wanted.start, stop), stop), **more)
        self.loan = loan

    def go(self) -> Borrower:
        super().go()
        return self

    def leave(self) -> None:
        super().leave()
        self.loan.close()

    def _end(self, outcome: str) -> None:
        self.outcome = outcome
        self.loan.close()


class Court(Blame):
    """Remembers what it was told; ``answer`` is what it says to a mismatch."""

    def __init__(self) -> None:
        self.answer = True
        self.wrong: list[tuple[Digest, dict[int, frozenset[str]], dict[int, tuple[int, ...]]]] = []
        self.right: list[tuple[Digest, dict[int, tuple[int, ...]]]] = []

    def mismatched(
        self,
        digest: Digest,
        senders: Mapping[int, frozenset[str]],
        sums: Mapping[int, tuple[int, ...]],
    ) -> bool:
        self.wrong.append((digest, dict(senders), dict(sums)))
        return self.answer and any(senders.values())

    def verified(self, digest: Digest, sums: Mapping[int, tuple[int, ...]]) -> None:
        self.right.append((digest, dict(sums)))


class LendingCase(FlightCase):
    """``wide`` is what fills begin with, ``spread`` how they read ahead."""

    wide = 1
    spread: Spread | None = None
    room_in_line: int | None = None
    limits: Limits = small_limits(peer_fills=3)

    def setUp(self) -> None:
        self.court = Court()
        super().setUp()

    def sharing(self) -> dict[str, Any]:
        return {
            "places": self.room_in_line,
            "width": lambda _digest, _total: self.wide,
            "spread": lambda _digest: self.spread,
            "blame": self.court,
        }

    def lending(
        self,
        digest: Digest,
        span: Span,
        *,
        fetch: bool = True,
        asker: str = "p9",
        name: Repository = ALPINE,
        size: int | None = None,
        wait: float = 0.0,
    ) -> Deferred[Loan | None]:
        return Deferred.fromCoroutine(
            self.fills.lend(name, digest, span, size, fetch=fetch, asker=asker, wait=wait)
        )

    def lent(self, digest: Digest, span: Span, **more: Any) -> Loan | None:
        lending = self.lending(digest, span, **more)
        self.turn()
        return self.successResultOf(lending)

    def borrow(self, digest: Digest, span: Span, **more: Any) -> Borrower:
        """A peer that reads on by itself."""
        loan = self.lent(digest, span, **more)
        assert loan is not None, "nothing was lent"
        return Borrower(loan, span).go()

    def holding(self, digest: Digest, span: Span, asker: str = "p9") -> int | None:
        return self.run_now(self.fills.holds(digest, span, asker))

    def linger(self) -> None:
        """Until a flight that nobody asks for has ended."""
        self.turn(self.timeouts.peer_linger)
        self.turn()

    def partial(self, digest: Digest, data: bytes, indexes: tuple[int, ...]) -> None:
        """As an earlier fill for peers has left it."""
        for index in indexes:
            self.borrow(digest, segment(index, len(data)))
        self.finish()
        self.linger()
        self.assertEqual(self.outcome(), "kept")
        self.origin.asked.clear()
        self.origin.bodies.clear()
