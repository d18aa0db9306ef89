"""A wish that a node fetches an image, and how far it is: the body of ``warm`` and its answer.

Whoever wishes sends the same again to hear how far it is; ``job`` tells one
wish from the next. A node of an older release reads the image alone.
"""

from __future__ import annotations

import enum
import re
from typing import Any, Final

import attrs

from nodecache.peerwire.documents import decode_object, decode_warm, encode_object
from nodecache.peerwire.fields import WireFault
from nodecache.reference import Reference, Repository

#: Platforms that one wish names.
MOST_PLATFORMS: Final = 16
#: Characters of what is said about a failure.
MOST_WORDS: Final = 500

_JOB = re.compile(r"[0-9a-f]{1,32}")
_PLATFORM = re.compile(r"[a-z0-9_./-]{1,64}")
#: Bytes that nothing has.
_MOST: Final = 1 << 62


@attrs.frozen
class Wish:
    """``platforms`` are ``os/architecture[/variant]``; none: that of the node itself."""

    repository: Repository
    reference: Reference
    platforms: tuple[str, ...] = ()
    every: bool = False
    job: str = ""


class Stage(enum.Enum):
    """How far a wish is."""

    BUSY = "busy"  # it is not taken up yet: ask again
    FETCHING = "fetching"
    DONE = "done"
    REFUSED = "refused"  # by the node's rules, or it is offline, or it does not fit
    FAILED = "failed"


@attrs.frozen
class Fulfilment:
    """``bytes`` of ``total`` are there; ``words`` say why it was refused or failed."""

    stage: Stage
    bytes: int = 0
    total: int = 0
    words: str = ""

    @property
    def over(self) -> bool:
        return self.stage not in (Stage.BUSY, Stage.FETCHING)


def encode_wish(wish: Wish) -> bytes:
    """As JSON."""
    return encode_object(
        {
            "ns": wish.repository.namespace,
            "name": wish.repository.name,
            "ref": str(wish.reference),
            "platforms": list(wish.platforms),
            "every": wish.every,
            "job": wish.job,
        }
    )


def decode_wish(body: bytes) -> Wish:
    """Raises WireFault."""
    repository, reference = decode_warm(body)
    value = decode_object(body)
    platforms, job = value.get("platforms", []), value.get("job", "")
    if not isinstance(platforms, list) or len(platforms) > MOST_PLATFORMS:
        raise WireFault("not a list of platforms, or a long one")
    if not all(isinstance(each, str) and _PLATFORM.fullmatch(each) for each in platforms):
        raise WireFault("not a platform")
    if not isinstance(job, str) or (job and not _JOB.fullmatch(job)):
        raise WireFault("not the name of a job")
    return Wish(repository, reference, tuple(platforms), value.get("every") is True, job)


def encode_fulfilment(fulfilment: Fulfilment) -> bytes:
    """As JSON."""
    return encode_object(
        {
            "stage": fulfilment.stage.value,
            "bytes": fulfilment.bytes,
            "total": fulfilment.total,
            "words": fulfilment.words[:MOST_WORDS],
        }
    )


def decode_fulfilment(value: dict[str, Any]) -> Fulfilment:
    """Raises WireFault: it is of a node that fetches nothing on a wish, or of no node."""
    try:
        stage = Stage(value.get("stage"))
    except ValueError:
        raise WireFault("it does not say how far it is") from None
    words = value.get("words", "")
    if not isinstance(words, str):
        raise WireFault("not words")
    plain = "".join(letter if letter.isprintable() else " " for letter in words[:MOST_WORDS])
    return Fulfilment(stage, _bytes(value.get("bytes")), _bytes(value.get("total")), plain)


def _bytes(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise WireFault("not a number of bytes")
    return value
