"""Single values as they stand in headers, queries and documents, read strictly.

Everything that a peer sends passes through here or through the values of
``reference``; what is not well-formed raises WireFault, and nothing else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from nodecache.failures import Failure
from nodecache.membership import Address
from nodecache.reference import Digest

#: All headers of the wire begin with this; the proof of an answer covers them.
PREFIX: Final = "nodecache-"
PEER: Final = "nodecache-peer"
TO: Final = "nodecache-to"
WIRE: Final = "nodecache-wire"
SIGNATURE: Final = "nodecache-signature"
ANSWER: Final = "nodecache-answer"
PROOF: Final = "nodecache-proof"
TIME: Final = "nodecache-time"

#: Lines and characters of the wire's headers in one message.
MOST_FIELDS: Final = 32
MOST_FIELD_TEXT: Final = 4096
#: Characters of a message in words; a longer one is cut off by who sends it.
MOST_WORDS: Final = 300
#: Characters of a node id, a zone, and a release.
MOST_ID: Final = 253
#: Seconds; times that are longer are cut to this when sent, and refused when received.
MOST_SECONDS: Final = 86400.0 * 366 * 10

#: Bytes of a blob that can be.
MOST_TOTAL: Final = 10**15

_ID = re.compile(r"[A-Za-z0-9._:\[\]-]{1,253}")
_ZONE = re.compile(r"[A-Za-z0-9._:/-]{0,253}")
_RELEASE = re.compile(r"[!-~]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_BROKEN = re.compile(r"%(?![0-9a-fA-F]{2})")
_VISIBLE = re.compile(r"[ -~]*")


class WireFault(ValueError):
    """What came is not of the wire; the message says in what, and quotes little."""


def is_node_id(text: str) -> bool:
    """Whether ``text`` can name a node; an address can."""
    return _ID.fullmatch(text) is not None


def node_id(text: object) -> str:
    """The name of a node."""
    if not isinstance(text, str) or not is_node_id(text):
        raise WireFault("not a node id")
    return text


def zone(text: object) -> str:
    """The name of a zone; none is empty."""
    if not isinstance(text, str) or not _ZONE.fullmatch(text):
        raise WireFault("not a zone")
    return text


def release(text: object) -> str:
    """A release, or a wire version: a visible word."""
    if not isinstance(text, str) or not _RELEASE.fullmatch(text):
        raise WireFault("not a release")
    return text


def address(text: object) -> Address:
    """``IP:PORT``."""
    if not isinstance(text, str) or len(text) > 64 or "%" in text:
        raise WireFault("not an address")
    try:
        return Address.parse(text)
    except ValueError:
        raise WireFault("not an address") from None


def digest(text: object) -> Digest:
    """``sha256:<hex>``."""
    try:
        return Digest.parse(text if isinstance(text, str) else "")
    except Failure:
        raise WireFault("not a digest") from None


def number(text: str, name: str, most: int = 10**18) -> int:
    """Digits, from 0 to ``most``."""
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise WireFault(f"{name} is not a number in its bounds")
    return int(text)


def flag(text: str | None, name: str) -> bool:
    """``1``, or ``0`` or nothing at all."""
    if text not in (None, "0", "1"):
        raise WireFault(f"{name} is neither 0 nor 1")
    return text == "1"


def millis(seconds: float) -> str:
    """Seconds as whole milliseconds; less than none is none."""
    return str(round(min(max(0.0, seconds), MOST_SECONDS) * 1000))


def seconds(text: str, name: str) -> float:
    """Whole milliseconds, as seconds."""
    return number(text, name, int(MOST_SECONDS * 1000)) / 1000


def words(message: str) -> str:
    """A message as visible ASCII, cut to what may be sent."""
    return quote(message[:MOST_WORDS], safe=" !#$&'()*+,/:;=?@[]<>|")


def from_words(text: str) -> str:
    """The message; bytes that are no text are shown as such."""
    if _BROKEN.search(text) or len(text) > MOST_FIELD_TEXT:
        raise WireFault("not a message")
    message = unquote_to_bytes(text.encode("ascii", "replace")).decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in message)[:MOST_WORDS]


def fields_of(raw: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The wire's own headers of a message, by their names in lower case.

    Others are left out. Raises WireFault for one that came twice, for text
    that is overlong or not visible ASCII, and for too many.
    """
    fields: dict[str, str] = {}
    for sent, text in raw:
        name = sent.lower()
        if not name.startswith(PREFIX):
            continue
        if name in fields or len(fields) >= MOST_FIELDS:
            raise WireFault("a header came twice, or there are too many")
        if len(name) > 64 or len(text) > MOST_FIELD_TEXT or not _VISIBLE.fullmatch(text):
            raise WireFault("a header is overlong, or not visible ASCII")
        fields[name] = text.strip(" ")
    return fields


def required(fields: Mapping[str, str], name: str) -> str:
    """The field, which must be there."""
    if name not in fields:
        raise WireFault(f"{name} is missing")
    return fields[name]
