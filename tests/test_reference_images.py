"""Images as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.failures import BadRequest, UnknownNamespace
from nodecache.reference import (
    LATEST,
    Digest,
    Image,
    Pattern,
    Repository,
    Tag,
    familiar,
    is_pattern,
    nearest,
    parse_image,
)
from nodecache.reference.images import spellings

HEX = "ab" * 32
DIGEST = Digest("sha256", HEX)
NGINX = Repository("docker.io", "library/nginx")

COMPONENTS = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-)[a-z0-9]{1,8}){0,2}", fullmatch=True)
NAMES = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
NAMESPACES = st.sampled_from(["docker.io", "ghcr.io", "localhost:5000", "quay.io:443"])
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}", fullmatch=True).map(Tag)
DIGESTS = st.from_regex(r"[0-9a-f]{64}", fullmatch=True).map(lambda text: Digest("sha256", text))


@st.composite
def repositories(draw: st.DrawFn) -> Repository:
    namespace, name = draw(NAMESPACES), draw(NAMES)
    if namespace == "docker.io" and "/" not in name:
        name = f"library/{name}"
    return Repository(namespace, name)


IMAGES = st.builds(Image, repositories(), st.none() | TAGS, st.none() | DIGESTS)


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("nginx", "docker.io/library/nginx", None, None),
        (" nginx ", "docker.io/library/nginx", None, None),
        ("nginx:1.27", "docker.io/library/nginx", "1.27", None),
        ("library/nginx", "docker.io/library/nginx", None, None),
        ("docker.io/nginx", "docker.io/library/nginx", None, None),
        ("index.docker.io/library/nginx:1", "docker.io/library/nginx", "1", None),
        ("grafana/grafana", "docker.io/grafana/grafana", None, None),
        (f"ghcr.io/x/y@sha256:{HEX}", "ghcr.io/x/y", None, DIGEST),
        (f"ghcr.io/x/y:2@sha256:{HEX}", "ghcr.io/x/y", "2", DIGEST),
        ("localhost:5000/x", "localhost:5000/x", None, None),
        ("localhost/x:1", "localhost/x", "1", None),
        ("GHCR.io/x:1", "ghcr.io/x", "1", None),
    ],
)
def test_what_people_type(
    text: str, repository: str, tag: str | None, digest: Digest | None
) -> None:
    image = parse_image(text)
    assert str(image.repository) == repository
    assert (image.tag and image.tag.value, image.digest) == (tag, digest)


NO_NAMES = [
    "",
    " ",
    ":tag",
    "Nginx",
    "nginx:",
    "nginx:-x",
    "nginx@",
    "nginx@sha256:1",
    "a//b",
    "a b",
]


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name_of_an_image_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_image(text)


def test_a_registry_that_could_never_be_one_is_refused() -> None:
    with pytest.raises(UnknownNamespace):
        parse_image("a_b.:x/y")


def test_the_upstreams_of_the_node_are_known_without_a_dot() -> None:
    assert parse_image("mirror/x", ["docker.io", "mirror"]).repository == Repository("mirror", "x")
    assert str(parse_image("mirror/x", ["docker.io"]).repository) == "docker.io/mirror/x"


def test_without_docker_hub_a_name_is_on_the_first_upstream() -> None:
    assert parse_image("x/y", ["ghcr.io", "quay.io"]).repository == Repository("ghcr.io", "x/y")


def test_the_reference_is_the_digest_else_the_tag_else_latest() -> None:
    assert parse_image("nginx").reference == LATEST
    assert parse_image("nginx:1").reference == Tag("1")
    assert parse_image(f"nginx:1@{DIGEST}").reference == DIGEST


@given(IMAGES)
def test_an_image_is_read_back_from_its_familiar_form(image: Image) -> None:
    assert parse_image(str(image)) == image


@given(st.text(max_size=80))
def test_anything_at_all_is_an_image_or_refused(text: str) -> None:
    try:
        image = parse_image(text)
    except (BadRequest, UnknownNamespace):
        return
    assert parse_image(str(image)) == image


@given(repositories())
def test_familiar_names_are_no_longer_than_the_full_ones(repository: Repository) -> None:
    assert len(familiar(repository)) <= len(str(repository))


@pytest.mark.parametrize(
    ("pattern", "tag", "matches"),
    [
        ("nginx", "1.27", True),
        ("nginx:1.27", "1.27", True),
        ("nginx:1.26", "1.27", False),
        ("library/nginx", "1.27", True),
        ("docker.io/nginx", "1.27", True),
        ("ghcr.io/nginx", "1.27", False),
        ("ng*", "1.27", True),
        ("ng?nx", "1.27", True),
        ("nginx:1.*", "1.27", True),
        ("nginx:2*", "1.27", False),
        ("*", "1.27", True),
        ("docker.io/*", "1.27", True),
        ("*/library/*:1.2[67]", "1.27", True),
        ("nginx*", None, True),
        ("nginx", None, True),
        ("nginx:1.27", None, False),
        ("sha256:abab", "1.27", True),
        (f"sha256:{HEX}", None, True),
        ("sha256:abac", "1.27", False),
        (f"nginx@sha256:{HEX}", "1.27", True),
        (f"nginx@sha256:{'cd' * 32}", "1.27", False),
    ],
)
def test_patterns(pattern: str, tag: str | None, matches: bool) -> None:
    assert Pattern.parse(pattern).matches(NGINX, Tag(tag) if tag else None, DIGEST) is matches


@given(IMAGES, DIGESTS)
def test_every_spelling_of_an_image_is_a_pattern_that_means_it(
    image: Image, digest: Digest
) -> None:
    for text in spellings(image.repository, image.tag, digest):
        # The bare name of another registry's repository is one of Docker Hub.
        if not text.startswith(image.repository.name):
            assert Pattern.parse(text).matches(image.repository, image.tag, digest)


def test_a_pattern_that_is_no_name_is_refused() -> None:
    with pytest.raises(BadRequest):
        Pattern.parse("Nginx")


def test_is_pattern() -> None:
    assert is_pattern("nginx*")
    assert not is_pattern("nginx:1.27")


def test_the_nearest_name_is_offered_and_none_that_is_far() -> None:
    names = ["nginx:1.27", "redis:7", "nginx:1.26"]
    assert nearest("nginx:1.28", names)[0] in ("nginx:1.27", "nginx:1.26")
    assert nearest("ngnix:1.27", names)[0] == "nginx:1.27"
    assert nearest("postgres", names) == []
