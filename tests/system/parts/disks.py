"""Small file systems of their own: some that fill up, and one whose device or kernel fails.

tmpfs runs out of bytes and of inodes as a real disk does (ENOSPC is the kernel's own). ext4 on a
loop device over a file that has less room than it pretends fails as a dying disk does: what is
written to it comes back as an input/output error. And ext4 can be told of an error of its own,
upon which it lets nobody write any more, as it does on a real disk.
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
from typing import Final

import attrs

from tests.system.parts.processes import MissingPart, need, need_root

MIB: Final = 1 << 20


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingPart(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout.strip()


@attrs.define
class SmallDisk:
    """A tmpfs of ``size`` bytes at ``path``; ``hog`` is another user of it."""

    path: pathlib.Path
    size: int
    inodes: int = 0
    _hogs: int = 0

    def mount(self) -> SmallDisk:
        need_root()
        need("mount")
        self.path.mkdir(parents=True, exist_ok=True)
        options = f"size={self.size}" + (f",nr_inodes={self.inodes}" if self.inodes else "")
        _run("mount", "-t", "tmpfs", "-o", options, "none", str(self.path))
        return self

    def unmount(self) -> None:
        _run("umount", "-l", str(self.path))

    def fill(self) -> None:
        """Somebody else takes all that is left."""
        with (self.path / "somebody-elses").open("ab", buffering=0) as file:
            for size in (MIB, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def fill_inodes(self) -> None:
        """Somebody else makes files until there can be no more."""
        with contextlib.suppress(OSError):
            while True:
                (self.path / f"somebody-elses-{self._hogs}").touch()
                self._hogs += 1

    def free(self) -> None:
        """They take it all away again."""
        for path in self.path.glob("somebody-elses*"):
            path.unlink()
        self._hogs = 0


@attrs.define
class FailingDisk:
    """ext4 of ``size`` bytes at ``path`` on a loop device; ``backed`` of them are really there.

    ``work`` is a folder for what lies below it.
    """

    path: pathlib.Path
    work: pathlib.Path
    size: int
    backed: int = 0
    device: str = ""

    @property
    def _image(self) -> pathlib.Path:
        return self.work / "image"

    def mount(self) -> FailingDisk:
        need_root()
        need("mount", "losetup", "mkfs.ext4", "e2fsck")
        self.work.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        if self.backed:
            options = f"size={self.backed}"
            _run("mount", "-t", "tmpfs", "-o", options, "none", str(self.work))
        with self._image.open("wb") as file:
            file.truncate(self.size)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", str(self._image))
        self._attach()
        return self

    def _attach(self) -> None:
        self.device = _run("losetup", "--find", "--show", str(self._image))
        _run("mount", "-o", "errors=remount-ro", self.device, str(self.path))

    def _detach(self) -> None:
        _run("umount", "-l", str(self.path))
        _run("losetup", "--detach", self.device)

    def go_read_only(self) -> None:
        """The kernel finds an error in the file system, and lets nobody write any more."""
        name = pathlib.Path(self.device).name
        trigger = pathlib.Path(f"/sys/fs/ext4/{name}/trigger_fs_error")
        if not trigger.exists():
            raise MissingPart(f"{trigger} (ext4's way to be told of an error)")
        trigger.write_text("somebody pulled the plug\n")

    def starve(self) -> None:
        """What lies below has no room any more: each write to a new block is an error from now."""
        with (self.work / "somebody-elses").open("ab", buffering=0) as file:
            for size in (MIB, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def cure(self) -> None:
        """Check it and mount it anew at its place, as an administrator would."""
        (self.work / "somebody-elses").unlink(missing_ok=True)
        self._detach()
        # For those that have files open, what was unmounted lives on, and writes nothing any more.
        argv = ["e2fsck", "-f", "-y", str(self._image)]
        subprocess.run(argv, capture_output=True, check=False)
        self._attach()

    def unmount(self) -> None:
        with contextlib.suppress(MissingPart):
            self._detach()
        if self.backed:
            with contextlib.suppress(MissingPart):
                _run("umount", "-l", str(self.work))
