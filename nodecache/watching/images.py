"""Which images are pulled most, and which are the biggest: from finished pulls. Pure.

Times are seconds on one monotonic clock.
"""

from __future__ import annotations

import attrs

from nodecache.events import PullFinished

#: Images that are remembered; those pulled least go first, the longest ago among equals.
MOST = 300
#: Seconds in which a pull counts for half as much.
HALF_LIFE = 6 * 3600.0


@attrs.define
class _Image:
    pulls: int = 0
    failed: int = 0
    bytes: int = 0
    largest: int = 0
    heat: float = 0.0
    at: float = 0.0

    def heat_at(self, now: float) -> float:
        return float(self.heat * 0.5 ** (max(0.0, now - self.at) / HALF_LIFE))


@attrs.frozen(kw_only=True)
class ImageSeen:
    """``bytes`` were given to clients in all; ``largest`` is the most that one pull took."""

    image: str
    pulls: int
    failed: int
    bytes: int
    largest: int
    idle_seconds: float


class Images:
    """By namespace, repository and the reference that was pulled."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._images: dict[str, _Image] = {}

    def pulled(self, event: PullFinished, now: float) -> None:
        """One that got nothing at all is no pull of an image: there may be no such image."""
        if event.failed >= event.requests:
            return
        name = image_name(event.namespace, event.repository, event.reference)
        image = self._images.setdefault(name, _Image())
        image.heat = image.heat_at(now) + 1
        image.at = now
        image.pulls += 1
        image.failed += event.failed > 0
        image.bytes += event.bytes
        image.largest = max(image.largest, event.bytes)
        while len(self._images) > self._most:
            others = (each for each in self._images if each != name)
            del self._images[min(others, key=lambda each: self._images[each].heat_at(now))]

    def hottest(self, now: float, count: int) -> list[ImageSeen]:
        """Those pulled most of late, the hottest first."""
        order = sorted(self._images, key=lambda name: (-self._images[name].heat_at(now), name))
        return [self._seen(name, now) for name in order[:count]]

    def biggest(self, now: float, count: int) -> list[ImageSeen]:
        """Those of which one pull took most bytes."""
        order = sorted(self._images, key=lambda name: (-self._images[name].largest, name))
        return [self._seen(name, now) for name in order[:count]]

    def _seen(self, name: str, now: float) -> ImageSeen:
        image = self._images[name]
        return ImageSeen(
            image=name,
            pulls=image.pulls,
            failed=image.failed,
            bytes=image.bytes,
            largest=image.largest,
            idle_seconds=max(0.0, now - image.at),
        )


def image_name(namespace: str, repository: str, reference: str) -> str:
    """As a person would write it; a digest is cut to its first twelve digits."""
    if not reference:
        return f"{namespace}/{repository}"
    kind, colon, digits = reference.partition(":")
    if colon:
        return f"{namespace}/{repository}@{kind}:{digits[:12]}"
    return f"{namespace}/{repository}:{reference}"
