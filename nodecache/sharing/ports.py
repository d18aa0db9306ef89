"""What sharing needs of the peers: no more than this.

``nodecache.peers.Peers`` fits these protocols as it is; so does the fake of the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from nodecache.membership import Peer
from nodecache.peerwire.answers import Bytes, ManifestAnswer, Refusal
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion
from nodecache.reference import Digest
from nodecache.seams import BlobBody


class View(Protocol):
    """Who may be asked, at one moment. Does not change."""

    @property
    def me(self) -> Peer: ...

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The others that may be asked now, in no order of preference."""
        ...

    @property
    def behind(self) -> frozenset[str]:
        """Those of the others whose link is slow."""
        ...

    def rank(self, key: str, most: int) -> tuple[Peer, ...]:
        """The first ``most`` for ``key``, ``me`` among them."""
        ...

    def former(self, key: str, most: int) -> tuple[str, ...]:
        """Peers that would be among these if they were not slow."""
        ...

    def get(self, peer_id: str, /) -> Peer | None: ...


class PeerBody(BlobBody, Protocol):
    """A peer's bytes; ``answer`` is what came with them."""

    @property
    def answer(self) -> Bytes: ...


class Cluster(Protocol):
    """The other nodes. Every question raises PeerFailure, and nothing else; all can be cancelled.

    Keeps its own books of who fails; a peer it holds to have failed is not in
    the next ``view``. ``silence``: seconds after which a peer that has not
    answered has failed (TIMEOUT); at most, and by default, ``Timeouts.peer_silence``.
    """

    def view(self) -> View: ...

    async def ready(self) -> None:
        """Returns when the peers have been greeted, at the latest soon after the start."""
        ...

    async def blob(
        self, peer: Peer, question: BlobQuestion, silence: float | None = None
    ) -> PeerBody | Refusal: ...

    async def has_blob(self, peer: Peer, question: BlobQuestion) -> Bytes | Refusal:
        """Whether it has bytes of the span; nothing is begun there."""
        ...

    async def manifest(
        self, peer: Peer, question: ManifestQuestion, silence: float | None = None
    ) -> ManifestAnswer: ...

    async def suspect(
        self, peer: Peer, digest: Digest, sums: Mapping[int, tuple[int, ...]]
    ) -> None:
        """Tell ``peer`` what the CRC-32 of the blocks are, by segment, in which it was wrong."""
        ...
