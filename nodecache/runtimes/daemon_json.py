"""dockerd's ``daemon.json``: its list ``registry-mirrors``, which is for Docker Hub only.

JSON has no comments, so nothing marks what is ours: it is the mirror's own URL.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import attrs

from nodecache.runtimes.names import Unusable, same_url

#: The key of the file; ``--registry-mirror`` is the flag for the same.
KEY: Final = "registry-mirrors"

_INDENT = re.compile(r"\n([ \t]+)\"")


def parse(text: str) -> dict[str, Any]:
    """The document; empty text is an empty one, as for dockerd. Raises Unusable."""
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise Unusable("holds no JSON object")
    return document


def mirrors_of(document: dict[str, Any]) -> tuple[str, ...]:
    """The mirrors in their order. Raises Unusable where the key holds something else."""
    given = document.get(KEY, [])
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise Unusable(f"has a {KEY!r} that is no list of texts")
    return tuple(given)


@attrs.frozen
class MirrorsPart:
    """Our entry of the list."""

    mirror: str

    def merge(self, text: str | None) -> str:
        """The file with our mirror before all others; every other key is kept. Raises Unusable."""
        document = parse(text or "")
        there = mirrors_of(document)
        if there and same_url(there[0], self.mirror):
            return text or ""
        others = [one for one in there if not same_url(one, self.mirror)]
        return _dump({**document, KEY: [self.mirror, *others]}, text)

    def strip(self, text: str) -> str | None:
        """The file without our mirror; None where nothing else is in it."""
        document = parse(text)
        others = [one for one in mirrors_of(document) if not same_url(one, self.mirror)]
        rest = {key: value for key, value in document.items() if key != KEY}
        if others:
            rest = {key: others if key == KEY else value for key, value in document.items()}
        return _dump(rest, text) if rest else None

    def ours(self, text: str) -> bool:
        """Whether our mirror is in the file."""
        return any(same_url(one, self.mirror) for one in mirrors_of(parse(text)))

    def edited(self, text: str) -> bool:  # noqa: ARG002 -- one entry is ours or it is not
        """Never: there is nothing of ours in it that could be changed."""
        return False

    def same(self, one: str, other: str) -> bool:
        """Whether two files say the same; an empty list is as none."""
        return _plain(parse(one)) == _plain(parse(other))


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != KEY or value}


def _dump(document: dict[str, Any], like: str | None) -> str:
    """In the indentation of the file that it replaces."""
    match = _INDENT.search(like or "")
    indent = match[1] if match else "  "
    return json.dumps(document, indent=indent, ensure_ascii=False) + "\n"
