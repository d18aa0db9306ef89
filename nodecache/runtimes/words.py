"""Command lines of daemons: their flags, and the environment files that services get them from."""

from __future__ import annotations

from collections.abc import Sequence


def read_flags(words: Sequence[str]) -> dict[str, str]:
    """``--name=value`` and ``--name value``, by name; the last one counts."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = value if equals else ""
            name = "" if equals else name
        elif name:
            found[name], name = word, ""
    return found


def environment_words(text: str) -> tuple[str, ...]:
    """All words of all variables in a file as systemd reads it: ``NAME="--flag --other=1"``."""
    lines = (line.strip() for line in text.splitlines())
    values = (line.partition("=")[2] for line in lines if line and line[0] not in "#;")
    return tuple(word for value in values for word in value.strip().strip("\"'").split())
