"""Big clusters do not fit one DNS answer: what the nodes know of each other then.

Every node asks DNS once, and from then on greets; a greeting takes over all
that either side knows, in both directions. Rounds are counted, not seconds: in
one, every node greets one that it knows an address of.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import attrs

from nodecache.limits import LANES
from nodecache.rendezvous import hash64

#: Addresses of version 4 that one answer over TCP holds (64 KiB).
ANSWER = 4080


@attrs.frozen
class Knowledge:
    """After ``greetings`` of each node: ``mean`` and ``least`` part of the cluster known by id.

    ``owners`` are taken for that of a lane, in the mean of the lanes; ``agree``
    is the part of the nodes that take the most common one.
    """

    greetings: int
    mean: float
    least: float
    owners: float
    agree: float


class Views:
    """What each node knows, as sets of bits: ``named`` by id, ``listed`` by address only."""

    def __init__(self, nodes: int, seed: int, answer: int, *, shuffled: bool) -> None:
        self._nodes = nodes
        self._random = random.Random(seed)
        everyone = list(range(nodes))
        fixed = _bits(self._random.sample(everyone, min(answer, nodes)))
        self.named = [1 << index for index in everyone]
        self.listed = [
            _bits(self._random.sample(everyone, min(answer, nodes))) if shuffled else fixed
            for _ in everyone
        ]
        self._orders = [self._order(lane) for lane in range(LANES)]

    def _order(self, lane: int) -> list[tuple[int, bool]]:
        """Ids, and addresses standing for ids not known yet, as they rank for the lane."""
        key = hash64(f"views/{lane}")
        names = [(f"node-{index:04}", index, True) for index in range(self._nodes)]
        names += [(f"10.0.{index >> 8}.{index & 255}:5001", index, False) for _, index, _ in names]
        # The same numbers as nodecache.rendezvous computes for many at once.
        scored = sorted((_score(hash64(name), key), index, by_id) for name, index, by_id in names)
        return [(index, by_id) for _, index, by_id in scored]

    def greet(self) -> None:
        """One round."""
        for index in self._random.sample(range(self._nodes), self._nodes):
            other = self._whom(index)
            both = self.named[index] | self.named[other]
            self.named[index] = self.named[other] = both

    def _whom(self, index: int) -> int:
        """One whose id is not known yet, as long as there are such; found by a few throws."""
        reach = self.named[index] | self.listed[index]
        other = index
        for _ in range(50):
            other = self._random.randrange(self._nodes)
            if other != index and reach >> other & 1 and not self.named[index] >> other & 1:
                return other
        return other if reach >> other & 1 else index

    def _owner(self, index: int, order: Sequence[tuple[int, bool]]) -> tuple[int, bool]:
        named, listed = self.named[index], self.listed[index]
        for other, by_id in order:
            known = named >> other & 1
            if known if by_id else listed >> other & 1 and not known:
                return other, by_id
        raise AssertionError("a node knows itself")

    def knowledge(self, greetings: int) -> Knowledge:
        known = [each.bit_count() / self._nodes for each in self.named]
        beliefs = [
            Counter(self._owner(index, order)[0] for index in range(self._nodes))
            for order in self._orders
        ]
        return Knowledge(
            greetings,
            sum(known) / len(known),
            min(known),
            sum(map(len, beliefs)) / LANES,
            sum(max(each.values()) for each in beliefs) / LANES / self._nodes,
        )


def _bits(indexes: Sequence[int]) -> int:
    bits = 0
    for index in indexes:
        bits |= 1 << index
    return bits


def _score(name: int, key: int) -> int:
    word = (1 << 64) - 1
    first = (name ^ key) * 0xFF51AFD7ED558CCD & word
    return (first ^ first >> 32) * 0xC4CEB9FE1A85EC53 & word


def spread(
    nodes: int, seed: int, answer: int, *, shuffled: bool, rounds: int = 9
) -> list[Knowledge]:
    views = Views(nodes, seed, answer, shuffled=shuffled)
    found = [views.knowledge(0)]
    for number in range(1, rounds + 1):
        views.greet()
        found.append(views.knowledge(number))
    return found
