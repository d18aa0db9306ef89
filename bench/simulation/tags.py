"""A tag and its manifest, asked for by all nodes of a cluster at the same moment.

With the real search, deputies and admission, as in the simulation of a blob.
Each node asks what the tag means, and then for the manifest, first of who told
it. What counts is what upstream counts, and how many questions lie at one node.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bench.simulation.events import Events
from nodecache.admission import Admission
from nodecache.failures import PeerFailure, PeerKind
from nodecache.limits import Limits, Timeouts
from nodecache.membership import Address
from nodecache.peerwire.answers import Absent, Elsewhere, Fetching, Refusal
from nodecache.peerwire.questions import Mode
from nodecache.rendezvous import Roster
from nodecache.sourcing import (
    RANKED,
    Ask,
    Pause,
    Search,
    SearchBudget,
    deputy_of,
    has_deputies,
    ranks_of,
)

TAG, MANIFEST = "docker.io/library/app:latest", "sha256:" + "ab" * 32
_THERE = Address("10.0.0.1", 5001)


@attrs.frozen
class Wave:
    """Seconds. ``upstream``: until it has answered; ``hop`` and ``request`` as in Setting."""

    nodes: int
    upstream: float = 0.2
    hop: float = 0.0005
    request: float = 0.0006
    limits: Limits = attrs.field(factory=Limits)
    timeouts: Timeouts = attrs.field(factory=Timeouts)


@attrs.frozen
class Counted:
    """``heads`` and ``gets`` upstream. ``questions`` to peers by the node, in the mean.

    ``asked``: questions to the node that was asked most; ``at_once``: that lay at
    one node, unanswered, at most. ``last``: seconds until the last had the manifest.
    """

    nodes: int
    heads: int
    gets: int
    questions: float
    asked: int
    at_once: int
    last: float


class _Cluster:
    def __init__(self, wave: Wave) -> None:
        self.wave = wave
        self.events = Events()
        budget = SearchBudget.of(wave.timeouts, wave.limits)
        self.budget = attrs.evolve(budget, longest=budget.seconds)
        names = [f"node-{index:04}" for index in range(wave.nodes)]
        roster = Roster(names)
        most = ranks_of(wave.nodes)
        self.ranked = {key: list(roster.rank(key, most)) for key in (TAG, MANIFEST)}
        self.upstream = {TAG: 0, MANIFEST: 0}
        self.questions = 0
        self.nodes = {name: _Node(self, name) for name in names}


class _Node:
    def __init__(self, cluster: _Cluster, name: str) -> None:
        self.cluster = cluster
        self.id = name
        self.known: set[str] = set()
        self.heard = self.here = self.most_here = 0
        self.done = 0.0
        self._free_at = 0.0
        self._admission = Admission(cluster.wave.limits)
        self._flights: dict[str, list[Callable[[], None]]] = {}

    # What it wants.

    def begin(self) -> None:
        self.seek(TAG, (), lambda teller: self.seek(MANIFEST, teller, self._end))

    def _end(self, _: tuple[str, ...]) -> None:
        self.done = self.cluster.events.now

    def seek(
        self,
        key: str,
        holders: tuple[str, ...],
        then: Callable[[tuple[str, ...]], None],
        *,
        as_owner: bool = False,
    ) -> None:
        """``then`` is told who gave it; nobody, where upstream did."""
        ranked = self.cluster.ranked[key]
        search = Search(
            ranked[:RANKED],
            self.id,
            as_owner=as_owner,
            holders=holders,
            asked_stand_ins=key == TAG,
            started=self.cluster.events.now,
            budget=self.cluster.budget,
        )
        deputy = deputy_of(ranked, self.id, key)
        if deputy is not None:
            search.offer(deputy.peer, deputy.patience)
        self._go_on(_Quest(self, key, search, then))

    def _go_on(self, quest: _Quest) -> None:
        cluster = self.cluster
        step = quest.search.next(cluster.events.now)
        if isinstance(step, Ask):
            cluster.questions += 1
            cluster.events.after(cluster.wave.hop, cluster.nodes[step.peer].arrive, quest, step)
        elif isinstance(step, Pause):
            cluster.events.after(step.seconds, self._go_on, quest)
        else:
            self._from_upstream(quest.key, lambda: quest.then(()))

    def given(self, quest: _Quest, peer: str) -> None:
        self.known.add(quest.key)
        quest.then((peer,))

    def refused(self, quest: _Quest, peer: str, refusal: Refusal) -> None:
        quest.search.answered(peer, refusal, self.cluster.events.now)
        self._go_on(quest)

    def failed(self, quest: _Quest, peer: str) -> None:
        failure = PeerFailure(peer, PeerKind.TIMEOUT, "")
        quest.search.failed(peer, failure, self.cluster.events.now)
        self._go_on(quest)

    def _from_upstream(self, key: str, then: Callable[[], None]) -> None:
        """One question at a time; who asks meanwhile waits for its answer."""
        if key in self.known:
            then()
        elif key in self._flights:
            self._flights[key].append(then)
        else:
            self._flights[key] = [then]
            self.cluster.upstream[key] += 1
            self.cluster.events.after(self.cluster.wave.upstream, self._arrived, key)

    def _arrived(self, key: str) -> None:
        self.known.add(key)
        for then in self._flights.pop(key):
            then()

    # What it is asked.

    def arrive(self, quest: _Quest, ask: Ask) -> None:
        wave, now = self.cluster.wave, self.cluster.events.now
        self.heard += 1
        self._free_at = max(self._free_at, now) + wave.request
        wait = self._free_at - now
        if wait + 2 * wave.hop > ask.silence:
            self.cluster.events.after(ask.silence, quest.node.failed, quest, self.id)
            return
        self.here += 1
        self.most_here = max(self.most_here, self.here)
        self.cluster.events.after(wait, self._serve, _Asked(self, quest), ask.mode)

    def _serve(self, asked: _Asked, mode: Mode) -> None:
        key, timeouts = asked.quest.key, self.cluster.wave.timeouts
        if key in self.known:
            asked.give()
        elif mode is Mode.MAY_FETCH:
            self.cluster.events.after(timeouts.peer_patience, asked.refuse, Fetching(0.05))
            self.seek(key, (), lambda _: asked.give(), as_owner=True)
        else:
            asked.refuse(self._introduced(key, asked.quest))

    def _introduced(self, key: str, quest: _Quest) -> Refusal:
        ranked, asker = self.cluster.ranked[key], quest.node.id
        deputies = ranked[RANKED:] if has_deputies(len(self.cluster.nodes)) else []
        if self.id not in deputies or asker in ranked or quest.search.as_owner:
            return Absent()
        answer = self._admission.introduce(key, asker, self.cluster.events.now)
        if answer is None:
            return Absent()
        return Elsewhere(answer.retry, tuple((peer, _THERE) for peer in answer.peers))


@attrs.frozen
class _Quest:
    node: _Node
    key: str
    search: Search
    then: Callable[[tuple[str, ...]], None]


@attrs.define(eq=False)
class _Asked:
    """A question at a node, which is answered once."""

    at: _Node
    quest: _Quest
    over: bool = False

    def give(self) -> None:
        self._say(self.quest.node.given, self.quest, self.at.id)

    def refuse(self, refusal: Refusal) -> None:
        self._say(self.quest.node.refused, self.quest, self.at.id, refusal)

    def _say(self, answer: Callable[..., None], *words: object) -> None:
        if not self.over:
            self.over = True
            self.at.here -= 1
            cluster = self.at.cluster
            cluster.events.after(cluster.wave.hop, answer, *words)


def wave(setting: Wave) -> Counted:
    """All begin at once."""
    cluster = _Cluster(setting)
    for node in cluster.nodes.values():
        cluster.events.after(0.0, node.begin)
    cluster.events.run(60.0)
    nodes = list(cluster.nodes.values())
    assert all(node.done for node in nodes), "a node did not get it"
    return Counted(
        setting.nodes,
        cluster.upstream[TAG],
        cluster.upstream[MANIFEST],
        cluster.questions / setting.nodes,
        max(node.heard for node in nodes),
        max(node.most_here for node in nodes),
        max(node.done for node in nodes),
    )
