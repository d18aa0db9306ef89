"""Names, tags, digests, paths and queries: what is understood, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import BadRequest, RequestProblem, UnknownNamespace
from nodecache.reference import (
    BasePath,
    BlobPath,
    Digest,
    ManifestPath,
    Query,
    Reference,
    ReferrersPath,
    RegistryPath,
    Repository,
    Tag,
    TagsPath,
    canonical_namespace,
    is_namespace,
    parse_name,
    parse_path,
    parse_query,
    parse_reference,
    repository,
)
from tests import strategies

HEX = "0123456789abcdef" * 4
DIGEST = Digest("sha256", HEX)
P = RequestProblem


def problem(call: Any, *arguments: Any) -> RequestProblem:
    """Why ``call`` refuses ``arguments``."""
    with pytest.raises(BadRequest) as caught:
        call(*arguments)
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 200
    return caught.value.problem


def name_by_hand(text: str) -> bool:
    """The grammar of names once more, without a regular expression."""
    return len(text) <= 255 and all(component_by_hand(part) for part in text.split("/"))


def component_by_hand(text: str) -> bool:
    runs = ["".join(run) for _, run in itertools.groupby(text, lambda char: char in "._-")]
    words, between = runs[::2], runs[1::2]
    return (
        len(runs) % 2 == 1
        and all(set(word) <= set(strategies.LOWER) for word in words)
        and all(run in {".", "_", "__"} or set(run) == {"-"} for run in between)
    )


# Names


@given(strategies.names())
def test_every_name_of_the_grammar_is_a_name(name: str) -> None:
    assert parse_name(name) == name


@given(st.text("a0z.._-/A", max_size=10))
def test_names_are_what_the_grammar_says_and_nothing_else(text: str) -> None:
    try:
        accepted = parse_name(text) == text
    except BadRequest:
        accepted = False
    assert accepted == name_by_hand(text)


@pytest.mark.parametrize(
    "name",
    ["a", "library/alpine", "a.b", "a_b", "a__b", "a-b", "a---b", "0/1", "a/b/c/d/e", "a" * 255],
)
def test_names_that_are_allowed(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "A",
        "library/Alpine",
        ".",
        "..",
        "a/..",
        "../a",
        "a..b",
        "a___b",
        "a_.b",
        ".a",
        "a.",
        "-a",
        "a-",
        "_a",
        "_tags",
        "a b",
        "a\n",
        "a\x00",
        "ä",
        "а",  # noqa: RUF001  # a Cyrillic letter that looks like an a
        "٣",  # an Arabic digit
        "a:b",
        "a@b",
        "a" * 256,
        "a/" * 128 + "a",
    ],
)
def test_names_that_are_refused(name: str) -> None:
    assert problem(parse_name, name) is P.NAME


# Tags


@given(strategies.tags())
def test_a_tag_is_a_reference(tag: Tag) -> None:
    assert parse_reference(str(tag)) == tag


@pytest.mark.parametrize(
    "text",
    ["latest", "3.20", "V1.0", "_x", "A", "0", "a..b", "a.-_", "a" * 128, f"sha256-{HEX}.sig"],
)
def test_tags_that_are_allowed(text: str) -> None:
    assert parse_reference(text) == Tag(text)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 129, ".a", "-a", ".", "..", "a b", "a/b", "a\n", "a\x00", "ä", "a+b", "a@b", "a%b"],
)
def test_tags_that_are_refused(text: str) -> None:
    assert problem(parse_reference, text) is P.TAG


# Digests


@given(strategies.digests())
def test_a_digest_is_read_back_from_its_text(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest
    assert parse_reference(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        HEX,
        f":{HEX}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-1]}\n",
        f"sha256:{HEX}\n",
        f"sha256::{HEX}",
        f"sha256:sha256:{HEX}",
        f"sha256:{HEX[:-2]}..",
        f"sha256:{HEX[:-2]}/a",
        f"sha512:{HEX}",
        f"sha512:{HEX * 2}0",
        f"sha512:{HEX.upper() * 2}",
        f"sha384:{HEX}",
        "md5:abc",
        "latest:1",
        f"a..b:{HEX}",
        f"x:{'a' * 300}",
    ],
)
def test_malformed_digests(text: str) -> None:
    assert problem(Digest.parse, text) is P.DIGEST


@pytest.mark.parametrize(
    "text",
    [
        f"sha512:{HEX * 2}",
        f"sha384:{HEX}{HEX[:32]}",
        f"blake3:{HEX}",
        f"md5:{HEX[:32]}",
        f"sha256+b64u:{HEX}",
        f"multihash+base58:{'QmRZ' * 11}",
    ],
)
def test_well_formed_digests_of_another_algorithm(text: str) -> None:
    assert problem(Digest.parse, text) is P.DIGEST_ALGORITHM


# Values check themselves


def test_a_digest_can_not_be_made_of_bad_parts() -> None:
    assert problem(Digest, "sha256", "../../etc/passwd") is P.DIGEST
    assert problem(Digest, "../sha256", HEX) is P.DIGEST


def test_a_tag_can_not_be_made_of_a_path() -> None:
    assert problem(Tag, "../x") is P.TAG


def test_a_repository_can_not_be_made_of_bad_parts() -> None:
    assert problem(Repository, "docker.io", "a/../b") is P.NAME
    for namespace in ["", "..", ".", "a/b", "DOCKER.IO", "a\x00", "-a", "_tags", "a:b"]:
        with pytest.raises(UnknownNamespace):
            Repository(namespace, "a/b")


@given(strategies.repositories())
def test_a_repository_reads_as_namespace_and_name(made: Repository) -> None:
    assert str(made) == f"{made.namespace}/{made.name}"


# Paths


@given(st.data(), strategies.names(), strategies.references(), strategies.digests())
def test_every_endpoint_is_read_back_from_its_path_however_it_is_encoded(
    data: st.DataObject, name: str, reference: Reference, digest: Digest
) -> None:
    cases: list[tuple[str, RegistryPath]] = [
        ("/v2/", BasePath()),
        (f"/v2/{name}/manifests/{reference}", ManifestPath(name, reference)),
        (f"/v2/{name}/blobs/{digest}", BlobPath(name, digest)),
        (f"/v2/{name}/referrers/{digest}", ReferrersPath(name, digest)),
        (f"/v2/{name}/tags/list", TagsPath(name)),
    ]
    text, path = data.draw(st.sampled_from(cases))
    assert parse_path(data.draw(strategies.percent_encoded(text))) == path


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda end: b"/v2/" + end)))
def test_any_bytes_are_a_path_or_a_bad_request(raw: bytes) -> None:
    try:
        path = parse_path(raw)
    except BadRequest:
        return
    assert isinstance(path, BasePath) or name_by_hand(path.name)


HOSTILE = ["..", ".", "", "%2e%2e", "%2E.", "..%2f..", "a%2fb", "%5c..", "%00", "%252e", "a"]


@given(st.lists(st.sampled_from(HOSTILE), max_size=4), st.sampled_from(["x", "..", "%2e%2e"]))
def test_no_path_names_a_way_out_of_a_folder(parts: list[str], last: str) -> None:
    try:
        path = parse_path("/".join(["/v2", *parts, "manifests", last]).encode())
    except BadRequest:
        assert {*parts, last} != {"a", "x"}
        return
    assert {*parts, last} == {"a", "x"}
    assert path == ManifestPath("/".join(parts), Tag("x"))


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/v2", BasePath()),
        (b"/v2/", BasePath()),
        (b"/v2/alpine/manifests/latest", ManifestPath("alpine", Tag("latest"))),
        (b"/v2/a/b/c/d/manifests/1", ManifestPath("a/b/c/d", Tag("1"))),
        (b"/v2/manifests/manifests/manifests", ManifestPath("manifests", Tag("manifests"))),
        (b"/v2/a/blobs/manifests/x", ManifestPath("a/blobs", Tag("x"))),
        (b"/v2/a/manifests/tags/list", TagsPath("a/manifests")),
        (b"/v2/a/tags/manifests/list", ManifestPath("a/tags", Tag("list"))),
        (b"/v2/tags/list/tags/list", TagsPath("tags/list")),
        (f"/v2/a/blobs/sha256%3a{HEX}".encode(), BlobPath("a", DIGEST)),
        (f"/v2/a/manifests/sha256-{HEX}".encode(), ManifestPath("a", Tag(f"sha256-{HEX}"))),
        (b"/v2/a%2Eb/manifests/1%2e0", ManifestPath("a.b", Tag("1.0"))),
    ],
)
def test_paths_that_are_understood(raw: bytes, path: RegistryPath) -> None:
    assert parse_path(raw) == path


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        # Where nothing is.
        (b"/", P.ENDPOINT),
        (b"/index.html", P.ENDPOINT),
        (b"/v1/_ping", P.ENDPOINT),
        (b"/V2/", P.ENDPOINT),
        (b"//v2/", P.ENDPOINT),
        (b"/v2/_catalog", P.ENDPOINT),
        (b"/v2/alpine", P.ENDPOINT),
        (b"/v2/alpine/latest", P.ENDPOINT),
        (b"/v2/manifests/latest", P.ENDPOINT),
        (b"/v2/a/tags/lists", P.ENDPOINT),
        (b"/v2/a/blobs/uploads/0-1", P.ENDPOINT),
        (b"/v2/a/Manifests/x", P.ENDPOINT),
        # What no client sends.
        (b"", P.PATH),
        (b"v2/", P.PATH),
        (b"*", P.PATH),
        (b"http://localhost/v2/", P.PATH),
        (b"/v2//", P.PATH),
        (b"/v2//manifests/x", P.PATH),
        (b"/v2/a//manifests/x", P.PATH),
        (b"/v2/a/manifests/", P.PATH),
        (b"/v2/a/manifests/x/", P.PATH),
        (b"/v2/a/../b/manifests/x", P.PATH),
        (b"/v2/../../etc/passwd", P.PATH),
        (b"/../v2/", P.PATH),
        (b"/v2/./a/manifests/x", P.PATH),
        (b"/v2/a/manifests/..", P.PATH),
        (b"/v2/%2e%2e/a/manifests/x", P.PATH),
        (b"/v2/a/%2E./manifests/x", P.PATH),
        (b"/v2/a%2fb/manifests/x", P.PATH),
        (b"/v2/a%2Fb/manifests/x", P.PATH),
        (b"/v2/a/manifests/..%2f..%2fetc", P.PATH),
        (b"/v2/a%5cb/manifests/x", P.PATH),
        (b"/v2/a\\b/manifests/x", P.PATH),
        (b"/v2/a%252fb/manifests/x", P.PATH),
        (b"/v2/a%00/manifests/x", P.PATH),
        (b"/v2/a\x00/manifests/x", P.PATH),
        (b"/v2/a/manifests/x%00", P.PATH),
        (b"/v2/a/manifests/x%0d%0aX-Bad:%201", P.PATH),
        (b"/v2/a/manifests/x%20", P.PATH),
        (b"/v2/a/manifests/x%0a", P.PATH),
        (b"/v2/a/manifests/x%7f", P.PATH),
        (b"/v2/%c3%a4/manifests/x", P.PATH),
        (b"/v2/\xc3\xa4/manifests/x", P.PATH),
        (b"/v2/%c0%ae%c0%ae/manifests/x", P.PATH),
        (b"/v2/a/manifests/x%", P.PATH),
        (b"/v2/a/manifests/x%2", P.PATH),
        (b"/v2/a/manifests/x%zz", P.PATH),
        (b"/v2/a/manifests/x%3fns=b", P.PATH),
        (b"/v2/a/manifests/x%23", P.PATH),
        (b"/v2/" + b"a/" * 600 + b"manifests/x", P.PATH),
        # A name that is none.
        (b"/v2/Alpine/manifests/x", P.NAME),
        (b"/v2/a..b/manifests/x", P.NAME),
        (b"/v2/_tags/manifests/x", P.NAME),
        (b"/v2/.git/tags/list", P.NAME),
        (b"/v2/-/tags/list", P.NAME),
        (b"/v2/a:b/manifests/x", P.NAME),
        (b"/v2/" + b"a" * 256 + b"/manifests/x", P.NAME),
        # A tag that is none.
        (b"/v2/a/manifests/" + b"t" * 129, P.TAG),
        (b"/v2/a/manifests/.x", P.TAG),
        (b"/v2/a/manifests/-x", P.TAG),
        (b"/v2/a/manifests/x+y", P.TAG),
        # A digest that is none, or is not ours.
        (b"/v2/a/manifests/sha256:abc", P.DIGEST),
        (b"/v2/a/manifests/a:b", P.DIGEST),
        (b"/v2/a/blobs/latest", P.DIGEST),
        (b"/v2/a/blobs/uploads", P.DIGEST),
        (f"/v2/a/blobs/sha256:{HEX.upper()}".encode(), P.DIGEST),
        (f"/v2/a/blobs/sha256-{HEX}".encode(), P.DIGEST),
        (f"/v2/a/referrers/{HEX}".encode(), P.DIGEST),
        (f"/v2/a/blobs/sha512:{HEX * 2}".encode(), P.DIGEST_ALGORITHM),
        (f"/v2/a/manifests/sha512:{HEX * 2}".encode(), P.DIGEST_ALGORITHM),
        (f"/v2/a/referrers/md5:{HEX[:32]}".encode(), P.DIGEST_ALGORITHM),
    ],
)
def test_paths_that_are_refused(raw: bytes, why: RequestProblem) -> None:
    assert problem(parse_path, raw) is why


def test_a_path_has_at_most_1024_bytes_however_it_is_encoded() -> None:
    start, end = b"/v2/" + b"%61" * 200, b"/manifests/x"
    assert parse_path(start + end) == ManifestPath("a" * 200, Tag("x"))
    longest = start + b"a" * (1024 - len(start + end))
    assert problem(parse_path, longest + end) is P.NAME
    assert problem(parse_path, longest + b"a" + end) is P.PATH


def test_the_longest_name_and_tag_fit_in_a_path() -> None:
    name, tag = "a" * 255, "t" * 128
    assert parse_path(f"/v2/{name}/manifests/{tag}".encode()) == ManifestPath(name, Tag(tag))


# Queries


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        (b"", Query()),
        (b"ns=docker.io", Query("docker.io")),
        (b"ns=DOCKER.io", Query("DOCKER.io")),
        (b"ns=localhost%3A5000", Query("localhost:5000")),
        (b"%6es=docker.io", Query("docker.io")),
        (b"ns=", Query()),
        (b"ns", Query()),
        (b"&&=&x", Query()),
        (b"n=10&last=3.20", Query(None, 10, "3.20")),
        (b"n=0", Query(None, 0)),
        (b"n=&last=", Query()),
        (b"artifactType=application/vnd.x%2Bjson", Query(artifact_type="application/vnd.x+json")),
        (b"artifactType=application/vnd.x+json", Query(artifact_type="application/vnd.x+json")),
        (b"last=a=b", Query(last="a=b")),
        (b"x=%zz&x=%00&NS=a&ns=b", Query("b")),
        (b"ns=..%2f..%2fetc", Query("../../etc")),
    ],
)
def test_queries_that_are_understood(raw: bytes, query: Query) -> None:
    assert parse_query(raw) == query


@pytest.mark.parametrize(
    "raw",
    [
        b"ns=a&ns=b",
        b"ns=a&ns=a",
        b"ns=&ns=a",
        b"ns=a&%6es=b",
        b"n=1&n=2",
        b"n=-1",
        b"n=+1",
        b"n=1.5",
        b"n=1e3",
        b"n=0x10",
        b"n=ten",
        b"n=%D9%A3",
        b"n=1234567890",
        b"ns=a%00",
        b"ns=a%0d%0aX-Bad:1",
        b"ns=a%20b",
        b"ns=%",
        b"ns=%zz",
        b"ns=%c3%a4",
        b"ns=\xff",
        b"last=a%0a",
        b"artifactType=a%00",
        b"ns=" + b"a" * 256,
        b"x=" + b"a" * 3000,
    ],
)
def test_queries_that_are_refused(raw: bytes) -> None:
    assert problem(parse_query, raw) is P.QUERY


def test_a_query_has_at_most_2048_bytes_and_a_value_255_characters() -> None:
    assert parse_query(b"n=5&x=" + b"a" * 2042).n == 5
    assert problem(parse_query, b"n=5&x=" + b"a" * 2043) is P.QUERY
    assert parse_query(b"last=" + b"%61" * 255).last == "a" * 255
    assert problem(parse_query, b"last=" + b"%61" * 256) is P.QUERY


@given(st.binary(max_size=60))
def test_any_bytes_are_a_query_or_a_bad_request(raw: bytes) -> None:
    try:
        query = parse_query(raw + b"&ns=a")
    except BadRequest:
        return
    assert query.namespace == "a"


# Namespaces


@pytest.mark.parametrize("hub", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_three_names_in_any_case(hub: str) -> None:
    assert canonical_namespace(hub) == "docker.io"
    assert canonical_namespace(hub.upper()) == "docker.io"
    assert repository("alpine", hub, ["docker.io"]) == Repository("docker.io", "library/alpine")


def test_any_other_namespace_is_its_own() -> None:
    assert canonical_namespace("GHCR.io") == "ghcr.io"
    assert canonical_namespace("docker.io.example") == "docker.io.example"


@pytest.mark.parametrize(
    "text", ["docker.io", "a", "localhost:5000", "my_registry:5000", "[::1]:5000", "10.0.0.1:80"]
)
def test_hosts_can_name_an_upstream(text: str) -> None:
    assert is_namespace(text)


@pytest.mark.parametrize(
    "text", ["", "A", ".", "..", "a.", "-a", "a/b", "a:", "a:123456", "a b", "a\n", "::1", "ä"]
)
def test_other_texts_can_not_name_an_upstream(text: str) -> None:
    assert not is_namespace(text)


@pytest.mark.parametrize(
    ("name", "namespace", "known", "expected"),
    [
        ("alpine", None, ["docker.io"], "docker.io/library/alpine"),
        ("library/alpine", None, ["docker.io"], "docker.io/library/alpine"),
        ("a/b/c", "docker.io", ["docker.io"], "docker.io/a/b/c"),
        ("alpine", "ghcr.io", ["docker.io", "ghcr.io"], "ghcr.io/alpine"),
        ("alpine", "GHCR.IO", ["docker.io", "ghcr.io"], "ghcr.io/alpine"),
        ("alpine", None, ["ghcr.io", "docker.io"], "docker.io/library/alpine"),
        ("alpine", None, ["ghcr.io", "quay.io"], "ghcr.io/alpine"),
    ],
)
def test_what_a_name_means(name: str, namespace: str, known: list[str], expected: str) -> None:
    assert str(repository(name, namespace, known)) == expected


@pytest.mark.parametrize(
    "namespace", ["ghcr.io", "docker.io.evil.example", "../../etc", "169.254.169.254", "a" * 255]
)
def test_a_namespace_outside_the_list_is_unknown(namespace: str) -> None:
    with pytest.raises(UnknownNamespace) as caught:
        repository("a/b", namespace, ["docker.io"])
    assert caught.value.namespace == namespace


def test_without_upstreams_every_namespace_is_unknown() -> None:
    with pytest.raises(UnknownNamespace):
        repository("a/b", None, [])
