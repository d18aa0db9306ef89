"""Questions, answers and documents come back as they were sent; nothing else comes in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.byteranges import Span
from nodecache.limits import SEGMENT
from nodecache.membership import Address
from nodecache.peerwire import codec, fields
from nodecache.peerwire.answers import (
    Absent,
    BlobAnswer,
    Bytes,
    Denied,
    Elsewhere,
    Manifest,
    ManifestAnswer,
)
from nodecache.peerwire.codec import WireFault
from nodecache.peerwire.hello import Hello
from nodecache.peerwire.questions import BlobQuestion, ManifestQuestion, Mode
from nodecache.reference import Digest, Reference, Repository
from tests import strategies as house
from tests import strategies_peers as peers

DIGEST = Digest("sha256", "ab" * 32)
ALPINE = Repository("docker.io", "library/alpine")
TARGET = f"/peer/v1/blob?ns=docker.io&name=library/alpine&digest={DIGEST}&mode=may-fetch&left=5"


@given(peers.blob_questions())
def test_a_blob_question_comes_back(question: BlobQuestion) -> None:
    target, headers = codec.encode_blob(question)
    assert codec.decode_blob(target, headers["Range"]) == question
    assert target.isascii()
    assert " " not in target


@given(peers.manifest_questions())
def test_a_manifest_question_comes_back(question: ManifestQuestion) -> None:
    method, target = codec.encode_manifest(question)
    assert codec.decode_manifest(method, target) == question


@given(peers.blob_answers())
def test_a_blob_answer_comes_back(answer: BlobAnswer) -> None:
    encoded = codec.encode_answer(answer)
    read = codec.fields_of(encoded.headers.items())
    assert codec.decode_blob_answer(encoded.status, read) == answer
    assert (encoded.body is None) == isinstance(answer, Bytes)


@given(peers.manifest_answers())
def test_a_manifest_answer_comes_back(answer: ManifestAnswer) -> None:
    encoded = codec.encode_answer(answer)
    body = encoded.body if isinstance(answer, Manifest) and answer.body is not None else None
    read = codec.fields_of(encoded.headers.items())
    assert codec.decode_manifest_answer(encoded.status, read, body) == answer


@given(peers.hellos())
def test_a_hello_comes_back(hello: Hello) -> None:
    assert codec.decode_hello(codec.encode_hello(hello)) == hello


@given(
    house.digests(),
    st.dictionaries(
        st.integers(0, 10**6), st.lists(st.integers(0, 2**32 - 1), max_size=8).map(tuple)
    ),
)
def test_a_suspicion_comes_back(digest: Digest, sums: dict[int, tuple[int, ...]]) -> None:
    assert codec.decode_suspect(codec.encode_suspect(digest, sums)) == (digest, sums)


@given(house.repositories(), house.references())
def test_a_wish_comes_back(repository: Repository, reference: Reference) -> None:
    assert codec.decode_warm(codec.encode_warm(repository, reference)) == (repository, reference)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner),
)


@given(st.binary() | JSONS.map(lambda value: json.dumps(value).encode()))
def test_garbage_for_a_document_raises_a_wire_fault_and_nothing_else(body: bytes) -> None:
    for decode in (codec.decode_hello, codec.decode_suspect, codec.decode_warm):
        with pytest.raises(WireFault):
            decode(body)


@given(peers.hellos(), st.data())
def test_a_hello_with_one_member_replaced_is_refused_or_well_formed(
    hello: Hello, data: st.DataObject
) -> None:
    value = json.loads(codec.encode_hello(hello))
    value[data.draw(st.sampled_from(sorted(value)))] = data.draw(JSONS)
    try:
        read = codec.decode_hello(json.dumps(value).encode())
    except WireFault:
        return
    assert fields.is_node_id(read.id)
    assert all(0 <= known.age <= fields.MOST_SECONDS for known in read.known)


@given(st.text() | st.text().map(lambda text: TARGET + text), st.none() | st.text())
def test_garbage_for_a_question_raises_a_wire_fault_and_nothing_else(
    target: str, asked: str | None
) -> None:
    for decode in (
        lambda: codec.decode_blob(target, asked),
        lambda: codec.decode_manifest("GET", target),
    ):
        try:
            decode()
        except WireFault:
            continue


NAMES = (
    "Answer Total Ranged Fetched Digest Media-Type Size Age Retry Peers Leaving Kind Message Status"
)
HEADERS = st.dictionaries(
    st.sampled_from(NAMES.split()).map("Nodecache-{}".format),
    st.text(max_size=20) | st.sampled_from(["0", "1", "bytes", "elsewhere", "a=1.2.3.4:5", "%zz"]),
)


@given(st.integers(0, 999), HEADERS, st.none() | st.binary(max_size=9))
def test_garbage_for_an_answer_raises_a_wire_fault_and_nothing_else(
    status: int, headers: dict[str, str], body: bytes | None
) -> None:
    for decode in (
        lambda read: codec.decode_blob_answer(status, read),
        lambda read: codec.decode_manifest_answer(status, read, body),
    ):
        try:
            decode(codec.fields_of(headers.items()))
        except WireFault:
            continue


@pytest.mark.parametrize(
    "target",
    [
        TARGET.replace("blob", "blobs"),
        TARGET + "&left=6",
        TARGET.replace("may-fetch", "must-fetch"),
        TARGET.replace("left=5", "left=-5"),
        TARGET.replace("left=5", "left=5e3"),
        TARGET.replace("left=5", "left=" + "9" * 18),
        TARGET.replace("alpine", "..%2f..%2fetc"),
        TARGET.replace("alpine", "Alpine"),
        TARGET.replace("name=", "name=" + "a/" * 200),
        TARGET.replace("docker.io", "/etc"),
        TARGET.replace("sha256:", "sha512:"),
        TARGET + "&size=1.0",
        TARGET + "&verified=yes",
        TARGET + "&x=" + "y" * 2048,
        TARGET + "&x=ä",
        "/peer/v1/blob",
        "",
    ],
)
def test_a_target_that_says_too_little_or_too_much_is_refused(target: str) -> None:
    with pytest.raises(WireFault):
        codec.decode_blob(target, "bytes=0-9")


@pytest.mark.parametrize(
    "asked",
    [
        None,
        "",
        "bytes=0-",
        "bytes=-5",
        "bytes=5-2",
        "bytes=0-1,3-4",
        "items=0-1",
        f"bytes=0-{SEGMENT}",
        f"bytes={SEGMENT - 1}-{SEGMENT}",
        "bytes=999999999999999999-999999999999999999",
        "bytes=" + "0" * 100 + "-1",
    ],
)
def test_only_one_closed_range_within_a_segment_can_be_asked(asked: str | None) -> None:
    with pytest.raises(WireFault):
        codec.decode_blob(TARGET, asked)
    assert codec.decode_blob(TARGET, f"bytes=0-{SEGMENT - 1}").span == Span(0, SEGMENT)


def test_a_span_that_can_not_be_asked_is_not_sent() -> None:
    for span in (Span(5, 5), Span(0, SEGMENT + 1)):
        with pytest.raises(WireFault):
            codec.encode_blob(BlobQuestion(ALPINE, DIGEST, span, Mode.MAY_FETCH, 1.0))


def test_unknown_names_of_a_query_are_left_alone() -> None:
    assert codec.decode_blob(TARGET + "&hint=x", "bytes=0-9").seconds == 0.005


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Answer": "absent"}),
        (404, {"Answer": "gone"}),
        (404, {}),
        (206, {"Answer": "bytes", "Ranged": "1"}),
        (206, {"Answer": "bytes", "Total": "1e9", "Ranged": "1"}),
        (206, {"Answer": "bytes", "Total": "5", "Ranged": "yes"}),
        (202, {"Answer": "fetching", "Retry": "soon"}),
        (404, {"Answer": "upstream-absent", "Kind": "timeout"}),
        (502, {"Answer": "upstream-broken", "Kind": "tired"}),
        (503, {"Answer": "elsewhere", "Retry": "1", "Peers": "a=localhost:80"}),
        (503, {"Answer": "elsewhere", "Retry": "1", "Peers": "a=fe80::1%eth0:80"}),
        (503, {"Answer": "elsewhere", "Retry": "1", "Peers": ", ".join(["a=1.2.3.4:5"] * 5)}),
        (200, {"Answer": "manifest", "Size": "0", "Digest": str(DIGEST)}),
    ],
)
def test_an_answer_that_is_none_is_refused(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(WireFault):
        codec.decode_blob_answer(
            status, {f"nodecache-{name.lower()}": value for name, value in headers.items()}
        )


def test_an_answer_to_another_question_is_refused() -> None:
    manifest = codec.encode_answer(Manifest(DIGEST, "a/b", 2, None, b"{}"))
    carried = codec.encode_answer(Bytes(5, ranged=True))
    with pytest.raises(WireFault):
        codec.decode_blob_answer(200, codec.fields_of(manifest.headers.items()))
    with pytest.raises(WireFault):
        codec.decode_manifest_answer(206, codec.fields_of(carried.headers.items()), b"")
    with pytest.raises(WireFault, match="size"):
        codec.decode_manifest_answer(200, codec.fields_of(manifest.headers.items()), b"{}\n")


def test_a_message_is_one_line_of_ascii_and_bounded() -> None:
    said = "no\r\nNodecache-Proof: x" + "ä" * 1000
    encoded = codec.encode_answer(Denied(said))
    line = encoded.headers["Nodecache-Message"]
    assert line.isascii()
    assert line.isprintable()
    answer = codec.decode_blob_answer(403, codec.fields_of(encoded.headers.items()))
    assert isinstance(answer, Denied)
    assert answer.reason.startswith("no??Nodecache-Proof: x")
    assert len(answer.reason) == fields.MOST_WORDS


@pytest.mark.parametrize(
    "raw",
    [
        [("Nodecache-Total", "1"), ("nodecache-total", "2")],
        [("Nodecache-Total", "1\x00")],
        [("Nodecache-Total", "1\n2")],
        [("Nodecache-Total", "1" * 5000)],
        [("Nodecache-" + "x" * 80, "1")],
        [(f"Nodecache-{number}", "1") for number in range(40)],
    ],
)
def test_headers_that_are_doubled_overlong_or_too_many_are_refused(
    raw: list[tuple[str, str]],
) -> None:
    with pytest.raises(WireFault):
        codec.fields_of(raw)


def test_headers_of_others_are_left_out() -> None:
    raw = [("Date", "\x00" * 9999), ("Server", "x"), ("NODECACHE-Peer", " a ")]
    assert codec.fields_of(raw) == {"nodecache-peer": "a"}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"id": ' + b"9" * 5000 + b"}",
        b'{"id": NaN}',
        b"\xff",
        b"[]",
        b"null",
    ],
)
def test_json_that_is_made_to_hurt_is_refused(body: bytes) -> None:
    with pytest.raises(WireFault):
        codec.decode_object(body)


def test_a_hello_says_no_more_than_it_may() -> None:
    where = tuple(Address("10.0.0.1", port) for port in range(1, 40))
    read = codec.decode_hello(codec.encode_hello(Hello("a", "1", "0.1", "", where)))
    assert len(read.addresses) == 16


def replaced(**members: Any) -> bytes:
    hello = json.loads(codec.encode_hello(Hello("a", "1", "0.1", "", ())))
    return json.dumps(hello | members).encode()


@pytest.mark.parametrize(
    "body",
    [
        replaced(id="a b"),
        replaced(id="a" * 254),
        replaced(id=""),
        replaced(zone="x\n"),
        replaced(leaving=1),
        replaced(behind=None),
        replaced(inbound=-1),
        replaced(inbound=1.5),
        replaced(inbound=True),
        replaced(inbound=2**50 + 1),
        replaced(inbound="9"),
        replaced(addresses=["localhost:5001"]),
        replaced(addresses="10.0.0.1:5001"),
        replaced(known=[["a", "10.0.0.1:5001", ""]]),
        replaced(known=[["a", "10.0.0.1:5001", "", -1]]),
        replaced(known=[["a", "10.0.0.1:5001", "", 1e300]]),
        replaced(known=[["a", "10.0.0.1:5001", "", True]]),
        replaced(known=[["a", "10.0.0.1:5001", "", 1]] * 20_001),
    ],
)
def test_a_hello_that_is_not_well_formed_is_refused(body: bytes) -> None:
    with pytest.raises(WireFault):
        codec.decode_hello(body)


def test_members_of_a_later_release_are_left_alone() -> None:
    assert codec.decode_hello(replaced(mood="fine")).id == "a"


def test_an_absence_needs_no_more_than_its_word() -> None:
    assert codec.encode_answer(Absent()).headers == {"Nodecache-Answer": "absent"}
    answer = codec.encode_answer(Elsewhere(0.25, (("b", Address("::1", 5001)),)))
    assert answer.headers["Nodecache-Peers"] == "b=[::1]:5001"
    assert answer.headers["Nodecache-Retry"] == "250"
