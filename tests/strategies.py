"""Hypothesis strategies for the values of the pure core."""

from __future__ import annotations

import string
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from nodecache.byteranges import RangeSet, Span
from nodecache.reference import Digest, Reference, Repository, Tag

# A slow machine is no defect: nothing here is judged by the clock.
settings.register_profile("house", deadline=None, max_examples=100)
settings.load_profile("house")

LOWER = string.ascii_lowercase + string.digits
SEPARATORS = [".", "_", "__", "-", "---"]
#: Components that also are words of the protocol's paths.
WORDS = ["manifests", "blobs", "tags", "list", "referrers", "v2", "library"]


@st.composite
def components(draw: DrawFn) -> str:
    """One component of a repository name."""
    words = draw(st.lists(st.text(LOWER, min_size=1, max_size=6), min_size=1, max_size=3))
    text = words[0]
    for word in words[1:]:
        text += draw(st.sampled_from(SEPARATORS)) + word
    return text


def names(*, min_parts: int = 1) -> SearchStrategy[str]:
    """Repository names, among them some that look like the rest of a path."""
    part = st.one_of(components(), st.sampled_from(WORDS))
    return st.lists(part, min_size=min_parts, max_size=4).map("/".join)


def tags() -> SearchStrategy[Tag]:
    first = string.ascii_letters + string.digits + "_"
    rest = st.text(first + ".-", max_size=127)
    return st.builds(lambda head, tail: Tag(head + tail), st.sampled_from(first), rest)


def hexes(length: int = 64) -> SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length)


def digests() -> SearchStrategy[Digest]:
    return hexes().map(lambda text: Digest("sha256", text))


def references() -> SearchStrategy[Reference]:
    return st.one_of(tags(), digests())


def repositories() -> SearchStrategy[Repository]:
    namespaces = st.sampled_from(["docker.io", "ghcr.io", "localhost:5000", "[::1]:5000"])
    return st.builds(Repository, namespaces, names(min_parts=2))


def spans(limit: int, *, step: int = 1) -> SearchStrategy[Span]:
    """Spans, empty ones too, below ``limit``; most ends fall on multiples of ``step``."""
    ends = st.one_of(st.integers(0, limit // step).map(lambda n: n * step), st.integers(0, limit))
    return st.tuples(ends, ends).map(lambda pair: Span(min(pair), max(pair)))


def range_sets(limit: int, *, step: int = 1, max_size: int = 8) -> SearchStrategy[RangeSet]:
    return st.lists(spans(limit, step=step), max_size=max_size).map(RangeSet)


@st.composite
def percent_encoded(draw: DrawFn, text: str) -> bytes:
    """``text`` with some of its characters percent-encoded, but never a slash."""
    chosen: Sequence[bool] = draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    hexdigits = draw(st.sampled_from(["%{:02x}", "%{:02X}"]))
    return "".join(
        hexdigits.format(ord(char)) if encode and char != "/" else char
        for char, encode in zip(text, chosen, strict=True)
    ).encode("ascii")
