"""The gate before every upstream: may it be asked about this, now?

It stays shut while the node is offline, while the upstream as a whole is
known to fail, and for the seconds in which its last answer about the very
same subject still counts (clients repeat a failed request up to five times).

Where there are other nodes, the first two only narrow it: the upstreams behind
the gate then ask those, and know by themselves not to ask upstream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs

from nodecache.cache.ports import Alone, Others, Upstream, Upstreams
from nodecache.cache.tools import Tools
from nodecache.failures import Failure, OfflineMiss, UpstreamFailure, UpstreamKind
from nodecache.freshness import Absences
from nodecache.reference import Digest, Reference, Repository
from nodecache.sharing.manifest_answers import ToldByPeer

T = TypeVar("T")

#: Failures that the upstream room remembers itself, as being about the upstream as a whole.
_OF_THE_UPSTREAM: Final = frozenset(
    {UpstreamKind.TIMEOUT, UpstreamKind.UNREACHABLE, UpstreamKind.DOWN}
)
#: Tags that signing tools poll: ``sha256-<hex>``, with or without a suffix.
_SIGNATURE: Final = "sha256-"


def is_signature(reference: str) -> bool:
    """Whether it is a tag that signing tools poll."""
    return reference.startswith(_SIGNATURE)


@attrs.frozen
class Subject:
    """What a question is about. ``kind`` is manifest, blob, tags or referrers."""

    kind: str
    repository: Repository
    reference: str

    @classmethod
    def manifest(cls, repository: Repository, reference: Reference) -> Subject:
        return cls("manifest", repository, str(reference))

    @classmethod
    def blob(cls, repository: Repository, digest: Digest) -> Subject:
        return cls("blob", repository, str(digest))

    def __str__(self) -> str:
        mark = "@" if ":" in self.reference else ":"
        return f"{self.repository}{mark}{self.reference}"


class Gate:
    """``direct`` is the gate before the upstreams without other nodes, where
    there are any: what upstream itself said is remembered there, for both.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        tools: Tools,
        others: Others | None = None,
        direct: Gate | None = None,
    ) -> None:
        self._upstreams = upstreams
        self._policy = tools.policy
        self._clock = tools.clock
        self._timeouts = tools.timeouts
        self._others = others or Alone()
        self.direct = direct or self
        self.absences = Absences()

    @property
    def is_shared(self) -> bool:
        """Whether there are other nodes behind it, now."""
        return self._others.live()

    @property
    def offline(self) -> bool:
        return self._policy().offline

    def down(self, repository: Repository) -> bool:
        """Whether the upstream as a whole is known to fail."""
        return self._upstreams.get(repository.namespace).down() is not None

    def is_failing(self, repository: Repository) -> bool:
        """Nothing new can be had from the upstream, for whatever reason, nor through a peer."""
        if self.offline:
            return True
        return self.down(repository) and not self._others.reach(repository.namespace)

    def check(self, subject: Subject) -> Upstream:
        """The upstream to ask. Raises OfflineMiss or UpstreamFailure while the gate is shut."""
        others = self._others.live()
        if self.offline and not others:
            raise OfflineMiss(str(subject))
        known = self._recall(subject)
        if known is not None:
            raise known
        upstream = self._upstreams.get(subject.repository.namespace)
        down = upstream.down()
        if down is not None and not others:
            raise down
        return upstream

    def _recall(self, subject: Subject) -> UpstreamFailure | None:
        if self.offline:
            return None
        now = self._clock.seconds()
        known = self.absences.recall(subject, now)
        return known or self.direct.absences.recall(subject, now)

    async def ask(self, subject: Subject, question: Callable[[Upstream], Awaitable[T]]) -> T:
        """Put ``question`` to the upstream, and remember that it failed.

        Raises OfflineMiss, UpstreamFailure.
        """
        upstream = self.check(subject)
        try:
            return await question(upstream)
        except UpstreamFailure as failure:
            raise self.remember(subject, failure) from failure

    def remember(self, subject: Subject, failure: UpstreamFailure) -> Failure:
        """Answer ``subject`` with ``failure`` for some seconds; what is to be raised now."""
        told = self.told(subject, failure)
        if told is not failure:
            return told
        life = self._life(subject, failure)
        if life > 0:
            # Two nodes that tell on what they only heard would never forget it.
            gate = self if isinstance(failure, ToldByPeer) else self.direct
            gate.absences.remember(subject, self._clock.seconds() + life, failure)
        return failure

    def told(self, subject: Subject, failure: UpstreamFailure) -> Failure:
        """What ``failure`` is to who asked: offline only peers were, and none of them has it."""
        if self.offline and self._others.live():
            return OfflineMiss(str(subject))
        return failure

    def _life(self, subject: Subject, failure: UpstreamFailure) -> float:
        """Seconds for which it is remembered; 0 where others see to that."""
        if failure.kind in _OF_THE_UPSTREAM or (failure.status or 0) >= 500:
            return 0.0
        if failure.is_absence and not is_signature(subject.reference):
            return self._timeouts.absent
        # A signature may be pushed any moment; a wrong or cut answer may be right the next time.
        return min(self._timeouts.absent_signature, self._timeouts.absent)
