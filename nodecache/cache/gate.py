"""The gate before every upstream: may it be asked about this, now?

It stays shut while the node is offline, while the upstream as a whole is
known to fail, and for the seconds in which its last answer about the very
same subject still counts (clients repeat a failed request up to five times).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime

from nodecache.cache.policy import Policy
from nodecache.cache.ports import Upstream, Upstreams
from nodecache.failures import Failure, OfflineMiss, UpstreamFailure, UpstreamKind
from nodecache.freshness import Absences
from nodecache.limits import Timeouts
from nodecache.reference import Digest, Reference, Repository

T = TypeVar("T")

#: Failures that the upstream room remembers itself, as being about the upstream as a whole.
_OF_THE_UPSTREAM: Final = frozenset(
    {UpstreamKind.TIMEOUT, UpstreamKind.UNREACHABLE, UpstreamKind.DOWN}
)
#: Tags that signing tools poll: ``sha256-<hex>``, with or without a suffix.
_SIGNATURE: Final = "sha256-"


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
    """``policy`` is read anew for each question."""

    def __init__(
        self,
        upstreams: Upstreams,
        policy: Callable[[], Policy],
        clock: IReactorTime,
        timeouts: Timeouts,
    ) -> None:
        self._upstreams = upstreams
        self._policy = policy
        self._clock = clock
        self._timeouts = timeouts
        self._absences = Absences()

    @property
    def offline(self) -> bool:
        return self._policy().offline

    def down(self, repository: Repository) -> bool:
        """Whether the upstream as a whole is known to fail."""
        return self._upstreams.get(repository.namespace).down() is not None

    def is_failing(self, repository: Repository) -> bool:
        """Nothing new can be had from the upstream, for whatever reason."""
        return self.offline or self.down(repository)

    def check(self, subject: Subject) -> Upstream:
        """The upstream to ask. Raises OfflineMiss or UpstreamFailure while the gate is shut."""
        if self.offline:
            raise OfflineMiss(str(subject))
        known = self._absences.recall(subject, self._clock.seconds())
        if known is not None:
            raise known
        upstream = self._upstreams.get(subject.repository.namespace)
        down = upstream.down()
        if down is not None:
            raise down
        return upstream

    def refusal(self, subject: Subject) -> Failure | None:
        """Why ``subject`` can not be asked for now; None where it can."""
        try:
            self.check(subject)
        except Failure as failure:
            return failure
        return None

    async def ask(self, subject: Subject, question: Callable[[Upstream], Awaitable[T]]) -> T:
        """Put ``question`` to the upstream, and remember that it failed.

        Raises OfflineMiss, UpstreamFailure.
        """
        upstream = self.check(subject)
        try:
            return await question(upstream)
        except UpstreamFailure as failure:
            self.remember(subject, failure)
            raise

    def remember(self, subject: Subject, failure: UpstreamFailure) -> None:
        """Answer ``subject`` with ``failure`` for some seconds."""
        life = self._life(subject, failure)
        if life > 0:
            self._absences.remember(subject, self._clock.seconds() + life, failure)

    def _life(self, subject: Subject, failure: UpstreamFailure) -> float:
        """Seconds for which it is remembered; 0 where others see to that."""
        if failure.kind in _OF_THE_UPSTREAM or (failure.status or 0) >= 500:
            return 0.0
        if failure.is_absence and not subject.reference.startswith(_SIGNATURE):
            return self._timeouts.absent
        # A signature may be pushed any moment; a wrong or cut answer may be right the next time.
        return min(self._timeouts.absent_signature, self._timeouts.absent)
