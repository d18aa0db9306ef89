"""A terminal of 80 columns and 24 lines, and what a person sees in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.system.parts.processes import PATIENCE, NotInTime, end

COLUMNS, LINES = 80, 24

_ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b[()][A-Z0-9]|\x1b[=>]")


def screen(text: str) -> str:
    """What is left on the screen after ``text`` was written to it, with all that scrolled away.

    Knows what shells and programs with progress bars use: returns, cursor up, erase.
    """
    lines: list[str] = [""]
    row = column = 0
    place = 0
    while place < len(text):
        match = _ESCAPE.match(text, place)
        if match:
            place = match.end()
            count = int(match[1]) if match[1] and match[1].isdigit() else 0
            if match[2] == "A":
                row = max(0, row - (count or 1))
            elif match[2] == "K":
                lines[row] = "" if count == 2 else lines[row][:column]
            continue
        letter = text[place]
        place += 1
        if letter == "\r":
            column = 0
        elif letter == "\b":
            column = max(0, column - 1)
        elif letter == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif letter >= " ":
            line = lines[row].ljust(column)
            lines[row] = line[:column] + letter + line[column + 1 :]
            column += 1
    return "\n".join(line.rstrip() for line in lines).rstrip("\n")


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """A command that runs in a terminal of its own, as a person starts it there."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: pathlib.Path | None = None
    ) -> None:
        self._main, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            list(argv),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1", **env},
            cwd=cwd,
            start_new_session=True,
            # So that Ctrl-C there is a signal to it.
            preexec_fn=_take_terminal,  # noqa: PLW1509 -- the tests have no threads then
        )
        os.close(inner)
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end(self.process)
        os.close(self._main)

    def type(self, text: str) -> None:
        """As a person does; ``\\x03`` is Ctrl-C."""
        os.write(self._main, text.encode())

    def _read(self, patience: float) -> bool:
        """False once the command has closed the terminal."""
        if not select.select([self._main], [], [], patience)[0]:
            return True
        got = b""
        with contextlib.suppress(OSError):  # EIO: nobody writes to it any more
            got = os.read(self._main, 1 << 16)
        self.text += got.decode("utf-8", "replace")
        return bool(got)

    def until(self, seen: Callable[[str], bool], what: str) -> None:
        """Returns once what is on the screen is ``seen``."""
        limit = time.monotonic() + PATIENCE
        while not seen(screen(self.text)):
            if not self._read(0.1) or time.monotonic() > limit:
                raise NotInTime(f"{what}: not on the screen:\n{screen(self.text)}")

    def end(self) -> int:
        """Waits for the end of the command; its exit code."""
        limit = time.monotonic() + PATIENCE
        while self._read(0.1):
            if time.monotonic() > limit:
                raise NotInTime(f"the command does not end:\n{screen(self.text)}")
        return self.process.wait(PATIENCE)

    @property
    def screen(self) -> str:
        """What a person saw of it."""
        return screen(self.text)
