"""What one node asks another."""

from __future__ import annotations

import enum

import attrs

from nodecache.byteranges import Span
from nodecache.reference import Digest, Reference, Repository


class Mode(enum.Enum):
    """Whoever is asked with MAY_FETCH acts as owner; nobody ever forwards."""

    MAY_FETCH = "may-fetch"
    ONLY_IF_HAVE = "only-if-have"


@attrs.frozen
class BlobQuestion:
    """Bytes of a blob, within one segment.

    ``size`` is that of the blob where the asker knows it (from an answer or a
    manifest). ``seconds`` is the time the asker has left. ``verified``: only
    from a copy whose digest was found right (asked after a mismatch).
    ``as_owner``: the asker is to fetch it itself if nobody has it. ``wait``: seconds
    for which who is just getting it may keep the asker waiting for its first bytes.
    """

    repository: Repository
    digest: Digest
    span: Span
    mode: Mode
    seconds: float
    size: int | None = None
    verified: bool = False
    as_owner: bool = False
    wait: float = 0.0


@attrs.frozen
class ManifestQuestion:
    """A manifest. ``head``: of a tag, what it means; its bytes are not wanted.

    ``youth``, for a tag that is only to be told: what upstream said more than so
    many seconds ago is no answer. None: anything is. ``as_owner``: see BlobQuestion.
    """

    repository: Repository
    reference: Reference
    mode: Mode
    seconds: float
    head: bool
    youth: float | None = None
    as_owner: bool = False

    @property
    def key(self) -> str:
        """By what the nodes rank for it."""
        return manifest_key(self.repository, self.reference)


def manifest_key(repository: Repository, reference: Reference) -> str:
    """By what the nodes rank for a manifest, or for what a tag means."""
    if isinstance(reference, Digest):
        return str(reference)
    return f"{repository.namespace}/{repository.name}:{reference}"
