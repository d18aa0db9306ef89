"""What a peer says of a manifest, judged. Pure."""

from __future__ import annotations

import hashlib
import math

import attrs

from nodecache.failures import PeerFailure, PeerKind, UpstreamFailure
from nodecache.peerwire.answers import Manifest, UpstreamAbsent
from nodecache.peerwire.questions import ManifestQuestion
from nodecache.reference import Digest


@attrs.frozen
class PeerManifest:
    """A manifest, or a tag's meaning, from a peer.

    ``body`` is None where only a HEAD was asked; else its bytes are those of
    ``digest``. ``age``: upstream said so that many seconds ago (0 for what a
    digest names: that does not change). ``fetched``: the peer asked upstream for it.
    """

    digest: Digest
    media_type: str
    size: int
    age: float
    peer: str
    fetched: bool
    content: bytes | None = attrs.field(repr=False, default=None)

    @property
    def body(self) -> bytes:
        """Asked for only where bytes were."""
        assert self.content is not None
        return self.content


class ToldByPeer(UpstreamFailure):
    """What a peer's upstream said. Not told on to other peers: they would tell it back."""

    @classmethod
    def of(cls, answer: UpstreamAbsent) -> ToldByPeer:
        return cls(answer.kind, answer.message, status=answer.status)


def judge(answer: Manifest, question: ManifestQuestion, peer: str) -> PeerManifest:
    """Raises PeerFailure: WRONG for what does not answer the question, CORRUPT for other bytes."""
    wanted = question.reference
    if isinstance(wanted, Digest) and answer.digest != wanted:
        raise PeerFailure(peer, PeerKind.WRONG, f"it answers with another manifest than {wanted}")
    age = answer.age or 0.0
    if not math.isfinite(age) or not answer.media_type or answer.size < 0:
        raise PeerFailure(peer, PeerKind.WRONG, "its answer is none")
    if not question.head:
        _check(answer, peer)
    return PeerManifest(
        digest=answer.digest,
        media_type=answer.media_type,
        size=answer.size,
        age=max(0.0, age),
        peer=peer,
        fetched=answer.fetched,
        content=None if question.head else answer.body,
    )


def _check(answer: Manifest, peer: str) -> None:
    if answer.body is None:
        raise PeerFailure(peer, PeerKind.WRONG, "it sent no bytes")
    if hashlib.sha256(answer.body).hexdigest() != answer.digest.hex:
        message = f"its bytes are not those of {answer.digest}"
        raise PeerFailure(peer, PeerKind.CORRUPT, message)
    if answer.size != len(answer.body):
        raise PeerFailure(peer, PeerKind.WRONG, "its size is not that of its bytes")
