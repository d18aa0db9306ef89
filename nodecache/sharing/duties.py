"""What peers have asked of this node, and whom this node is waiting for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from nodecache.reference import Digest
from nodecache.rendezvous import Roster

K = TypeVar("K")

#: Ends what was entered; idempotent.
Leave: TypeAlias = Callable[[], None]


class Duties:
    """The segments that peers have asked this node to fetch, for as long as they wait for them.

    Who has the duty acts as owner, whatever its own view says: it goes
    upstream, and never back to a peer that might be waiting for it.

    Two nodes may each take themselves for the owner. Whoever of them goes
    upstream already is waited for by the other. While both still ask around,
    the one whose id goes first for the segment does not wait for the other:
    this order is the same in every view, so that nobody waits in a ring.
    """

    def __init__(self, me: str = "") -> None:
        self._me = me
        self._seeking: defaultdict[tuple[Digest, int], list[Callable[[], bool]]]
        self._seeking = defaultdict(list)
        self._upstream: Counter[tuple[Digest, int]] = Counter()
        self._segments: Counter[tuple[Digest, int]] = Counter()
        self._repairs: Counter[Digest] = Counter()

    @contextmanager
    def on(self, digest: Digest, segment: int, *, repair: bool = False) -> Iterator[None]:
        """Have the duty meanwhile. ``repair``: the peer takes verified bytes only."""
        key = digest, segment
        self._segments[key] += 1
        self._repairs[digest] += repair
        try:
            yield
        finally:
            _lower(self._segments, key, 1)
            _lower(self._repairs, digest, int(repair))

    def has(self, digest: Digest, segment: int) -> bool:
        return (digest, segment) in self._segments

    def repairs(self, digest: Digest) -> bool:
        """Whether a peer waits for verified bytes of ``digest``: no peer may be asked for them."""
        return self._repairs[digest] > 0

    def __len__(self) -> int:
        """Segments, each of them once."""
        return len(self._segments)

    @contextmanager
    def seeking(self, digest: Digest, segment: int, as_owner: Callable[[], bool]) -> Iterator[None]:
        """Meanwhile this node asks whether another has it, while ``as_owner`` acting as one."""
        key = digest, segment
        self._seeking[key].append(as_owner)
        try:
            yield
        finally:
            self._seeking[key].remove(as_owner)
            if not self._seeking[key]:
                del self._seeking[key]

    @contextmanager
    def upstream(self, digest: Digest, segment: int) -> Iterator[None]:
        """It asks upstream, or waits for its turn to."""
        with _counted(self._upstream, (digest, segment)):
            yield

    def brings(self, digest: Digest, segment: int, asker: str) -> bool:
        """Whether ``asker`` may wait for this node to bring it, and need not go upstream too."""
        key = digest, segment
        return key in self._upstream or (self._seeks(key) and self._goes_first(key, asker))

    def _seeks(self, key: tuple[Digest, int]) -> bool:
        return any(as_owner() for as_owner in self._seeking.get(key, ()))

    def _goes_first(self, key: tuple[Digest, int], asker: str) -> bool:
        return Roster((self._me, asker)).rank(f"{key[0]}/{key[1]}", 1) == (self._me,)


class Asking:
    """Which peers this node waits for, by segment: from the question to the body's end.

    Whoever is asked for a segment by a peer that it waits for itself refuses,
    for neither of the two would ever get it.
    """

    def __init__(self) -> None:
        self._waits: Counter[tuple[Digest, int, str]] = Counter()

    def enter(self, digest: Digest, segment: int, peer: str) -> Leave:
        """Returns what ends the wait, which is owed."""
        key = digest, segment, peer
        self._waits[key] += 1
        over = False

        def leave() -> None:
            nonlocal over
            if not over:
                over = True
                _lower(self._waits, key, 1)

        return leave

    def waits_for(self, peer: str, digest: Digest, segment: int) -> bool:
        return (digest, segment, peer) in self._waits

    def __len__(self) -> int:
        return len(self._waits)


@contextmanager
def _counted(counter: Counter[K], key: K) -> Iterator[None]:
    counter[key] += 1
    try:
        yield
    finally:
        _lower(counter, key, 1)


def _lower(counter: Counter[K], key: K, by: int) -> None:
    """Take ``by`` off; what is at zero is forgotten."""
    counter[key] -= by
    if counter[key] <= 0:
        del counter[key]
