"""One image in full: its manifests, what of them is here, and where the rest would come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from nodecache.fill import Fills
from nodecache.freshness import Verdict, judge
from nodecache.reference import LATEST, Digest, Repository
from nodecache.steering.inventory import Inventory, Listed, not_here
from nodecache.steering.outline import Outline, Part
from nodecache.steering.verbs import Refused
from nodecache.store import Census

#: Seconds that the peers are asked for, all blobs together.
_PATIENCE: Final = 2.0
#: Blobs that peers are asked for at most, and peers that are named of one.
_MOST: Final = 64
_NAMED: Final = 8


class Policy(Protocol):
    """What decides on a tag's freshness now. ``tag_ttl`` is in seconds."""

    @property
    def tag_ttl(self) -> float: ...

    @property
    def offline(self) -> bool: ...


class Holders(Protocol):
    """The other nodes, which are asked and not made to fetch."""

    async def holders(self, repository: Repository, digest: Digest, /, *, most: int) -> list[str]:
        """The ids of those that have all of a blob."""
        ...


@attrs.frozen
class _Place:
    """Where a blob would come from: disk, flight, peer (then ``peers`` says which), upstream."""

    kind: str = "upstream"
    peers: tuple[str, ...] = ()


def image_row(image: Listed, inventory: Inventory) -> dict[str, Any]:
    """An image as a line of a list; times are seconds ago."""
    repository, entry = image.repository, image.entry
    return {
        "name": image.name,
        "namespace": repository and repository.namespace,
        "repository": repository and repository.name,
        "tag": image.tag and str(image.tag),
        "digest": str(image.digest),
        "bytes": image.bytes,
        "bytes_here": image.bytes_here,
        "platforms": list(image.reach.platforms),
        "last_used_seconds": round(inventory.age(image.used_at)),
        "checked_seconds": None if entry is None else round(inventory.age(entry.checked_at)),
        "pinned": image.pinned,
        "imported": entry is not None and entry.imported,
    }


class Looking:
    """``others`` gives the peers to ask, where there are any."""

    def __init__(
        self,
        census: Census,
        fills: Fills,
        inventory: Inventory,
        policy: Callable[[], Policy],
        others: Callable[[], Holders | None],
        clock: IReactorTime,
    ) -> None:
        self._census = census
        self._fills = fills
        self._inventory = inventory
        self._policy = policy
        self._others = others
        self._clock = clock

    async def images(self, pattern: str | None) -> dict[str, Any]:
        """All images that ``pattern`` means, and what they take together. Raises Refused."""
        images = await self._inventory.images()
        if pattern:
            wanted = self._inventory.pattern(pattern)
            images = [image for image in images if image.is_meant_by(wanted)]
        blobs = {digest for image in images for digest in image.reach.blobs}
        outlines = {each.digest: each.size for image in images for each in image.reach.outlines}
        here = sum(outlines.values()) + sum(self._inventory.present(digest) for digest in blobs)
        return {
            "images": [image_row(image, self._inventory) for image in images],
            "bytes_here": here,
        }

    async def image(self, text: str) -> dict[str, Any]:
        """The image that is called ``text``. Raises Refused."""
        image = await self._one(text)
        sources = await self._sources(image)
        entry = image.entry
        return {
            **image_row(image, self._inventory),
            "media_type": entry.media_type if entry else _media_type(image),
            "freshness": self._freshness(image),
            "tag_ttl_seconds": self._policy().tag_ttl,
            "manifest": await self._tree(image.digest, entry.size if entry else None, "", sources),
        }

    async def _one(self, text: str) -> Listed:
        images = await self._inventory.images()
        pattern = self._inventory.pattern(text)
        meant = [image for image in images if image.is_meant_by(pattern)]
        if not meant:
            raise not_here(text, images)
        latest = [image for image in meant if image.tag == LATEST]
        if len(meant) > 1 and len(latest) != 1:
            names = ", ".join(image.name for image in meant[:5])
            raise Refused(f"{text!r} means {len(meant)} images here", f"Name one: {names}.")
        return (latest or meant)[0]

    def _freshness(self, image: Listed) -> str:
        """A word: imported, fresh, due (asked at the next pull), offline; digest never ages."""
        if image.entry is None:
            return "digest"
        if image.entry.imported:
            return "imported"
        policy = self._policy()
        age = self._inventory.age(image.entry.checked_at)
        verdict = judge(
            image.entry,
            image.entry.checked_at + age,
            policy.tag_ttl,
            offline=policy.offline,
            upstream_down=False,
        )
        return {Verdict.FRESH: "fresh", Verdict.STALE_ONLY: "offline"}.get(verdict, "due")

    async def _tree(
        self, digest: Digest, size: int | None, platform: str, sources: dict[Digest, _Place]
    ) -> dict[str, Any]:
        found = await self._inventory.outline(digest)
        node: dict[str, Any] = {
            "digest": str(digest),
            "platform": platform,
            "here": found is not None,
        }
        if found is None:
            return {**node, "bytes": size, "media_type": "", "children": [], "blobs": []}
        return {
            **node,
            "bytes": found.size,
            "media_type": found.media_type,
            "children": [
                await self._tree(child.digest, child.size, child.platform, sources)
                for child in found.children
                if child.digest != digest
            ],
            "blobs": [self._blob(part, sources) for part in found.parts],
        }

    def _blob(self, part: Part, sources: dict[Digest, _Place]) -> dict[str, Any]:
        place = sources.get(part.digest, _Place())
        return {
            "digest": str(part.digest),
            "role": part.role,
            "media_type": part.media_type,
            "bytes": part.size,
            "bytes_here": self._inventory.present(part.digest),
            "from": place.kind,
            "peers": list(place.peers),
        }

    async def _sources(self, image: Listed) -> dict[Digest, _Place]:
        """By blob; for all others it is upstream."""
        found: dict[Digest, _Place] = {}
        missing = []
        for digest in image.reach.blobs:
            if self._census.blob_size(digest) is not None:
                found[digest] = _Place("disk")
            elif self._fills.get(digest) is not None:
                found[digest] = _Place("flight")
            else:
                missing.append(digest)
        for digest, peers in (await self._at_peers(image, missing)).items():
            found[digest] = _Place("peer", tuple(peers))
        return found

    async def _at_peers(self, image: Listed, digests: Iterable[Digest]) -> dict[Digest, list[str]]:
        others, repository = self._others(), image.repository
        if others is None or repository is None:
            return {}
        have: dict[Digest, list[str]] = {}

        async def ask(digest: Digest) -> None:
            peers = await others.holders(repository, digest, most=_NAMED)
            if peers:
                have[digest] = peers

        asking = [Deferred.fromCoroutine(ask(digest)) for digest in list(digests)[:_MOST]]
        together = gatherResults(asking, consumeErrors=True)
        together.addTimeout(_PATIENCE, self._clock)
        try:
            await together
        except CancelledError:
            raise
        except Exception:  # noqa: S110 -- too late, or the node stops: what is known is told
            pass
        return have


def _media_type(image: Listed) -> str:
    outlines: dict[Digest, Outline] = {each.digest: each for each in image.reach.outlines}
    return outlines[image.digest].media_type if image.digest in outlines else ""
