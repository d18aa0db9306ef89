"""Signatures, proofs and nonces: who is let in, and what is let in twice (nothing)."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.peerwire.signing import (
    Accepted,
    Asked,
    BadSignature,
    Crowded,
    Expired,
    Misdirected,
    Nonces,
    Replayed,
    Verifier,
    prove,
    proven,
    sign,
    signature_of,
)

OLD, NEW, OTHER = b"o" * 16, b"n" * 32, b"x" * 16
NOW = 1_800_000_000_000
NONCE = "ab" * 16
ASKED = Asked("GET", "/peer/v1/blob?ns=a", "one", "two", "bytes=0-9")


def verifier(**more: Any) -> Verifier:
    return Verifier("two", 30.0, **more)


def signed(asked: Asked = ASKED, secret: bytes = NEW, now: int = NOW, nonce: str = NONCE) -> str:
    return sign(asked, secret, now, nonce)


def test_any_of_the_secrets_will_do_and_is_named() -> None:
    for number, secret in enumerate((NEW, OLD)):
        verdict = verifier().check(ASKED, signed(secret=secret), [NEW, OLD], NOW)
        assert isinstance(verdict, Accepted)
        assert verdict.secret == number
        assert verdict.signature == signature_of(signed(secret=secret))


def test_a_secret_that_is_not_listed_will_not_do() -> None:
    assert verifier().check(ASKED, signed(secret=OTHER), [NEW, OLD], NOW) == BadSignature()
    assert verifier().check(ASKED, signed(), [], NOW) == BadSignature()


@pytest.mark.parametrize(
    "change",
    [
        {"method": "HEAD"},
        {"target": "/peer/v1/blob?ns=b"},
        {"node": "three"},
        {"range": "bytes=0-8"},
        {"range": ""},
        {"body": b"x"},
        {"to": "three"},
    ],
)
def test_the_signature_is_of_all_that_is_asked(change: dict[str, Any]) -> None:
    other = attrs.evolve(ASKED, **change)
    assert verifier().check(other, signed(), [NEW], NOW) == BadSignature()


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=1",
        signed().upper(),
        signed() + " ",
        signed() + "\n",
        signed().replace("t=1", "t=2", 1),
        signed().replace("n=ab", "n=ba"),
        signed()[:-1] + ("0" if signed()[-1] != "0" else "1"),
        signed().replace("t=", "t=-"),
        "t=" + "9" * 400 + signed()[15:],
        "ä" * 100,
    ],
)
def test_a_header_that_is_none_is_a_bad_signature(header: str | None) -> None:
    assert verifier().check(ASKED, header, [NEW], NOW) == BadSignature()


@given(st.text())
def test_garbage_is_a_bad_signature(header: str) -> None:
    assert verifier().check(ASKED, header, [NEW], NOW) == BadSignature()
    assert not proven(header, NEW, "s", 200, {}, b"")


@pytest.mark.parametrize(
    ("off", "good"), [(30_000, True), (-30_000, True), (30_001, False), (-30_001, False)]
)
def test_the_time_must_be_within_the_window(*, off: int, good: bool) -> None:
    verdict = verifier().check(ASKED, signed(now=NOW + off), [NEW], NOW)
    assert isinstance(verdict, Accepted if good else Expired)
    if isinstance(verdict, Expired):
        assert verdict.now == NOW


def test_what_was_served_is_not_served_again() -> None:
    one = verifier()
    early = signed(now=NOW + 29_000)
    assert isinstance(one.check(ASKED, early, [NEW], NOW), Accepted)
    for later in (0, 1000, 58_999, 59_000):
        assert one.check(ASKED, early, [NEW], NOW + later) == Replayed()
    assert isinstance(one.check(ASKED, early, [NEW], NOW + 59_001), Expired)


def test_a_clock_that_goes_back_lets_nothing_in_again() -> None:
    one = verifier()
    assert isinstance(one.check(ASKED, signed(), [NEW], NOW), Accepted)
    other = attrs.evolve(ASKED, node="three")
    assert isinstance(one.check(other, signed(other), [NEW], NOW + 90_000), Expired)
    assert isinstance(one.check(ASKED, signed(), [NEW], NOW), Expired)


def test_a_request_for_another_node_is_not_served() -> None:
    asked = attrs.evolve(ASKED, to="three")
    assert isinstance(verifier().check(asked, signed(asked), [NEW], NOW), Misdirected)


def test_whoever_does_not_know_us_yet_asks_an_address() -> None:
    asked = attrs.evolve(ASKED, to="10.0.0.2:5001")
    assert isinstance(verifier().check(asked, signed(asked), [NEW], NOW), Accepted)


def test_a_full_memory_refuses_and_forgets_nothing_before_its_time() -> None:
    nonces = Nonces(most=2)
    one = verifier(nonces=nonces)
    headers = [signed(nonce=f"{number:032x}") for number in range(3)]
    verdicts = [one.check(ASKED, header, [NEW], NOW) for header in headers]
    assert [type(verdict) for verdict in verdicts] == [Accepted, Accepted, Crowded]
    assert one.check(ASKED, headers[0], [NEW], NOW + 30_000) == Replayed()
    late = signed(now=NOW + 32_000)
    assert isinstance(one.check(ASKED, late, [NEW], NOW + 32_000), Accepted)
    assert len(nonces) == 1


def test_strangers_and_latecomers_take_no_room() -> None:
    nonces = Nonces()
    one = verifier(nonces=nonces)
    one.check(ASKED, signed(secret=OTHER), [NEW], NOW)
    one.check(ASKED, signed(now=NOW - 60_000), [NEW], NOW)
    assert len(nonces) == 0


FIELDS = {"nodecache-peer": "two", "nodecache-answer": "absent", "nodecache-wire": "1"}


def test_a_proof_is_of_all_that_is_answered() -> None:
    proof = prove(NEW, "sig", 404, FIELDS, b"")

    def good(
        secret: bytes = NEW,
        signature: str = "sig",
        status: int = 404,
        fields: dict[str, str] = FIELDS,
        body: bytes | None = b"",
    ) -> bool:
        return proven(proof, secret, signature, status, fields, body)

    assert good()
    assert not good(secret=OLD)
    assert not good(signature="gis")
    assert not good(status=403)
    assert not good(fields=FIELDS | {"nodecache-peer": "three"})
    assert not good(fields=FIELDS | {"nodecache-total": "3"})
    assert not good(body=b"x")
    assert not good(body=None)


def test_a_proof_does_not_depend_on_how_names_are_spelt_nor_on_others_headers() -> None:
    spelt = {"Nodecache-Wire": "1", "NODECACHE-ANSWER": "absent", "Nodecache-Peer": "two"}
    proof = prove(NEW, "sig", 404, spelt | {"Date": "now"}, b"")
    assert proven(proof, NEW, "sig", 404, FIELDS | {"nodecache-proof": proof}, b"")
