"""The files of the node: its own, or under a folder where they are mounted."""

from __future__ import annotations

import os
from typing import Final

import attrs

#: Links that are followed for one path, as the kernel does.
_LINKS: Final = 40
#: Bytes of a file that are read: no configuration is longer.
_MOST: Final = 4 * 1024 * 1024


class Unreadable(Exception):
    """A file is there and can not be read; the message names it."""


@attrs.frozen
class Root:
    """``folder`` is / on the node itself. Paths are those of the node, and absolute."""

    folder: str = "/"

    @property
    def is_own(self) -> bool:
        """Whether the files are those of the system that we run on."""
        return os.path.realpath(self.folder) == "/"

    @property
    def shares_network(self) -> bool:
        """Whether a port that we ask is the node's; a pod has its own loopback by default."""
        if self.is_own:
            return True
        try:
            ours = os.readlink("/proc/self/ns/net")
            return ours == os.readlink(os.path.join(self.folder, "proc/1/ns/net"))
        except OSError:
            return False  # not ours to see, or /proc is not mounted

    def real(self, path: str) -> str:
        """Where a file of the node is here. Absolute links of the node lead within ``folder``.

        Raises Unreadable for links that lead in a circle.
        """
        done, rest, links = "/", [part for part in path.split("/") if part], 0
        while rest:
            part = rest.pop(0)
            step = os.path.normpath(os.path.join(done, part))
            here = self._under(step)
            if os.path.islink(here):
                links += 1
                if links > _LINKS:
                    raise Unreadable(f"{path}: too many links")
                target = os.readlink(here)
                done = "/" if target.startswith("/") else done
                rest = [one for one in target.split("/") if one] + rest
            else:
                done = step
        return self._under(done)

    def _under(self, path: str) -> str:
        return os.path.join(self.folder, path.lstrip("/"))

    def exists(self, path: str) -> bool:
        try:
            return os.path.exists(self.real(path))
        except Unreadable:
            return False

    def read(self, path: str) -> str | None:
        """None where there is no file. Raises Unreadable."""
        try:
            with open(self.real(path), encoding="utf-8", errors="replace") as file:
                return file.read(_MOST)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"{path}: {(error.strerror or str(error)).lower()}") from None

    def names(self, folder: str) -> list[str]:
        """What is in a folder, sorted; nothing where it is not there. Raises Unreadable."""
        try:
            return sorted(os.listdir(self.real(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unreadable(f"{folder}: {(error.strerror or str(error)).lower()}") from None

    def command_line(self, program: str) -> tuple[str, ...]:
        """The words with which the first process of this name runs; none where none is seen."""
        for pid in self._processes():
            try:
                with open(os.path.join(self.folder, "proc", pid, "cmdline"), "rb") as file:
                    words = file.read().decode(errors="replace").rstrip("\0").split("\0")
            except OSError:
                continue  # it ended, or is not ours to see
            if os.path.basename(words[0]) == program:
                return tuple(words)
        return ()

    def _processes(self) -> list[str]:
        try:
            return sorted(
                filter(str.isdigit, os.listdir(os.path.join(self.folder, "proc"))), key=int
            )
        except OSError:
            return []
