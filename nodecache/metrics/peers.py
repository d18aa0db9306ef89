"""What was shared with other nodes, and how they are."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from nodecache import events
from nodecache.metrics.room import Bounded, Room, Takers

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Peers(Room):
    """Which peer it was is no label: a cluster has thousands. Logs and ``/api/v1/peers`` tell."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._asked = self._counter(
            "peer_requests_total",
            "Questions to peers, by what became of them.",
            ("what", "mode", "outcome"),
        )
        self._seconds = self._histogram(
            "peer_request_seconds", "From a question to a peer to its answer.", _SECONDS, ("what",)
        )
        self._answered = self._counter(
            "peer_answers_total",
            "Questions of peers, by how they were answered.",
            ("what", "mode", "outcome"),
        )
        self._bytes = self._counter(
            "peer_bytes_total",
            "Body bytes from peers (in) and to peers (out), by the sender's role; "
            "those that came in did not cross the link to upstream again.",
            ("direction", "role"),
        )
        self._failures = self._counter(
            "peer_failures_total", "Peers put aside, by what they did.", ("what", "kind")
        )
        self._suspected = self._counter(
            "peer_suspected_total",
            "Times that bytes between peers were wrong, by whose they were.",
            ("whose",),
        )
        self._repairs = self._counter(
            "peer_repairs_total",
            "Blobs fetched again after bytes of peers were wrong.",
            ("source", "outcome"),
        )
        self._twice = self._counter(
            "peer_id_conflicts_total", "Times that another node answered with this one's id.", ()
        )
        self._outcome = Bounded()
        for whose in ("theirs", "ours"):
            self._suspected.labels(whose)

    def takers(self) -> Takers:
        return {
            events.PeerAsked: self._ask,
            events.PeerAnswered: self._answer,
            events.PeerBytes: self._count,
            events.PeerFailed: lambda e: self._failures.labels(e.what, e.kind).inc(),
            events.PeerIdTwice: lambda _: self._twice.inc(),
            events.PeerSuspected: lambda e: self._suspected.labels(e.whose).inc(),
            events.Repaired: lambda e: self._repairs.labels(e.source, e.outcome).inc(),
        }

    def _ask(self, event: events.PeerAsked) -> None:
        self._asked.labels(event.what, event.mode, self._outcome(event.outcome)).inc()
        self._seconds.labels(event.what).observe(event.seconds)

    def _answer(self, event: events.PeerAnswered) -> None:
        self._answered.labels(event.what, event.mode, self._outcome(event.outcome)).inc()

    def _count(self, event: events.PeerBytes) -> None:
        self._bytes.labels(event.direction, event.role).inc(event.bytes)


class Cluster(Room):
    """The view of the other nodes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self._known = self._gauge("peers_known", "Other nodes that are known.")
        self._live = self._gauge("peers_live", "Other nodes that are asked.")
        self._addresses = self._gauge("peers_addresses", "Addresses that the view is made of.")
        self._age = self._gauge(
            "peers_view_age_seconds", "Since the last good answer of DNS, when last looked at."
        )
        self._off = self._gauge("peers_off", "1 while no peer is asked, since most failed.")
        self._failed = self._counter(
            "peers_lookup_failures_total", "Times that the name of the peers began to fail."
        )
        self._secrets = self._gauge("peer_secrets", "Secrets that are accepted.")

    def takers(self) -> Takers:
        return {
            events.PeersSeen: self._seen,
            events.PeersOff: lambda event: self._off.set(event.off),
            events.DiscoveryFailed: lambda _: self._failed.inc(),
            events.SecretsRead: lambda event: self._secrets.set(event.count),
        }

    def _seen(self, event: events.PeersSeen) -> None:
        self._known.set(event.known)
        self._live.set(event.live)
        self._addresses.set(event.addresses)
        self._age.set(event.age_seconds)
