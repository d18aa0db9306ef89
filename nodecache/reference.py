"""Names, tags, digests, and the request paths and queries made of them.

Everything that a client sends and that later becomes a file name or an
upstream URL passes through here, and comes out as a value that can hold only
well-formed text: each of ``Digest``, ``Tag`` and ``Repository`` checks itself
when it is made. Grammar: OCI distribution-spec, "Pulling manifests"; digests:
OCI image-spec, "Digests".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

import attrs

from nodecache.failures import BadRequest, RequestProblem, UnknownNamespace

#: Characters of a repository name (distribution-spec asks clients to keep to 255).
NAME_LENGTH: Final = 255
#: Bytes of a request path, still percent-encoded.
PATH_LENGTH: Final = 1024
#: Bytes of a query string, still percent-encoded, and characters of one value.
QUERY_LENGTH: Final = 2048
VALUE_LENGTH: Final = 255

DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_NAMES: Final = frozenset({DOCKER_HUB, "index.docker.io", "registry-1.docker.io"})

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_NAMESPACE = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_DIGEST = re.compile(r"([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]{32,256})")
_HEX = re.compile(r"[0-9a-f]+")
#: Lengths of the algorithms that the image-spec registers (and sha384, which
#: Docker's library knows); of others only the general form is known.
_HEX_LENGTH: Final = {"sha256": 64, "sha384": 96, "sha512": 128, "blake3": 64}
_PERCENT = re.compile(rb"%(?![0-9a-fA-F]{2})")
_VISIBLE = re.compile(r"[\x21-\x7e]*")
_COUNT = re.compile(r"[0-9]{1,9}")


def _check_digest(algorithm: str, encoded: str) -> None:
    if not _DIGEST.fullmatch(f"{algorithm}:{encoded}"):
        raise BadRequest(RequestProblem.DIGEST, "not a digest (sha256: and 64 hex digits)")
    length = _HEX_LENGTH.get(algorithm)
    if length is not None and not (len(encoded) == length and _HEX.fullmatch(encoded)):
        message = f"a {algorithm} digest has {length} lower-case hex digits"
        raise BadRequest(RequestProblem.DIGEST, message)
    if algorithm != "sha256":
        message = f"digest algorithm {algorithm[:32]!r} is not served, only sha256 is"
        raise BadRequest(RequestProblem.DIGEST_ALGORITHM, message)


@attrs.frozen(order=True)
class Digest:
    """A sha256 digest; ``hex`` is 64 lower-case digits.

    Raises BadRequest: DIGEST when malformed, DIGEST_ALGORITHM when well-formed
    but of another algorithm.
    """

    algorithm: str
    hex: str

    def __attrs_post_init__(self) -> None:
        _check_digest(self.algorithm, self.hex)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """``text`` is ``sha256:<hex>``. Raises BadRequest as the class does."""
        algorithm, _, encoded = text.partition(":")
        return cls(algorithm, encoded)


@attrs.frozen(order=True)
class Tag:
    """A tag of at most 128 characters. Raises BadRequest(TAG)."""

    value: str

    def __attrs_post_init__(self) -> None:
        if not _TAG.fullmatch(self.value):
            message = "a tag has 1 to 128 of [a-zA-Z0-9._-] and does not begin with . or -"
            raise BadRequest(RequestProblem.TAG, message)

    def __str__(self) -> str:
        return self.value


Reference: TypeAlias = Tag | Digest


def parse_reference(text: str) -> Reference:
    """A tag or a digest, told apart by the colon. Raises BadRequest."""
    return Digest.parse(text) if ":" in text else Tag(text)


def parse_name(text: str) -> str:
    """``text`` itself when it is a repository name. Raises BadRequest(NAME)."""
    if len(text) > NAME_LENGTH:
        message = f"a repository name has at most {NAME_LENGTH} characters"
        raise BadRequest(RequestProblem.NAME, message)
    if not _NAME.fullmatch(text):
        message = "a repository name has lower-case letters, digits and single . _ __ - between"
        raise BadRequest(RequestProblem.NAME, message)
    return text


@attrs.frozen(order=True)
class Repository:
    """A repository of an upstream: ``("docker.io", "library/alpine")``.

    ``namespace`` is canonical and safe as one file name. Raises
    UnknownNamespace for one that could never be configured, BadRequest(NAME).
    """

    namespace: str
    name: str

    def __attrs_post_init__(self) -> None:
        if not is_namespace(self.namespace):
            raise UnknownNamespace(self.namespace[:VALUE_LENGTH])
        if not _NAME.fullmatch(self.name):
            parse_name(self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@attrs.frozen
class BasePath:
    """``/v2/``."""


@attrs.frozen
class ManifestPath:
    """``/v2/<name>/manifests/<reference>``."""

    name: str
    reference: Reference


@attrs.frozen
class BlobPath:
    """``/v2/<name>/blobs/<digest>``."""

    name: str
    digest: Digest


@attrs.frozen
class TagsPath:
    """``/v2/<name>/tags/list``."""

    name: str


@attrs.frozen
class ReferrersPath:
    """``/v2/<name>/referrers/<digest>``."""

    name: str
    digest: Digest


RegistryPath: TypeAlias = BasePath | ManifestPath | BlobPath | TagsPath | ReferrersPath


def parse_path(raw: bytes) -> RegistryPath:
    """The endpoint that a request path names.

    ``raw`` is the path as it was sent, percent-encoded, without its query.
    It is read from the right, because a name may hold components such as
    ``manifests`` or ``tags``. Raises BadRequest: PATH (a path that no client
    sends: encoded slashes, dot segments, control characters, overlong),
    ENDPOINT (well-formed, but nothing lives there), NAME, TAG, DIGEST,
    DIGEST_ALGORITHM.
    """
    parts = _segments(raw)
    if parts[0] != "v2":
        raise BadRequest(RequestProblem.ENDPOINT, "nothing is here; the registry is under /v2/")
    if parts in (["v2"], ["v2", ""]):
        return BasePath()
    if "" in parts:
        raise BadRequest(RequestProblem.PATH, "the path has an empty segment")
    if len(parts) < 4:
        raise BadRequest(RequestProblem.ENDPOINT, "no endpoint of a registry mirror")
    return _endpoint("/".join(parts[1:-2]), parts[-2], parts[-1])


def _endpoint(name: str, kind: str, last: str) -> RegistryPath:
    if kind == "manifests":
        return ManifestPath(parse_name(name), parse_reference(last))
    if kind == "blobs":
        return BlobPath(parse_name(name), Digest.parse(last))
    if kind == "referrers":
        return ReferrersPath(parse_name(name), Digest.parse(last))
    if kind == "tags" and last == "list":
        return TagsPath(parse_name(name))
    raise BadRequest(RequestProblem.ENDPOINT, "no endpoint of a registry mirror")


def _segments(raw: bytes) -> list[str]:
    """The decoded segments of a path; none of them holds a slash or is a dot segment."""
    if len(raw) > PATH_LENGTH:
        raise BadRequest(RequestProblem.PATH, f"the path is longer than {PATH_LENGTH} bytes")
    if not raw.startswith(b"/"):
        raise BadRequest(RequestProblem.PATH, "the path does not begin with a slash")
    # Split before decoding: an encoded slash is data, and no name has one.
    parts = [_decode(part) for part in raw[1:].split(b"/")]
    if any(part in (".", "..") for part in parts):
        raise BadRequest(RequestProblem.PATH, "the path has a dot segment")
    return parts


def _decode(part: bytes) -> str:
    """One segment, percent-decoded once; visible ASCII without slashes and percent signs."""
    if _PERCENT.search(part):
        raise BadRequest(RequestProblem.PATH, "the path has a broken percent-encoding")
    text = unquote_to_bytes(part).decode("latin-1")
    if not _VISIBLE.fullmatch(text) or any(char in text for char in "/\\%?#"):
        raise BadRequest(RequestProblem.PATH, "the path has a character that no name has")
    return text


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


_KEYS: Final = frozenset({"ns", "n", "last", "artifactType"})


def _value(name: str, value: bytes) -> str:
    # A plus stays a plus: media types (``…+json``) hold them, no value holds a space.
    text = unquote_to_bytes(value).decode("latin-1")
    if _PERCENT.search(value) or not _VISIBLE.fullmatch(text) or len(text) > VALUE_LENGTH:
        message = f"{name} is not visible ASCII of at most {VALUE_LENGTH} characters"
        raise BadRequest(RequestProblem.QUERY, message)
    return text


def _page_length(text: str | None) -> int | None:
    if text is None:
        return None
    if not _COUNT.fullmatch(text):
        raise BadRequest(RequestProblem.QUERY, "n is not a number of at most 9 digits")
    return int(text)


def is_namespace(text: str) -> bool:
    """Whether ``text`` can name an upstream: a lower-case host with an optional port."""
    return _NAMESPACE.fullmatch(text) is not None


def canonical_namespace(ns: str) -> str:
    """The one name of a namespace: Docker Hub's three are ``docker.io``."""
    lowered = ns.lower()
    return DOCKER_HUB if lowered in _DOCKER_HUB_NAMES else lowered


def repository(name: str, namespace: str | None, known: Collection[str]) -> Repository:
    """What ``name`` means under ``?ns=namespace``.

    ``known`` are the canonical namespaces of the configured upstreams, in their order. Without a
    namespace it is Docker Hub, or the first where Docker Hub is not configured. Raises
    UnknownNamespace, BadRequest(NAME).
    """
    if namespace is None:
        chosen = DOCKER_HUB if DOCKER_HUB in known else next(iter(known), DOCKER_HUB)
    else:
        chosen = canonical_namespace(namespace)
    if chosen not in known:
        raise UnknownNamespace(namespace or chosen)
    if chosen == DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    return Repository(chosen, name)
