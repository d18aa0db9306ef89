"""The screens of docs/command-line.md: written from real ones, and compared with them by shape.

Figures, times and digests differ from run to run; what stands around them does not.
"""

from __future__ import annotations

import pathlib
import re

from tests.system.parts.terminal import COLUMNS

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "command-line.md"

_SCREEN = re.compile(r"<!-- screen (\w+) -->\n```console\n(.*?)```\n", re.DOTALL)

#: What differs from run to run, and what it is in a shape.
_SHAPES = (
    (re.compile(r"\^C"), "^C "),  # what is typed stands before what is said
    (re.compile(r"sha256:[0-9a-f]+"), "DIGEST"),
    (re.compile(r"[█░]+"), "BAR"),
    (re.compile(r"\b[0-9]+(?:\.[0-9]+)*"), "N"),
    (re.compile(r"\b(?:[KMGTP]i)?B\b"), "B"),
    (re.compile(r"\bN (?:s|min|h|d)\b"), "TIME"),
    (re.compile(r"\bN B/s "), ""),  # of a bar that was there too briefly there is none
    (re.compile(r" +"), " "),
)


def shape(text: str) -> list[str]:
    """The lines of a screen without what differs from run to run."""
    for pattern, word in _SHAPES:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.strip().splitlines()]


def folded(text: str) -> str:
    """As a terminal shows lines that are longer than it is wide."""
    lines = (
        line[at : at + COLUMNS]
        for line in text.splitlines()
        for at in range(0, max(1, len(line)), COLUMNS)
    )
    return "\n".join(lines)


def unfolded(text: str) -> str:
    """The lines of ``text`` before it was ``folded``."""
    return "".join(line if len(line) == COLUMNS else f"{line}\n" for line in text.splitlines())


def documented() -> dict[str, str]:
    """The screens of the document, by name."""
    return {match[1]: match[2] for match in _SCREEN.finditer(DOCUMENT.read_text("utf-8"))}


def write(screens: dict[str, str]) -> None:
    """Put real screens in the places of those in the document."""

    def fresh(match: re.Match[str]) -> str:
        text = screens.get(match[1], match[2].rstrip("\n"))
        return f"<!-- screen {match[1]} -->\n```console\n{text}\n```\n"

    DOCUMENT.write_text(_SCREEN.sub(fresh, DOCUMENT.read_text("utf-8")), "utf-8")
