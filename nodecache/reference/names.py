"""Names, tags and digests as values, and the namespaces that names live in.

Each of ``Digest``, ``Tag`` and ``Repository`` checks itself when it is made, so
that none can hold text that is not safe as a file name and in a URL. Grammar:
OCI distribution-spec, "Pulling manifests"; digests: OCI image-spec, "Digests".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NoReturn, TypeAlias

import attrs

from nodecache.failures import BadRequest, RequestProblem, UnknownNamespace

#: Characters of a repository name (distribution-spec asks clients to keep to 255).
NAME_LENGTH: Final = 255

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
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Lengths of the algorithms that the image-spec registers (and sha384, which
#: Docker's library knows); of others only the general form is known.
_HEX_LENGTH: Final = {"sha256": 64, "sha384": 96, "sha512": 128, "blake3": 64}


def _refuse_digest(algorithm: str, encoded: str) -> NoReturn:
    """Say what is wrong with a digest that is no sha256 one."""
    if not _DIGEST.fullmatch(f"{algorithm}:{encoded}"):
        raise BadRequest(RequestProblem.DIGEST, "not a digest (sha256: and 64 hex digits)")
    length = _HEX_LENGTH.get(algorithm)
    if length is not None and not (len(encoded) == length and _HEX.fullmatch(encoded)):
        message = f"a {algorithm} digest has {length} lower-case hex digits"
        raise BadRequest(RequestProblem.DIGEST, message)
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
        # A scan of the disk makes a million of these.
        if self.algorithm != "sha256" or not _SHA256.fullmatch(self.hex):
            _refuse_digest(self.algorithm, self.hex)

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
            raise UnknownNamespace(self.namespace[:NAME_LENGTH])
        if not _NAME.fullmatch(self.name):
            parse_name(self.name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


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
