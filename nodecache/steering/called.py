"""What images of an archive are called on this node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from nodecache.archives import Found
from nodecache.failures import Failure, UnknownNamespace
from nodecache.reference import Repository, Tag
from nodecache.reference.images import LATEST, Image, parse_image
from nodecache.steering.verbs import Refused

#: The repository of a name and its namespace. Raises UnknownNamespace, NameDenied by the
#: node's rules.
Permit = Callable[[str, str], Repository]


@attrs.frozen
class Wanted:
    """An image of an archive, and the tags that it gets."""

    found: Found
    names: tuple[Image, ...]


def named(
    found: Sequence[Found], names: Sequence[str], known: Sequence[str], permit: Permit
) -> list[Wanted]:
    """``names`` are those that were asked for: they take the place of the archive's own.

    ``known`` are the namespaces of this node, in their order. Raises Refused.
    """
    if names and len(found) > 1:
        raise Refused(
            f"the archive holds {len(found)} images, and --name is for one",
            "Leave --name out: each is imported under the name that it has there.",
        )
    return [Wanted(each, tuple(_names_of(each, names, known, permit))) for each in found]


def _names_of(
    found: Found, names: Sequence[str], known: Sequence[str], permit: Permit
) -> list[Image]:
    texts = [name for name in names or found.names if "@" not in name]
    if not texts:
        what = f"the tag {found.tags[0]!r} and no name" if found.tags else "no name"
        raise Refused(
            f"the archive gives the image {what}", "Name it with --name, like --name nginx:1.27."
        )
    images = [_permitted(text, known, permit) for text in texts]
    tag = Tag(found.tags[0]) if found.tags else LATEST
    return [image if image.tag else attrs.evolve(image, tag=tag) for image in images]


def _permitted(text: str, known: Sequence[str], permit: Permit) -> Image:
    try:
        image = parse_image(text, known)
        permit(image.repository.name, image.repository.namespace)
    except UnknownNamespace as unknown:
        raise Refused(
            f"{text}: {unknown}",
            f"Give it a name of one that is ({', '.join(known)}) with --name, or add an"
            " --upstream.",
        ) from None
    except Failure as failure:
        raise Refused(f"{text}: {failure}", "Give it another name with --name.") from None
    return image


def described(wanted: Wanted) -> dict[str, Any]:
    """An imported image, for the person who reads it."""
    return {
        "names": [str(image) for image in wanted.names],
        "digest": str(wanted.found.top.digest),
        "bytes": wanted.found.bytes,
        "left_out": list(wanted.found.left_out),
    }
