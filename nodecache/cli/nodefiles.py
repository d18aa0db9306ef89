"""Files of the node that others own too: changed so that nothing of theirs is lost.

A file that was there before is kept beside it, once, as ``NAME.nodecache-backup``;
what a person changed of ours by hand is kept as ``NAME.nodecache-edited``. All
writing is atomic.
"""

from __future__ import annotations

import contextlib
import enum
import os
import stat
from collections.abc import Iterator
from typing import Final, Protocol

import attrs

from nodecache.cli.problems import CommandError
from nodecache.runtimes.names import Unusable

BACKUP: Final = ".nodecache-backup"
EDITED: Final = ".nodecache-edited"


class Part(Protocol):
    """What is ours of a file; every method is about its text. They raise Unusable."""

    def merge(self, text: str | None) -> str:
        """The file with our part in it; None is a file that is not there."""
        ...

    def strip(self, text: str) -> str | None:
        """The file without our part; None where nothing else is in it."""
        ...

    def ours(self, text: str) -> bool:
        """Whether our part is in it."""
        ...

    def edited(self, text: str) -> bool:
        """Whether a person changed our part."""
        ...

    def same(self, one: str, other: str) -> bool:
        """Whether two files say the same."""
        ...


class Done(enum.Enum):
    """What became of a file; the value is the word for the person."""

    WRITTEN = "written"
    UNCHANGED = "is right as it is"
    RESTORED = "restored as it was"
    REMOVED = "removed"
    TAKEN_OUT = "kept, without nodecache's part"
    NOT_OURS = "holds nothing of nodecache's"


@attrs.frozen
class Outcome:
    """``kept`` is where an earlier text went, or ""."""

    path: str
    done: Done
    kept: str = ""


@attrs.frozen
class Placed:
    """A file and our part of it. ``own_folder``: its folder is there for nothing else."""

    path: str
    part: Part
    own_folder: bool = False

    @property
    def real(self) -> str:
        """Where the file itself is: a link to it stays one."""
        return os.path.realpath(self.path)

    def preview(self) -> str:
        """What would be written. Raises CommandError."""
        text = self._read()
        with self._named():
            return self.part.merge(text)

    def write(self) -> Outcome:
        """Raises CommandError; then the file is as it was."""
        text, wanted = self._read(), self.preview()
        if wanted == text:
            return Outcome(self.path, Done.UNCHANGED)
        kept = ""
        if text is not None:
            kept = self._keep_aside(text)
        self._store(self.real, wanted)
        return Outcome(self.path, Done.WRITTEN, kept)

    def _keep_aside(self, text: str) -> str:
        if not self.part.ours(text):
            return self._store(self.real + BACKUP, text)
        return self._store(self.real + EDITED, text) if self.part.edited(text) else ""

    def remove(self) -> Outcome:
        """Exactly as it was before, or as a person changed it since. Raises CommandError."""
        text = self._read()
        with self._named():
            if text is None or not self.part.ours(text):
                return Outcome(self.path, Done.NOT_OURS)
            rest = self.part.strip(text)
            edited = self.part.edited(text)
            before = self._read(self.real + BACKUP)
            whole = before is not None and self.part.same(before, rest or "")
        kept = self._store(self.real + EDITED, text) if edited else ""
        return attrs.evolve(self._without(rest, before, whole=whole), kept=kept)

    def _without(self, rest: str | None, before: str | None, *, whole: bool) -> Outcome:
        if whole:
            with self._reasons(self.real):
                os.replace(self.real + BACKUP, self.real)
            return Outcome(self.path, Done.RESTORED)
        if rest is not None:
            self._store(self.real, rest)
            return Outcome(self.path, Done.TAKEN_OUT)
        with self._reasons(self.real):
            os.unlink(self.real)
        if self.own_folder and before is None:
            with contextlib.suppress(OSError):  # it holds something else
                os.rmdir(os.path.dirname(self.real))
        return Outcome(self.path, Done.REMOVED)

    def _read(self, path: str = "") -> str | None:
        name = path or self.real
        with self._reasons(name):
            try:
                with open(name, encoding="utf-8", newline="") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def _store(self, path: str, text: str) -> str:
        """With the owner and mode of the file that is there, else readable by all."""
        draft = f"{path}.nodecache-new"
        with self._reasons(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with open(draft, "w", encoding="utf-8", newline="") as file:
                    file.write(text)
                    self._like(file.fileno())
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(draft)
                raise
        return path

    def _like(self, descriptor: int) -> None:
        try:
            there = os.stat(self.real)
        except FileNotFoundError:
            os.fchmod(descriptor, 0o644)
            return
        os.fchmod(descriptor, stat.S_IMODE(there.st_mode))
        if os.geteuid() == 0:
            with contextlib.suppress(PermissionError):  # root without its capabilities
                os.fchown(descriptor, there.st_uid, there.st_gid)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except Unusable as error:
            raise CommandError(
                f"{self.path} {error}", "It was left as it is. Mend it, and try again."
            ) from None

    @contextlib.contextmanager
    def _reasons(self, path: str) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError:
            raise CommandError(f"{path} is no text", "It was left as it is.") from None
        except OSError as error:
            hint = "Run as root." if isinstance(error, PermissionError) else ""
            reason = (error.strerror or str(error)).lower()
            raise CommandError(f"{path}: {reason}", hint) from None
