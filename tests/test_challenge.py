"""Challenges, realms and tokens of an upstream, the well-meant and the hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.challenge import (
    BasicChallenge,
    BearerChallenge,
    Challenge,
    Token,
    parse_challenges,
    parse_token,
    pull_scope,
    realm_allowed,
)

HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:library/alpine:pull"'
)
HUB_CHALLENGE = BearerChallenge(
    "https://auth.docker.io/token", "registry.docker.io", "repository:library/alpine:pull"
)
A = BearerChallenge("https://a/t")
B = BearerChallenge("https://b/t")
BASIC = BasicChallenge("me")


# Challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([HUB], [HUB_CHALLENGE]),
        ([HUB.replace("Bearer", "bearer").replace("realm", "REALM")], [HUB_CHALLENGE]),
        (['Bearer realm="https://a/t"'], [A]),
        (['Bearer  realm = "https://a/t" , x=y'], [A]),
        (["Bearer realm=https://a/t"], [A]),
        (["Bearer realm=https://a/t,service=s"], [BearerChallenge("https://a/t", "s")]),
        (
            ['Bearer realm="https://a/t",scope="repository:x:pull,push repository:y:pull"'],
            [BearerChallenge("https://a/t", None, "repository:x:pull,push repository:y:pull")],
        ),
        (['Bearer realm="https://a/t",realm="https://b/t"'], [A]),
        (['Bearer realm="https://a/t",error="invalid_token"'], [A]),
        (['Bearer realm="https:\\/\\/a/t"'], [A]),
        (
            ['Bearer realm="https://a/t",service="say \\"hi\\""'],
            [BearerChallenge("https://a/t", 'say "hi"')],
        ),
        (['Basic realm="me"'], [BASIC]),
        (["Basic"], [BasicChallenge()]),
        (['Basic realm="me", charset="UTF-8"'], [BASIC]),
        # Several, in one line and in more.
        (['Basic realm="me", Bearer realm="https://a/t"'], [BASIC, A]),
        (['Bearer realm="https://a/t", Basic realm="me"'], [A, BASIC]),
        (['Bearer realm="https://a/t"', 'Basic realm="me"'], [A, BASIC]),
        (['Bearer realm="https://a/t",Bearer realm="https://b/t"'], [A, B]),
        (['Negotiate, Bearer realm="https://a/t"'], [A]),
        (['Negotiate YWJj/+==, Bearer realm="https://a/t"'], [A]),
        (['Negotiate YWJj,Bearer realm="https://a/t"'], [A]),
        (['Digest realm="x, Bearer realm=\\"y\\"", qop="auth", Basic realm="me"'], [BASIC]),
        ([', ,Bearer realm="https://a/t", ,,'], [A]),
        # Junk.
        ([], []),
        ([""], []),
        ([","], []),
        (["Bearer"], []),
        (["Bearer realm"], []),
        (["Bearer realm="], []),
        (['Bearer realm=""'], []),
        (['Bearer service="s"'], []),
        (['realm="https://a/t"'], []),
        (['Bearer realm="https://a/t'], []),
        (["<html>401</html>", 'Bearer realm="https://a/t"'], [A]),
        (['@@@ "x" , Bearer realm="https://a/t"'], [A]),
        (['"Bearer realm="https://a/t"'], []),
        (['Bearer realm="https://a/t" junk'], [A]),
        (['Bearer realm="https://a/t" @ , Basic realm="me"'], [A, BASIC]),
        (["\x00\xff", HUB], [HUB_CHALLENGE]),
        ([HUB + "," * (8192 - len(HUB))], [HUB_CHALLENGE]),
        ([HUB + "," * (8193 - len(HUB))], []),
    ],
)
def test_what_is_read_of_the_headers(headers: list[str], expected: list[Challenge]) -> None:
    assert parse_challenges(headers) == expected


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=3))
def test_any_headers_are_challenges_or_ignored(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert isinstance(challenge, BasicChallenge) or challenge.realm


@given(st.text('Bbearicsm= \t,"\\/:', max_size=40))
def test_no_junk_before_the_next_line_hides_a_challenge(junk: str) -> None:
    assert parse_challenges([junk, HUB])[-1] == HUB_CHALLENGE


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


@given(st.lists(st.builds(BearerChallenge, texts, texts, texts), max_size=3))
def test_challenges_are_read_back_from_one_line(challenges: list[BearerChallenge]) -> None:
    line = ", ".join(
        f"Bearer realm={quoted(one.realm)}, service={quoted(one.service or '')}"
        f",scope={quoted(one.scope or '')}"
        for one in challenges
    )
    assert parse_challenges([line]) == challenges


def test_the_scope_of_a_pull() -> None:
    assert pull_scope("library/alpine") == "repository:library/alpine:pull"


# Realms


@pytest.mark.parametrize(
    ("realm", "upstream", "extra"),
    [
        ("https://auth.docker.io/token", "https://registry-1.docker.io", []),
        ("https://AUTH.Docker.IO/token", "https://registry-1.docker.io", []),
        ("https://auth.docker.io./token", "https://registry-1.docker.io", []),
        ("https://auth.docker.io:8443/token", "https://registry-1.docker.io", []),
        ("https://docker.io/token", "https://registry-1.docker.io", []),
        ("https://a.b.docker.io/token", "https://registry-1.docker.io", []),
        ("https://ghcr.io/token", "https://ghcr.io", []),
        ("https://auth.quay.io/token", "https://quay.io", []),
        ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com", []),
        ("https://auth.example.co.uk/t", "https://registry.example.co.uk", []),
        ("https://auth.example/t", "https://registry.net", ["auth.example"]),
        ("https://auth.example/t", "https://registry.net", ["AUTH.example"]),
        ("https://auth.example:444/t", "https://registry.net", ["auth.example:444"]),
        ("https://auth.example/t", "https://registry.net", ["auth.example:443"]),
        ("http://auth.example/t", "http://registry.net", ["auth.example:80"]),
        ("https://[::1]:444/t", "https://registry.net", ["[::1]:444"]),
        ("http://127.0.0.1:5001/token", "http://127.0.0.1:5000", []),
        ("https://127.0.0.1:5001/token", "http://127.0.0.1:5000", []),
        ("http://[::1]:5001/token", "http://[0:0::1]:5000", []),
        ("http://localhost:5001/token", "http://localhost:5000", []),
    ],
)
def test_realms_that_are_asked_for_tokens(realm: str, upstream: str, extra: list[str]) -> None:
    assert realm_allowed(realm, upstream, extra)


@pytest.mark.parametrize(
    ("realm", "upstream", "extra"),
    [
        ("http://evil", "https://registry-1.docker.io", []),
        ("https://evil.example/token", "https://registry-1.docker.io", []),
        ("https://evildocker.io/token", "https://registry-1.docker.io", []),
        ("https://docker.io.evil.example/token", "https://registry-1.docker.io", []),
        ("https://auth.docker.io@evil.example/token", "https://registry-1.docker.io", []),
        ("https://evil@auth.docker.io/token", "https://registry-1.docker.io", []),
        ("https://evil.example\\@auth.docker.io/t", "https://registry-1.docker.io", []),
        ("https://evil.example\\.docker.io/t", "https://registry-1.docker.io", []),
        # Never in the clear for an upstream that is not.
        ("http://auth.docker.io/token", "https://registry-1.docker.io", []),
        ("http://ghcr.io/token", "https://ghcr.io", []),
        ("http://auth.example/t", "https://registry.net", ["auth.example"]),
        # A parent domain under which anyone may register is no parent.
        ("https://evil.io/token", "https://ghcr.io", []),
        ("https://io/token", "https://ghcr.io", []),
        ("https://evil.co.uk/t", "https://registry.co.uk", []),
        ("https://co.uk/t", "https://registry.co.uk", []),
        ("http://evil.localhost/t", "http://localhost:5000", []),
        ("http://evil.registry/t", "http://registry:5000", []),
        # Addresses have no parents.
        ("http://10.0.0.2/t", "http://10.0.0.1", []),
        ("http://1.0.0.1/t", "http://0.0.1", []),
        ("http://evil.0.0.1/t", "http://10.0.0.1", []),
        ("http://[::2]/t", "http://[::1]", []),
        ("https://169.254.169.254/latest", "https://registry-1.docker.io", []),
        ("https://127.0.0.1/t", "https://registry-1.docker.io", []),
        # Not listed, or listed at another port.
        ("https://auth.example:445/t", "https://registry.net", ["auth.example:444"]),
        ("https://x.auth.example/t", "https://registry.net", ["auth.example"]),
        # No URL that can be asked.
        ("", "https://registry-1.docker.io", []),
        ("me", "https://registry-1.docker.io", []),
        ("/token", "https://registry-1.docker.io", []),
        ("//auth.docker.io/token", "https://registry-1.docker.io", []),
        ("ftp://auth.docker.io/token", "https://registry-1.docker.io", []),
        ("file:///etc/passwd", "https://registry-1.docker.io", []),
        ("https:auth.docker.io", "https://registry-1.docker.io", []),
        ("https://", "https://registry-1.docker.io", []),
        ("https://.docker.io/t", "https://registry-1.docker.io", []),
        ("https://a..docker.io/t", "https://registry-1.docker.io", []),
        ("https://evil.example%2f.docker.io/t", "https://registry-1.docker.io", []),
        ("https://evil.example;.docker.io/t", "https://registry-1.docker.io", []),
        ("https://auth.docker.io:x/t", "https://registry-1.docker.io", []),
        ("https://auth.docker.io:99999/t", "https://registry-1.docker.io", []),
        ("https://[::1/t", "https://registry-1.docker.io", []),
        ("https://auth.docker.io/t\r\nX: y", "https://registry-1.docker.io", []),
        ("https://auth.docker.io/ t", "https://registry-1.docker.io", []),
        ("https://\uff41uth.docker.io/t", "https://registry-1.docker.io", []),
        ("https://auth.docker.io/t", "registry-1.docker.io", []),
    ],
)
def test_realms_that_are_not(realm: str, upstream: str, extra: list[str]) -> None:
    assert not realm_allowed(realm, upstream, extra)


@given(st.text(max_size=40))
def test_any_text_is_a_realm_or_not(text: str) -> None:
    assert not realm_allowed(text, "https://registry-1.docker.io", [])
    realm_allowed("https://" + text, "https://registry-1.docker.io", [])


# Tokens

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def token(**fields: Any) -> Token:
    return parse_token(json.dumps({"token": "abc", **fields}).encode(), NOW)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"token": "abc"}', "abc"),
        (b'{"access_token": "abc"}', "abc"),
        (b'{"token": "abc", "access_token": "xyz"}', "abc"),
        (b'{"token": "", "access_token": "xyz"}', "xyz"),
        (b'{"token": null, "access_token": "xyz", "refresh_token": 1}', "xyz"),
        (b'\xef\xbb\xbf{"token": "abc"}', "abc"),
    ],
)
def test_a_token_goes_by_two_names(body: bytes, value: str) -> None:
    assert parse_token(body, NOW).value == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"abc"',
        b"{}",
        b"<html>403 Forbidden</html>",
        b'{"token": 5}',
        b'{"token": ""}',
        b'{"token": ["abc"]}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX-Bad: 1"}',
        b'{"token": "\\u00e4"}',
        b'{"token": "abc"',
        b'{"token": "abc"} x',
        b"\xff\xfe",
        b"\xff",
        b"[" * 100_000,
        b'{"token": "abc", "expires_in": ' + b"9" * 5000 + b"}",
    ],
)
def test_an_answer_without_a_token_that_can_be_used(body: bytes) -> None:
    with pytest.raises(ValueError):  # of json or our own
        parse_token(body, NOW)


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [
        (300, 300),
        (0.5, 0.5),
        ("300", 300),
        (None, 60),
        (0, 60),
        (-5, 60),
        ("soon", 60),
        (True, 60),
        ([300], 60),
        (float("nan"), 60),
        (float("inf"), 60),
        (10**400, 60),
    ],
)
def test_the_life_of_a_token(expires_in: Any, life: float) -> None:
    assert token(expires_in=expires_in).expires_at == NOW + life


def test_a_token_that_names_no_life_lives_a_minute() -> None:
    assert token().expires_at == NOW + 60


@pytest.mark.parametrize(
    ("issued_at", "expires_at"),
    [
        ("2023-11-14T22:13:00Z", NOW - 20 + 300),
        ("2023-11-14T22:13:00.123456789Z", NOW - 20 + 0.123456 + 300),
        ("2023-11-15T00:13:00+02:00", NOW - 20 + 300),
        ("2023-11-14T22:13:00", NOW - 20 + 300),
        # Their clock is ahead of ours, or far behind it, or says nothing.
        ("2023-11-14T23:13:00Z", NOW + 300),
        ("2023-11-14T21:13:00Z", NOW + 300),
        ("0001-01-01T00:00:00Z", NOW + 300),
        ("9999-12-31T23:59:59-23:59", NOW + 300),
        ("yesterday", NOW + 300),
        ("", NOW + 300),
        (1_699_999_980, NOW + 300),
        (None, NOW + 300),
    ],
)
def test_the_life_counts_from_the_issue_where_that_is_believable(
    issued_at: Any, expires_at: float
) -> None:
    assert token(expires_in=300, issued_at=issued_at).expires_at == pytest.approx(
        expires_at, rel=0, abs=1e-3
    )


def test_a_token_does_not_show_its_value() -> None:
    assert "abc" not in repr(token())


@given(st.binary(max_size=50))
def test_any_bytes_are_a_token_or_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # of json or our own
        parse_token(body, NOW)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(json_values, json_values)
def test_whatever_else_a_token_answer_says_it_is_not_expired_on_receipt(
    life: Any, issued_at: Any
) -> None:
    assert token(expires_in=life, issued_at=issued_at).expires_at >= NOW
