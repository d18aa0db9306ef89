"""Images as people type them: ``nginx``, ``nginx:1.27``, ``ghcr.io/x/y@sha256:…``, and patterns.

The grammar is that of the runtimes' command lines: what comes before the first
slash is a registry if it has a dot or a port, or is ``localhost``, or is an
upstream of this node; everything else is on Docker Hub, a name of one part
under ``library/``.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterable, Iterator
from typing import Final

import attrs

from nodecache.failures import BadRequest, RequestProblem
from nodecache.reference.names import (
    DOCKER_HUB,
    Digest,
    Reference,
    Repository,
    Tag,
    canonical_namespace,
    parse_name,
)

#: The tag that is meant where none is named.
LATEST: Final = Tag("latest")

_LIBRARY: Final = "library/"
_GLOB: Final = frozenset("*?[")
_SHA256: Final = "sha256:"


@attrs.frozen(order=True)
class Image:
    """A name as it was typed: ``tag`` and ``digest`` are None where it has none."""

    repository: Repository
    tag: Tag | None = None
    digest: Digest | None = None

    @property
    def reference(self) -> Reference:
        """What is asked for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or LATEST

    def __str__(self) -> str:
        """In its familiar form, which ``parse_image`` reads back."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{familiar(self.repository)}{tag}{digest}"


def familiar(repository: Repository) -> str:
    """``nginx`` for Docker Hub's ``library/nginx``; others with what tells them apart."""
    if repository.namespace != DOCKER_HUB:
        return str(repository)
    name = repository.name.removeprefix(_LIBRARY)
    if name == repository.name and _is_host(name.partition("/")[0]):
        return str(repository)
    return str(repository) if "/" in name and name != repository.name else name


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"


def parse_image(text: str, known: Collection[str] = ()) -> Image:
    """``known`` are the namespaces of a node, in their order. Raises BadRequest.

    Whether the node serves the namespace is not looked at.
    """
    named, at, digest = text.strip().partition("@")
    name, tag = _split_tag(named)
    if not name:
        raise BadRequest(RequestProblem.NAME, "there is no name of an image")
    return Image(
        _repository(name, known),
        Tag(tag) if tag is not None else None,
        Digest.parse(digest) if at else None,
    )


def _split_tag(named: str) -> tuple[str, str | None]:
    """A colon before a slash belongs to a port."""
    head, colon, tail = named.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (named, None)


def _repository(name: str, known: Collection[str]) -> Repository:
    first, slash, rest = name.partition("/")
    if slash and (_is_host(first) or canonical_namespace(first) in known):
        return _in(canonical_namespace(first), rest)
    if not known or DOCKER_HUB in known:
        return _in(DOCKER_HUB, name)
    return _in(next(iter(known)), name)


def _in(namespace: str, name: str) -> Repository:
    parse_name(name)
    if namespace == DOCKER_HUB and "/" not in name:
        name = _LIBRARY + name
    return Repository(namespace, name)


def is_pattern(text: str) -> bool:
    """Whether it means any number of images by ``*``, ``?`` or ``[…]``."""
    return not _GLOB.isdisjoint(text)


@attrs.frozen
class Pattern:
    """Which images ``text`` means: a glob over names, a digest or its beginning, or one name.

    A name without a tag means all tags of it.
    """

    text: str
    _image: Image | None = None

    @classmethod
    def parse(cls, text: str, known: Collection[str] = ()) -> Pattern:
        """Raises BadRequest."""
        text = text.strip()
        if is_pattern(text) or text.startswith(_SHA256):
            return cls(text)
        return cls(text, parse_image(text, known))

    def matches(self, repository: Repository, tag: Tag | None, digest: Digest) -> bool:
        """Whether it means this image; ``tag`` is None for one that was pulled by digest."""
        if self.text.startswith(_SHA256) and not is_pattern(self.text):
            return str(digest).startswith(self.text)
        if self._image is None:
            names = spellings(repository, tag, digest)
            return any(fnmatch.fnmatchcase(name, self.text) for name in names)
        wanted = self._image
        return (
            wanted.repository == repository
            and wanted.tag in (None, tag)
            and wanted.digest in (None, digest)
        )


def spellings(repository: Repository, tag: Tag | None, digest: Digest) -> Iterator[str]:
    """The ways in which an image may be written, with its tag (or digest) and without."""
    end = f":{tag}" if tag else f"@{digest}"
    names = dict.fromkeys((familiar(repository), str(repository), repository.name))
    for name in names:
        yield name
        yield name + end


def nearest(text: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names most like ``text``, the nearest first; none where none is alike."""
    return difflib.get_close_matches(text, list(names), n=most, cutoff=0.6)
