"""The pure rules of the upstream room: redirects, addresses, proxies, rates, manifests, extents."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.byteranges import Span
from nodecache.failures import ConfigError, UpstreamFailure
from nodecache.reference import Digest
from nodecache.upstream.account import parse_credentials
from nodecache.upstream.extents import EMPTY, Extent, judge_extent
from nodecache.upstream.fetched import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    digest_in,
    judge_listing,
    judge_manifest,
    media_type_of,
)
from nodecache.upstream.guard import Guard, is_private, names_private_place
from nodecache.upstream.proxy import Proxies, parse_proxy
from nodecache.upstream.rates import Rates, parse_rates, parse_retry_after
from nodecache.upstream.redirects import headers_for, next_url
from nodecache.upstream.urls import host_of, origin_of

HUB = "https://registry-1.docker.io/v2/library/alpine/blobs/sha256:00"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/x?verify=1-%2F", "https://cdn.example/x?verify=1-%2F"),
        ("/v2/other", "https://registry-1.docker.io/v2/other"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("https://cdn.example/x#fragment", "https://cdn.example/x"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
    ],
)
def test_a_redirect_leads_on(location: str, target: str) -> None:
    assert next_url(HUB, location) == target


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://cdn.example/x",
        "ftp://cdn.example/x",
        "javascript:alert(1)",
        "https://user:pass@cdn.example/x",
        "https://cdn.example\\@evil.example/",
        "https://cdn.example:99999/",
        "https://[::1/",
        "https://cdn.example/a b",
        "https://cdn.example/\r\nX: y",
        "https://cdn.example/é",
        "https://cdn.example/" + "x" * 20_000,
    ],
)
def test_a_redirect_is_refused(location: str | None) -> None:
    with pytest.raises(UpstreamFailure):
        next_url(HUB, location)


def test_http_may_lead_to_https() -> None:
    assert next_url("http://hub.example/", "https://cdn.example/") == "https://cdn.example/"


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("https://registry-1.docker.io:443/elsewhere", True),
        ("https://registry-1.docker.io:8443/", False),
        ("https://cdn.docker.io/", False),
        ("http://registry-1.docker.io/", False),
    ],
)
def test_a_login_stays_with_its_origin(target: str, kept: bool) -> None:
    headers = {"authorization": "secret", "Range": "bytes=0-1"}
    assert headers_for(HUB, target, headers) == (headers if kept else {"Range": "bytes=0-1"})


def test_an_origin_always_has_its_port() -> None:
    assert origin_of("https://Hub.example/x") == "https://hub.example:443"
    assert origin_of("http://[::1]/") == "http://[::1]:80"
    assert (host_of("https://[::1]:5/x?y"), host_of("http://["), host_of("")) == ("::1", "", "")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "2002:0a00:0001::1"),
    ],
)
def test_an_address_inside_is_private(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "104.16.0.1", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert not is_private(address)


@given(st.ip_addresses())
def test_every_address_is_judged(address: object) -> None:
    assert is_private(str(address)) in {True, False}


def test_a_name_tells_little() -> None:
    assert names_private_place("LOCALHOST.")
    assert names_private_place("a.localhost")
    assert names_private_place("10.1.2.3")
    assert not names_private_place("localhost.example")
    assert not names_private_place("cdn.example")


def test_only_a_private_upstream_opens_private_addresses() -> None:
    guard = Guard("https://hub.example:443")
    assert not guard.permits("10.0.0.1")
    guard.reached("10.0.0.2")
    assert guard.permits("10.0.0.1")
    guard.reached("8.8.8.8")
    assert not guard.permits("10.0.0.1")
    assert guard.permits("8.8.4.4")


ENVIRON = {
    "HTTPS_PROXY": "http://me:pa%40ss@proxy.example:3128",
    "http_proxy": "plain.example:8080",
    "NO_PROXY": "inside.example, .below.example,*.star.example,10.0.0.0/8,192.0.2.7,[fd00::1],"
    "port.example:8443, 2001:db8::/32, bad/net,",
}


@pytest.mark.parametrize(
    ("scheme", "host", "port", "proxied"),
    [
        ("https", "registry-1.docker.io", 443, True),
        ("http", "registry-1.docker.io", 80, True),
        ("https", "inside.example", 443, False),
        ("https", "INSIDE.example.", 443, False),
        ("https", "a.inside.example", 443, False),
        ("https", "notinside.example", 443, True),
        ("https", "below.example", 443, True),
        ("https", "a.below.example", 443, False),
        ("https", "star.example", 443, True),
        ("https", "a.b.star.example", 443, False),
        ("https", "10.1.2.3", 443, False),
        ("https", "11.1.2.3", 443, True),
        ("https", "192.0.2.7", 443, False),
        ("https", "192.0.2.70", 443, True),
        ("https", "fd00::1", 443, False),
        ("https", "2001:db8::9", 443, False),
        ("https", "2001:db9::9", 443, True),
        ("https", "port.example", 8443, False),
        ("https", "port.example", 443, True),
        ("https", "localhost", 443, False),
        ("http", "127.0.0.1", 80, False),
        ("http", "::1", 80, False),
    ],
)
def test_no_proxy(scheme: str, host: str, port: int, proxied: bool) -> None:
    proxy = Proxies.of(None, ENVIRON).choose(scheme, host, port)
    assert (proxy is not None) == proxied


def test_the_proxy_is_chosen_by_the_scheme() -> None:
    proxies = Proxies.of(None, ENVIRON)
    secure = proxies.choose("https", "hub.example", 443)
    plain = proxies.choose("http", "hub.example", 80)
    assert secure is not None
    assert plain is not None
    assert (secure.host, secure.port) == ("proxy.example", 3128)
    assert secure.authorization == "Basic bWU6cGFAc3M="
    assert "bWU6" not in repr(secure)
    assert (plain.host, plain.port, plain.authorization) == ("plain.example", 8080, None)


def test_a_setting_wins_over_the_environment_and_its_exceptions() -> None:
    proxies = Proxies.of("http://[fd00::9]:1", {**ENVIRON, "NO_PROXY": "*"})
    proxy = proxies.choose("https", "127.0.0.1", 443)
    assert proxy is not None
    assert (proxy.host, proxy.port) == ("fd00::9", 1)
    assert Proxies.of(None, {**ENVIRON, "NO_PROXY": "*"}).choose("https", "a.example", 1) is None
    assert Proxies.of(None, {}).choose("https", "a.example", 443) is None


@pytest.mark.parametrize("text", ["https://p:1", "socks5://p:1", "http://", "http://p:x", "[", ""])
def test_what_is_no_proxy_names_its_variable(text: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        parse_proxy(text, "HTTPS_PROXY")


def rates(**headers: str) -> Rates | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_rates(named.get, 1000.0)


def test_rates_as_docker_hub_sends_them() -> None:
    assert rates(
        ratelimit_limit="100;w=21600",
        ratelimit_remaining="-3;w=21600",
        docker_ratelimit_source="192.0.2.1",
    ) == Rates(100, -3, 21600, None, "192.0.2.1")


def test_rates_as_others_send_them() -> None:
    assert rates(x_ratelimit_limit="60", x_ratelimit_reset="30") == Rates(
        60, None, None, 1030.0, ""
    )
    late = str(1_700_000_000)
    assert rates(ratelimit_remaining="0", ratelimit_reset=late) == Rates(
        None, 0, None, 1_700_000_000.0, ""
    )
    assert rates(ratelimit_limit="10, 10;w=1") == Rates(10, None, 1, None, "")


def test_no_rates_are_none_and_junk_is_unknown() -> None:
    assert rates() is None
    assert rates(ratelimit_reset="5") is None
    assert rates(ratelimit_limit="many", ratelimit_remaining="1e9") == Rates(
        None, None, None, None, ""
    )


@given(st.dictionaries(st.sampled_from(["ratelimit-limit", "ratelimit-remaining"]), st.text()))
def test_no_rate_header_is_a_trouble(headers: dict[str, str]) -> None:
    parse_rates(headers.get, 0.0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Thu, 01 Jan 1970 00:17:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
        (None, None),
        ("T,3 Nov " + "4" * 50 + " 0:0", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, 1000.0) == seconds


@given(st.text())
def test_no_retry_after_is_a_trouble(text: str) -> None:
    parse_retry_after(text, 0.0)


BODY = json.dumps({"mediaType": OCI_INDEX, "manifests": []}).encode()


@pytest.mark.parametrize(
    ("fields", "content_type", "media_type"),
    [
        ({"mediaType": OCI_INDEX}, OCI_INDEX, OCI_INDEX),
        ({"mediaType": OCI_INDEX}, DOCKER_LIST, OCI_INDEX),
        ({"mediaType": OCI_INDEX}, None, OCI_INDEX),
        ({"mediaType": "not a type"}, DOCKER_LIST, DOCKER_LIST),
        ({"mediaType": 5}, f"{DOCKER_MANIFEST}; charset=utf-8", DOCKER_MANIFEST),
        ({"manifests": []}, "application/json", OCI_INDEX),
        ({"layers": []}, "text/plain; charset=utf-8", OCI_MANIFEST),
        ({"layers": []}, "junk", OCI_MANIFEST),
        ({}, "application/vnd.example.thing+json", "application/vnd.example.thing+json"),
        ({}, None, "application/octet-stream"),
    ],
)
def test_a_manifests_media_type(
    fields: dict[str, object], content_type: str | None, media_type: str
) -> None:
    body = json.dumps(fields).encode()
    assert judge_manifest(body, content_type, None, None).media_type == media_type


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_manifest_is_refused_for_a_tag(body: bytes) -> None:
    with pytest.raises(UpstreamFailure):
        judge_manifest(body, OCI_MANIFEST, None, None)
    with pytest.raises(UpstreamFailure):
        judge_listing(body, "application/json", None, None)


def test_bytes_that_match_the_digest_are_what_was_asked_for() -> None:
    own = judge_manifest(b"<html>", "text/html", None, digest_of(b"<html>"))
    assert own.body == b"<html>"
    other = Digest("sha256", "0" * 64)
    assert judge_manifest(BODY, None, other, digest_of(BODY)).digest == digest_of(BODY)
    with pytest.raises(UpstreamFailure):
        judge_manifest(BODY, None, digest_of(BODY), other)
    with pytest.raises(UpstreamFailure):
        judge_manifest(BODY, None, other, None)


def digest_of(body: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(body).hexdigest())


def test_a_digest_header_is_read_or_left() -> None:
    text = "sha256:" + "a" * 64
    assert str(digest_in(f" {text} ")) == text
    for junk in (None, "", "sha256:xyz", "sha512:" + "a" * 128, "a" * 64):
        assert digest_in(junk) is None
    assert media_type_of("a/b ; c=d") == "a/b"


SOME = Digest("sha256", "1" * 64)


@pytest.mark.parametrize(
    ("status", "length", "content_range", "span", "extent"),
    [
        (200, 100, None, None, Extent(0, 100, 100, ranged=False)),
        (200, None, None, Span(5, 25), Extent(0, None, None, ranged=False)),
        (206, 20, "bytes 5-24/100", Span(5, 25), Extent(5, 25, 100, ranged=True)),
        (206, None, "bytes 5-24/*", Span(5, 25), Extent(5, 25, None, ranged=True)),
        (206, 10, "bytes 5-14/100", Span(5, 25), Extent(5, 15, 100, ranged=True)),
        (206, 100, "bytes 0-99/100", None, Extent(0, 100, 100, ranged=True)),
        (416, 0, "bytes */100", Span(100, 200), Extent(100, 100, 100, ranged=True)),
        (416, 7, "bytes */0", Span(0, 200), Extent(0, 0, 0, ranged=True)),
    ],
)
def test_what_an_answer_holds(
    status: int, length: int | None, content_range: str | None, span: Span | None, extent: Extent
) -> None:
    assert judge_extent(status, length, content_range, span, SOME) == extent


@pytest.mark.parametrize(
    ("status", "length", "content_range", "span"),
    [
        (206, 20, "bytes 6-25/100", Span(5, 25)),
        (206, 21, "bytes 5-25/100", Span(5, 25)),
        (206, 19, "bytes 5-24/100", Span(5, 25)),
        (206, 20, "bytes */100", Span(5, 25)),
        (206, 20, None, Span(5, 25)),
        (206, 50, "bytes 50-99/100", None),
        (206, 50, "bytes 0-49/*", None),
        (416, 0, "bytes */100", Span(5, 25)),
        (416, 0, "bytes */100", None),
        (416, 0, None, Span(5, 25)),
        (416, 0, "junk", Span(0, 25)),
    ],
)
def test_an_answer_that_does_not_fit(
    status: int, length: int | None, content_range: str | None, span: Span | None
) -> None:
    with pytest.raises(ValueError, match=r"206|416|Content-Range"):
        judge_extent(status, length, content_range, span, SOME)


def test_the_empty_blob_needs_no_content_range() -> None:
    assert judge_extent(416, 0, None, Span(0, 8), EMPTY).total == 0


@pytest.mark.parametrize(
    ("text", "basic", "bearer"),
    [
        ("me:pass:word\n", "Basic bWU6cGFzczp3b3Jk", None),
        ("\r\n  me:pass:word  \r\n", "Basic bWU6cGFzczp3b3Jk", None),
        ("eyJ.token", None, "Bearer eyJ.token"),
    ],
)
def test_an_account_file(text: str, basic: str | None, bearer: str | None) -> None:
    credentials = parse_credentials(text)
    assert (credentials.basic, credentials.bearer) == (basic, bearer)
    assert "pass" not in repr(credentials)
    assert "eyJ" not in repr(credentials)


@pytest.mark.parametrize(
    "text", ["", "\n", "a:b\nc:d", ":secret", "secret:", "two secret", "sécret"]
)
def test_what_is_no_account_file_is_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"it|its") as caught:
        parse_credentials(text)
    assert "secret" not in str(caught.value)
