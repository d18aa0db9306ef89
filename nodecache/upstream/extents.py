"""Which bytes of a blob an answer holds, as its headers say. Pure."""

from __future__ import annotations

import hashlib
from typing import Final

import attrs

from nodecache.byteranges import ContentRange, Span, parse_content_range
from nodecache.reference import Digest

EMPTY: Final = Digest("sha256", hashlib.sha256(b"").hexdigest())


@attrs.frozen
class Extent:
    """Which bytes a body holds, as its headers say. The fields are those of BlobBody."""

    start: int
    stop_at: int | None
    total: int | None
    ranged: bool


def judge_extent(
    status: int, length: int | None, content_range: str | None, span: Span | None, digest: Digest
) -> Extent:
    """Raises ValueError, in words, for an answer that does not fit what was asked. Pure."""
    if status == 200:
        return Extent(0, length, length, ranged=False)
    if status == 416:
        return _beyond(content_range, span, digest)
    held = _parsed(content_range)
    if held.span is None:
        raise ValueError("a 206 does not say which bytes it holds")
    asked = span or Span(0, held.total or 0)
    if held.span.start != asked.start or held.span.stop > asked.stop:
        raise ValueError("a 206 holds other bytes than those asked for")
    if length is not None and length != held.span.size:
        raise ValueError("a 206 has another length than its Content-Range")
    return Extent(held.span.start, held.span.stop, held.total, ranged=True)


def _beyond(content_range: str | None, span: Span | None, digest: Digest) -> Extent:
    total = _parsed(content_range).total if content_range else None
    if total is None and digest == EMPTY:
        total = 0
    if span is None or total is None or total > span.start:
        raise ValueError("a 416 came for bytes that should be there")
    return Extent(span.start, span.start, total, ranged=True)


def _parsed(content_range: str | None) -> ContentRange:
    try:
        return parse_content_range(content_range or "")
    except ValueError:
        raise ValueError("the answer's Content-Range is none") from None
