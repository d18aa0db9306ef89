"""The queries of the registry protocol, from the bytes that were sent."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from nodecache.failures import BadRequest, RequestProblem

#: Bytes of a query string, still percent-encoded.
QUERY_LENGTH: Final = 2048
#: Characters of one value.
VALUE_LENGTH: Final = 255

_KEYS: Final = frozenset({"ns", "n", "last", "artifactType"})
_BROKEN = re.compile(rb"%(?![0-9a-fA-F]{2})")
_VISIBLE = re.compile(r"[\x21-\x7e]*")
_COUNT = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class Query:
    """What a registry request may say behind the question mark.

    ``namespace`` is as sent (to be echoed); ``n`` is the page length asked for.
    """

    namespace: str | None = None
    n: int | None = None
    last: str | None = None
    artifact_type: str | None = None


def parse_query(raw: bytes) -> Query:
    """The query string as it was sent, without the question mark.

    Unknown keys are ignored; an empty value is an absent one. Raises
    BadRequest(QUERY) for a key that is given twice, for text that is overlong
    or not visible ASCII, and for an ``n`` that is no number.
    """
    if len(raw) > QUERY_LENGTH:
        message = f"the query is longer than {QUERY_LENGTH} bytes"
        raise BadRequest(RequestProblem.QUERY, message)
    values: dict[str, str] = {}
    for pair in raw.split(b"&"):
        key, _, value = pair.partition(b"=")
        name = unquote_to_bytes(key).decode("latin-1")
        if name not in _KEYS:
            continue
        if name in values:
            raise BadRequest(RequestProblem.QUERY, f"{name} is given twice")
        values[name] = _value(name, value)
    return Query(
        namespace=values.get("ns") or None,
        n=_page_length(values.get("n") or None),
        last=values.get("last") or None,
        artifact_type=values.get("artifactType") or None,
    )


def _value(name: str, value: bytes) -> str:
    # A plus stays a plus: media types (``…+json``) hold them, no value holds a space.
    text = unquote_to_bytes(value).decode("latin-1")
    if _BROKEN.search(value) or not _VISIBLE.fullmatch(text) or len(text) > VALUE_LENGTH:
        message = f"{name} is not visible ASCII of at most {VALUE_LENGTH} characters"
        raise BadRequest(RequestProblem.QUERY, message)
    return text


def _page_length(text: str | None) -> int | None:
    if text is None:
        return None
    if not _COUNT.fullmatch(text):
        raise BadRequest(RequestProblem.QUERY, "n is not a number of at most 9 digits")
    return int(text)
