"""What is learned of peers by asking them: told to the membership, and as events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from nodecache.events import LinkBehind, PeerAsked, PeerBytes, PeerFailed, PeerHealth, PeersOff
from nodecache.failures import PeerFailure, PeerKind
from nodecache.membership.breaker import Trouble
from nodecache.membership.link import Link
from nodecache.membership.view import View
from nodecache.peerwire.answers import (
    Absent,
    BlobAnswer,
    Bytes,
    Denied,
    Elsewhere,
    Fetching,
    Manifest,
    ManifestAnswer,
    UpstreamAbsent,
)
from nodecache.peerwire.hello import Hello
from nodecache.seams import Observe


class Roll(Protocol):
    """The membership, as far as it is told how peers do; ``now`` is monotonic seconds."""

    @property
    def link(self) -> Link: ...

    @property
    def off_until(self) -> float: ...

    def view(self, now: float) -> View: ...

    def hello(self, now: float) -> Hello: ...

    def failed(self, peer_id: str, kind: PeerKind, now: float) -> float: ...

    def succeeded(self, peer_id: str, now: float) -> None: ...

    def left(self, peer_id: str, now: float) -> None: ...

    def all_off(self, now: float) -> bool: ...

    def aside(self, now: float) -> Mapping[str, Trouble]: ...


class Books:
    """``clock`` is an IReactorTime."""

    def __init__(self, roll: Roll, clock: Any, observe: Observe) -> None:
        self.roll = roll
        self._clock = clock
        self._observe = observe
        self._aside: frozenset[str] = frozenset()
        self._off = self._behind = False
        self._view: View | None = None
        self._heard: dict[str, float] = {}

    def heard(self, peer: str, size: int) -> None:
        """``size`` bytes of a body came from ``peer``, on whichever connection."""
        now = self._heard[peer] = self.now()
        self.roll.link.came(size, now)

    def lives(self, peer: str, silence: float) -> bool:
        """Whether ``peer`` was heard in the last ``silence`` seconds."""
        return self.now() - self._heard.get(peer, float("-inf")) < silence

    def now(self) -> float:
        return float(self._clock.seconds())

    def asked(
        self, peer: str, what: str, mode: str, began: float, outcome: str, *, head: bool = False
    ) -> None:
        seconds = self.now() - began
        self._observe(
            PeerAsked(peer=peer, what=what, mode=mode, outcome=outcome, seconds=seconds, head=head)
        )

    def answered(self, peer: str, answer: BlobAnswer | ManifestAnswer) -> None:
        """A real answer of a known peer, which may be a refusal."""
        now = self.now()
        self.roll.succeeded(peer, now)
        if isinstance(answer, Elsewhere) and answer.leaving:
            self.roll.left(peer, now)
        self.look()

    def failed(self, peer: str, what: str, kind: PeerKind, words: str) -> PeerFailure:
        """A known peer failed: it is put aside. The failure to be raised."""
        pause = self.roll.failed(peer, kind, self.now())
        failure = self.told(peer, what, kind, words, pause)
        self.look()
        return failure

    def told(
        self, peer: str, what: str, kind: PeerKind, words: str, pause: float = 0.0
    ) -> PeerFailure:
        """A failure that is not held against anybody.

        Of greetings ``PeerAsked`` and ``PeerHealth`` tell: nodes come and go.
        """
        if what != "hello":
            self._observe(
                PeerFailed(peer=peer, what=what, kind=kind.value, reason=words, pause_seconds=pause)
            )
        return PeerFailure(peer, kind, f"peer {peer}: {words}")

    def received(self, peer: str, mode: str, count: int) -> None:
        """Bytes of a blob that came from ``peer``; told at the end of each body."""
        role = "owner" if mode == "may-fetch" else "holder"
        self._observe(PeerBytes(peer=peer, direction="in", role=role, bytes=count))

    def look(self) -> View:
        """The view; whoever came back, and sharing that ended or began, is told of."""
        now = self.now()
        off = self.roll.all_off(now)
        if off != self._off:
            self._off = off
            pause = max(0.0, self.roll.off_until - now) if off else 0.0
            reason = "most peers failed, one after the other" if off else "peers answer again"
            self._observe(PeersOff(off=off, pause_seconds=pause, reason=reason))
        self._compare_links()
        view = self.roll.view(now)
        if view is not self._view:
            self._view = view
            self._heard = {id_: at for id_, at in self._heard.items() if view.get(id_)}
            self._compare(view, self.roll.aside(now))
        return view

    def _compare_links(self) -> None:
        link = self.roll.link
        if link.behind != self._behind:
            self._behind = link.behind
            self._observe(LinkBehind(behind=link.behind, bytes_per_second=link.best))

    def _compare(self, view: View, aside: Mapping[str, Trouble]) -> None:
        """Tell who was put aside, and what became of those that were, since the last view."""
        for peer in sorted(aside.keys() - self._aside):
            self._observe(PeerHealth(peer=peer, up=False, reason=aside[peer].kind.value))
        for peer in sorted(self._aside - aside.keys()):
            if self._off or view.get(peer) is not None:
                self._observe(PeerHealth(peer=peer, up=True, reason="it answers again"))
            else:
                reason = _gone(view, peer)
                self._observe(PeerHealth(peer=peer, up=False, reason=reason, gone=True))
        self._aside = frozenset(aside)


def _gone(view: View, peer: str) -> str:
    """Why somebody who failed is none of the peers any more, though nobody blames it."""
    for other in (*view.peers, view.me):
        if any(str(address) == peer for address in other.addresses):
            return f"it is known as {other.id} now"
    return "it is stopping, of another wire version, or was not met for too long"


def outcome_of(answer: BlobAnswer | ManifestAnswer) -> str:
    """The word of ``PeerAsked`` for an answer."""
    match answer:
        case Bytes(fetched=fetched) | Manifest(fetched=fetched):
            return "fetched" if fetched else "hit"
        case Fetching():
            return "fetching"
        case Elsewhere():
            return "referral"
        case Absent():
            return "absent"
        case UpstreamAbsent():
            return "upstream_absent"
        case Denied():
            return "denied"
        case _:
            return "upstream_failed"
