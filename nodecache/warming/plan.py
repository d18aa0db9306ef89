"""What an image consists of, for the platforms that are wanted; and whether that fits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import attrs

from nodecache.archives import Child, Document
from nodecache.config import format_size
from nodecache.failures import Failure
from nodecache.reference import Digest, Reference, Repository

_PLATFORM = re.compile(r"[a-z0-9_.-]+/[a-z0-9_.-]+(?:/[a-z0-9_.-]+)?")


class NothingFits(Failure):
    """An index has no image for a platform that is wanted."""


class TooBig(Failure):
    """What is wanted is more than the cache may hold."""


@attrs.frozen
class Plan:
    """One image. ``documents`` are its manifests, those that others name first, ``top`` last.

    ``images`` are those of its manifests that have layers; ``blobs`` are sizes in bytes.
    """

    repository: Repository
    reference: Reference
    documents: tuple[Document, ...]
    blobs: Mapping[Digest, int]

    @property
    def top(self) -> Document:
        return self.documents[-1]

    @property
    def images(self) -> tuple[Document, ...]:
        return tuple(each for each in self.documents if not each.children)

    @property
    def bytes(self) -> int:
        """Of all blobs and manifests."""
        return bytes_of([self])

    @property
    def name(self) -> str:
        mark = "@" if isinstance(self.reference, Digest) else ":"
        return f"{self.repository}{mark}{self.reference}"


def bytes_of(plans: Sequence[Plan]) -> int:
    """Of all blobs and manifests of some images, each counted once."""
    blobs = {digest: size for plan in plans for digest, size in plan.blobs.items()}
    manifests = {each.digest: len(each.body) for plan in plans for each in plan.documents}
    return sum(blobs.values()) + sum(manifests.values())


def check_platform(text: str) -> str:
    """``text`` itself if it is ``os/architecture[/variant]``. Raises ValueError."""
    if not _PLATFORM.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no platform like linux/amd64 or linux/arm/v7")
    return text


def matches(wanted: str, platform: str) -> bool:
    """Whether an image for ``platform`` is one for ``wanted``: of any variant, if that has none."""
    return platform == wanted or platform.startswith(f"{wanted}/")


def pick(children: Sequence[Child], wanted: Sequence[str], *, every: bool) -> tuple[Child, ...]:
    """The children of an index to have: those of the ``wanted`` platforms, or with ``every``, all.

    Children that say no platform are always among them. Raises NothingFits.
    """
    if every:
        return tuple(children)
    images = [child for child in children if not child.attests]
    for platform in wanted:
        if not any(matches(platform, child.platform) for child in images if child.platform):
            there = ", ".join(_platforms(images)) or "none"
            if any(not child.platform for child in images):
                continue
            raise NothingFits(f"it has no image for {platform} (it has: {there})")
    return tuple(
        child
        for child in images
        if not child.platform or any(matches(platform, child.platform) for platform in wanted)
    )


def _platforms(children: Iterable[Child]) -> list[str]:
    return list(dict.fromkeys(child.platform for child in children if child.platform))


def refuse_too_big(plans: Sequence[Plan], cap: int) -> None:
    """Raises TooBig, with sizes, if ``plans`` are more than the ``cap`` bytes of the cache."""
    total = bytes_of(plans)
    if total <= cap:
        return
    biggest = sorted(plans, key=lambda plan: plan.bytes, reverse=True)[:3]
    named = ", ".join(f"{plan.name} {format_size(plan.bytes)}" for plan in biggest)
    what = "the image takes" if len(plans) == 1 else f"the {len(plans)} images take"
    raise TooBig(
        f"{what} {format_size(total)}, and the cache holds at most {format_size(cap)} ({named})"
    )
