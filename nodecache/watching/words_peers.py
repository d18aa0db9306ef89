"""What events of the peers mean to a person, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nodecache import events
from nodecache.events import Event
from nodecache.watching.troubles import Over, Trouble, Words

_FAILED: Final[Mapping[str, str]] = {
    "refused": "Is nodecache running there, and its peer port open to this node?",
    "timeout": "Is that node overloaded, or the network to it broken?",
    "corrupt": "Its bytes were dropped. If it repeats, look at that node's disk and memory.",
    "stranger": "Give all nodes the same file of secrets; the clocks must agree within 30 s.",
    "version": "The two run releases that do not share: finish the roll-out.",
}
_BY_ITSELF: Final = "Nothing has to be done: others are asked, and this one again in a while."


def _failed(event: events.PeerFailed) -> Trouble:
    return Trouble(
        key=("peer", event.peer, event.kind),
        problem=f"peer {event.peer} failed ({event.what}, {event.kind}): {event.reason}",
        next_step=_FAILED.get(event.kind, _BY_ITSELF),
        grave=event.kind in {"corrupt", "stranger"},
    )


_ASIDE: Final = Words(
    key=("aside", "{0.peer}"),
    problem="peer {0.peer} is left alone for now: {0.reason}",
    next_step=_BY_ITSELF,
)
_UNFOUND: Final = Words(
    key=("discovery",),
    problem="the peers ({0.target}) were not found, those known stay: {0.reason}",
    next_step="Look at the name given as peers, and at the cluster's DNS.",
)
_UNREAD: Final = Words(
    key=("secrets",),
    problem="the peers' secrets could not be read: {0.reason}",
    next_step="Look at the file of secrets; the old ones are used meanwhile.",
    grave=True,
)


def _health(event: events.PeerHealth) -> Trouble | Over:
    aside = _ASIDE(event)
    return Over(aside.key) if event.up or event.gone else aside


def _secrets(event: events.SecretsRead) -> Trouble | Over:
    unread = _UNREAD(event)
    return unread if event.reason else Over(unread.key)


def _off(event: events.PeersOff) -> Trouble | Over:
    if not event.off:
        return Over(("peers off",))
    return Trouble(
        key=("peers off",),
        problem=f"no peer is asked for {max(1, event.pause_seconds):.0f} s: {event.reason}",
        next_step="Look at this node's own network: most of the others do not answer it.",
        grave=True,
    )


def _suspected(event: events.PeerSuspected) -> Trouble:
    what = f"segments {event.segments} of {event.digest}"
    ours = event.whose == "ours"
    says = f"peer {event.peer} says that our {what} are wrong"
    return Trouble(
        key=("suspect", event.peer, event.whose),
        problem=says if ours else f"peer {event.peer} sent wrong bytes: {what}",
        next_step=f"They were dropped. If it repeats, look at {'this' if ours else 'that'} node's"
        " disk and memory.",
        grave=True,
    )


PEERS: Final[Mapping[type[Event], Callable[[Any], Trouble | Over | None]]] = {
    events.PeerFailed: _failed,
    events.PeerHealth: _health,
    events.PeersOff: _off,
    events.DiscoveryFailed: _UNFOUND,
    events.DiscoveryWorks: lambda _: Over(_UNFOUND.key),
    events.PeerSuspected: _suspected,
    events.SecretsRead: _secrets,
}
