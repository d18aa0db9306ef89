"""Pulls without end, while a test does something to the cluster."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import attrs

from tests.system.cluster.cluster import Cluster
from tests.system.cluster.member import Member
from tests.system.cluster.pulls import Pulled
from tests.system.parts.images import Image


@attrs.define
class Traffic:
    """Herd after herd of a new small image in ``members``, until told to end."""

    made: Cluster
    members: Sequence[Member]
    done: list[tuple[Member, Image, Pulled]] = attrs.Factory(list)
    rounds: int = 0
    _end: threading.Event = attrs.Factory(threading.Event)
    _failed: list[BaseException] = attrs.Factory(list)

    def run(self) -> None:
        try:
            while not self._end.is_set():
                of = self.made.image(9)
                pulled = self.made.herd(self.members, of)
                self.done += [(one, of, how) for one, how in zip(self.members, pulled, strict=True)]
                self.rounds += 1
        except BaseException as failure:
            self._failed.append(failure)

    @property
    def ended(self) -> bool:
        """It failed, or was told to end."""
        return bool(self._failed) or self._end.is_set()

    def end(self) -> None:
        self._end.set()

    def check(self, *, mirror_alone: bool) -> None:
        """Every pull so far ended with the right bytes."""
        if self._failed:
            raise self._failed[0]
        for member, of, pulled in self.done:
            assert pulled.whole(of), (member.id, pulled)
            assert not (mirror_alone and pulled.fallbacks), (member.id, pulled.fallbacks)


@contextlib.contextmanager
def traffic(made: Cluster, members: Sequence[Member]) -> Iterator[Traffic]:
    """It runs within the block, and has ended its last round behind it."""
    flowing = Traffic(made, members)
    thread = threading.Thread(target=flowing.run)
    thread.start()
    try:
        yield flowing
    finally:
        flowing.end()
        thread.join()
