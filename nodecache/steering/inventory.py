"""What images are here, and how much of each.

An image is a tag, or a manifest that no tag leads to (pulled by digest, or
left behind by a tag that means another one now). Its size is that of all that
its manifests name, as far as they are here: of an index, the platforms that
were pulled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nodecache.failures import Failure
from nodecache.fill import Fills
from nodecache.freshness import TagEntry
from nodecache.reference import Digest, Image, Pattern, Repository, Tag, nearest
from nodecache.seams import WallClock
from nodecache.steering.outline import Outline, Part, outline
from nodecache.steering.verbs import NAMES, Refused
from nodecache.store import Census

#: Outlines kept in memory: they never change, and reading them takes the disk.
_KEPT: Final = 20_000
#: Images that are looked at in one turn of the reactor (some 0.2 ms each).
_BREATH: Final = 50
#: An index of indexes is legal, deeper than this it is a riddle.
_DEPTH: Final = 4


@attrs.frozen
class Reach:
    """All that an image is made of, as far as its manifests are here."""

    outlines: tuple[Outline, ...] = ()
    parts: tuple[Part, ...] = ()
    platforms: tuple[str, ...] = ()  # of an index: those whose manifests are here
    elsewhere: int = 0  # manifests of an index that are not here

    @property
    def manifests(self) -> set[Digest]:
        return {each.digest for each in self.outlines}

    @property
    def blobs(self) -> set[Digest]:
        return {part.digest for part in self.parts}


@attrs.frozen
class Listed:
    """One image. ``repository`` and ``tag`` are None where no tag leads to it.

    ``bytes`` of all it is made of, ``bytes_here`` of that; ``used_at`` in
    seconds since the epoch.
    """

    repository: Repository | None
    tag: Tag | None
    digest: Digest
    entry: TagEntry | None
    reach: Reach
    bytes: int
    bytes_here: int
    used_at: float

    @property
    def name(self) -> str:
        """As a person would type it."""
        if self.repository is None:
            return str(self.digest)
        return str(Image(self.repository, self.tag))

    @property
    def pinned(self) -> bool:
        return self.entry is not None and self.entry.pinned

    def is_meant_by(self, pattern: Pattern) -> bool:
        """An image without a name is meant by its digest, and by ``*``."""
        if self.repository is None:
            text = pattern.text
            return text == "*" or (text.startswith("sha256:") and str(self.digest).startswith(text))
        return pattern.matches(self.repository, self.tag, self.digest)


class Inventory:
    """Looking is no use of what is looked at."""

    def __init__(
        self,
        census: Census,
        fills: Fills,
        clock: IReactorTime,
        wall: WallClock,
        known: Collection[str],
    ) -> None:
        """``known`` are the namespaces of the node's upstreams, in their order."""
        self.known = known
        self._clock = clock
        self._census = census
        self._fills = fills
        self._wall = wall
        self._outlines: OrderedDict[Digest, Outline] = OrderedDict()

    async def images(self) -> list[Listed]:
        """All, those with a name first, in the order of their names."""
        tags = await self._census.tags()
        named: list[Listed] = []
        for seen in tags:
            await self._breathe(len(named))
            digest = Digest.parse(seen.entry.digest)
            named.append(
                await self._listed(seen.repository, seen.tag, digest, seen.entry, seen.used_at)
            )
        return named + await self._unnamed(named)

    async def _breathe(self, count: int) -> None:
        """Whoever is served meanwhile does not wait for a long list."""
        if count % _BREATH == _BREATH - 1:
            await deferLater(self._clock, 0)

    async def meant(self, texts: Iterable[str]) -> list[Listed]:
        """The images that are meant by patterns, each once.

        Raises Refused for a pattern that means none: names like it are offered.
        """
        images = await self.images()
        found: dict[tuple[str, Digest], Listed] = {}
        for text in texts:
            pattern = self.pattern(text)
            meant = [image for image in images if image.is_meant_by(pattern)]
            if not meant:
                raise not_here(text, images)
            found.update(((image.name, image.digest), image) for image in meant)
        return list(found.values())

    def pattern(self, text: str) -> Pattern:
        """Raises Refused."""
        try:
            return Pattern.parse(text, self.known)
        except Failure as failure:
            raise Refused(f"{text!r} is no name of an image: {failure}", NAMES) from None

    async def _unnamed(self, named: Iterable[Listed]) -> list[Listed]:
        """Manifests that nothing leads to."""
        led_to: set[Digest] = set()
        for image in named:
            led_to |= image.reach.manifests
        left = [digest for digest in self._census.manifests() if digest not in led_to]
        reaches: dict[Digest, Reach] = {}
        for digest in left:
            await self._breathe(len(reaches))
            reaches[digest] = await self._reach(digest)
        inner = {each for digest, reach in reaches.items() for each in reach.manifests - {digest}}
        return [
            await self._listed(None, None, digest, None, 0.0)
            for digest in sorted(reaches)
            if digest not in inner and reaches[digest].outlines
        ]

    async def _listed(
        self,
        repository: Repository | None,
        tag: Tag | None,
        digest: Digest,
        entry: TagEntry | None,
        used_at: float,
    ) -> Listed:
        reach = await self._reach(digest)
        here = sum(each.size for each in reach.outlines)
        whole = here
        for part in reach.parts:
            present = self.present(part.digest)
            here += present
            whole += max(part.size or 0, present)
        if not reach.outlines and entry is not None:
            whole = entry.size
        used = [self._census.manifest_used_at(each.digest) or 0.0 for each in reach.outlines]
        return Listed(repository, tag, digest, entry, reach, whole, here, max(used_at, *used, 0.0))

    def present(self, digest: Digest) -> int:
        """Bytes of a blob that are here, whole or not."""
        whole = self._census.blob_size(digest)
        if whole is not None:
            return whole
        flight = self._fills.get(digest)
        return self._census.partial_size(digest) if flight is None else flight.present

    async def _reach(self, digest: Digest) -> Reach:
        outlines: dict[Digest, Outline] = {}
        platforms: list[str] = []
        elsewhere = 0
        todo = [(digest, "", 0)]
        while todo:
            current, platform, depth = todo.pop()
            found = await self.outline(current)
            if found is None:
                elsewhere += depth > 0
                continue
            if platform:
                platforms.append(platform)
            outlines[current] = found
            if depth < _DEPTH:
                fresh = [child for child in found.children if child.digest not in outlines]
                todo += [(child.digest, child.platform, depth + 1) for child in fresh]
        parts = {part.digest: part for each in outlines.values() for part in each.parts}
        return Reach(
            tuple(outlines.values()), tuple(parts.values()), tuple(sorted(platforms)), elsewhere
        )

    async def outline(self, digest: Digest) -> Outline | None:
        """Of a manifest that is here."""
        if not self._census.has_manifest(digest):
            return None
        known = self._outlines.get(digest)
        if known is None:
            manifest = await self._census.manifest(digest)
            if manifest is None:
                return None
            known = outline(manifest)
        self._outlines[digest] = known
        self._outlines.move_to_end(digest)
        if len(self._outlines) > _KEPT:
            self._outlines.popitem(last=False)
        return known

    def age(self, at: float) -> float:
        """Seconds since ``at``."""
        return max(0.0, self._wall() - at)


def not_here(text: str, images: Iterable[Listed]) -> Refused:
    """That no image is called ``text``, and which ones are called like it."""
    names = {image.name for image in images}
    bare = {name.rpartition(":")[0] for name in names if not name.startswith("sha256:")}
    near = nearest(text, names | bare)
    if near:
        return Refused(f"no image here is called {text!r}", f"Did you mean {' or '.join(near)}?")
    hint = "'nodecache list' shows what is here; 'nodecache pull' brings more."
    return Refused(f"no image here is called {text!r}", hint)
