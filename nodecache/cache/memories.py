"""What this node and the others remember of a tag, for when upstream fails.

What a peer says is served and not kept: an imported tag stays on its node,
and a meaning that upstream gave to others long ago is no news from upstream.
"""

from __future__ import annotations

from nodecache.cache.entries import TagKey
from nodecache.cache.gate import is_signature
from nodecache.cache.hot import Known
from nodecache.cache.manifests import Manifests
from nodecache.cache.ports import Others
from nodecache.failures import Failure, UpstreamFailure
from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Repository
from nodecache.seams import WallClock


class Memories:
    def __init__(self, manifests: Manifests, others: Others, wall: WallClock) -> None:
        self._manifests = manifests
        self._others = others
        self._wall = wall

    async def entries(
        self, key: TagKey, ours: tuple[TagEntry, ...], failure: Failure
    ) -> tuple[TagEntry, ...]:
        """What the tag is known to mean, the youngest first; ``ours`` are of this node.

        ``failure`` is why upstream does not say. That there is no signature
        (yet) is an answer: it is polled for, and not worth a search.
        """
        absent = isinstance(failure, UpstreamFailure) and failure.is_absence
        if not self._others.live() or (absent and is_signature(str(key[1]))):
            return ours
        if ours and ours[0].imported:
            return ours
        try:
            meaning = await self._others.meaning(*key, known=bool(ours))
        except UpstreamFailure:
            return ours
        if meaning is None:
            return ours
        theirs = TagEntry(
            str(meaning.digest),
            meaning.media_type,
            meaning.size,
            self._wall() - meaning.age,
        )
        return _youngest_first(ours, theirs)

    async def manifest(self, repository: Repository, digest: Digest) -> Known | None:
        """From here or from a peer; None where nobody has it."""
        known = await self._manifests.local(digest)
        if known is not None or not self._others.live():
            return known
        try:
            fetched = await self._others.manifest(repository, digest)
            return None if fetched is None else await self._manifests.keep(fetched)
        except UpstreamFailure:
            return None


def _youngest_first(ours: tuple[TagEntry, ...], theirs: TagEntry) -> tuple[TagEntry, ...]:
    """Each digest once, with its youngest entry; of the same age, ours first."""
    ordered = sorted((*ours, theirs), key=lambda entry: -entry.checked_at)
    found: dict[str, TagEntry] = {}
    for entry in ordered:
        found.setdefault(entry.digest, entry)
    return tuple(found.values())
