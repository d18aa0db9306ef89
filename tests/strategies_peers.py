"""Hypothesis strategies for what peers say to each other."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from nodecache.byteranges import Span
from nodecache.failures import ABSENT_KINDS, UpstreamKind
from nodecache.limits import MIB, SEGMENT
from nodecache.membership import Address
from nodecache.peerwire.answers import (
    Absent,
    BlobAnswer,
    Bytes,
    Denied,
    Elsewhere,
    Fetching,
    Manifest,
    ManifestAnswer,
    Refusal,
    UpstreamAbsent,
    UpstreamBroken,
)
from nodecache.peerwire.documents import MOST_RATE
from nodecache.peerwire.hello import Hello, Known
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from tests import strategies as house


def node_ids() -> SearchStrategy[str]:
    names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True)
    return st.one_of(names, addresses().map(str))


def addresses() -> SearchStrategy[Address]:
    hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
    # ``::ffff:1.2.3.4`` and the like are spelt by Address as ipaddress does.
    return st.builds(Address, hosts, st.integers(1, 65535))


def times() -> SearchStrategy[float]:
    """Seconds that are whole milliseconds."""
    return st.integers(0, 10**9).map(lambda millis: millis / 1000)


@st.composite
def segment_spans(draw: DrawFn, segments: int = 1000) -> Span:
    """Not empty, within one segment."""
    start = draw(st.integers(0, SEGMENT - 1) | st.sampled_from([0, MIB - 1, MIB, SEGMENT - 1]))
    stop = draw(st.integers(start + 1, SEGMENT))
    base = draw(st.integers(0, segments)) * SEGMENT
    return Span(base + start, base + stop)


def blob_questions() -> SearchStrategy[BlobQuestion]:
    return st.builds(
        BlobQuestion,
        repository=house.repositories(),
        digest=house.digests(),
        span=segment_spans(),
        mode=st.sampled_from(Mode),
        seconds=times(),
        size=st.none() | st.integers(0, 10**15),
        verified=st.booleans(),
        as_owner=st.booleans(),
        wait=times(),
    )


def manifest_questions() -> SearchStrategy[ManifestQuestion]:
    return st.builds(
        ManifestQuestion,
        repository=house.repositories(),
        reference=house.references(),
        mode=st.sampled_from(Mode),
        seconds=times(),
        head=st.booleans(),
        youth=st.none() | times(),
        as_owner=st.booleans(),
    )


def messages() -> SearchStrategy[str]:
    """Printable words of any alphabet, as they arrive: not framed by spaces."""
    return st.text(max_size=80).map(lambda text: "".join(filter(str.isprintable, text)).strip())


def refusals() -> SearchStrategy[Refusal]:
    statuses = st.none() | st.integers(100, 599)
    return st.one_of(
        st.builds(Fetching, times()),
        st.builds(
            Elsewhere,
            times(),
            st.lists(st.tuples(node_ids(), addresses()), max_size=4).map(tuple),
            st.booleans(),
        ),
        st.just(Absent()),
        st.builds(UpstreamAbsent, st.sampled_from(tuple(ABSENT_KINDS)), messages(), statuses),
        st.builds(Denied, messages()),
        st.builds(
            UpstreamBroken,
            st.sampled_from(UpstreamKind),
            messages(),
            statuses,
            st.none() | times(),
        ),
    )


def blob_answers() -> SearchStrategy[BlobAnswer]:
    carried = st.builds(Bytes, st.integers(0, 10**15), st.booleans(), st.booleans())
    return carried | refusals()


@st.composite
def manifests(draw: DrawFn) -> Manifest:
    body = draw(st.none() | st.binary(max_size=100))
    return Manifest(
        digest=draw(house.digests()),
        media_type=draw(st.from_regex(r"[a-z]{1,9}/[a-z.+-]{1,40}", fullmatch=True)),
        size=draw(st.integers(0, 4 * MIB)) if body is None else len(body),
        age=draw(st.none() | times()),
        body=body,
        fetched=draw(st.booleans()),
    )


def manifest_answers() -> SearchStrategy[ManifestAnswer]:
    return manifests() | refusals()


def zones() -> SearchStrategy[str]:
    return st.from_regex(r"[A-Za-z0-9._-]{0,20}", fullmatch=True)


def hellos() -> SearchStrategy[Hello]:
    known = st.builds(Known, node_ids(), addresses(), zones(), times())
    return st.builds(
        Hello,
        id=node_ids(),
        wire=st.sampled_from(["1", "2", "17"]),
        release=st.sampled_from(["0.1.0", "1.0.0rc1+dirty"]),
        zone=zones(),
        addresses=st.lists(addresses(), max_size=4).map(tuple),
        known=st.lists(known, max_size=5).map(tuple),
        leaving=st.booleans(),
        busy=st.booleans(),
        behind=st.booleans(),
        inbound=st.integers(0, MOST_RATE),
    )


def few_addresses() -> SearchStrategy[Address]:
    """So few that they are met again and again."""
    return st.sampled_from(
        [Address(f"10.0.0.{n}", 5001) for n in range(1, 7)]
        + [Address(f"fd00::{n}", 5001) for n in range(1, 4)]
    )
