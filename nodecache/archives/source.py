"""Where members are read from: a tar file, or a folder. Everything here blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from nodecache.archives.faults import BadArchive
from nodecache.archives.tar import MOST_MEMBERS, Member, clean_name, read_members

_DEPTH: Final = 8


class Source(Protocol):
    """``members`` are its files and symbolic links by name. ``close`` is owed."""

    @property
    def members(self) -> Mapping[str, Member]: ...

    def read(self, member: Member, start: int, size: int) -> bytes:
        """Up to ``size`` bytes of a member from ``start`` on. Raises BadArchive, OSError."""
        ...

    def close(self) -> None: ...


class TarSource(Source):
    """Takes the descriptor of a regular file, and closes it. Raises BadArchive, OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            total = os.fstat(fd).st_size
            self._members = read_members(lambda offset, size: os.pread(fd, size, offset), total)
        except BaseException:
            os.close(fd)
            raise

    @property
    def members(self) -> Mapping[str, Member]:
        return self._members

    def read(self, member: Member, start: int, size: int) -> bytes:
        wanted = max(0, min(size, member.size - start))
        return os.pread(self._fd, wanted, member.offset + start)

    def close(self) -> None:
        os.close(self._fd)


class FolderSource(Source):
    """What lies under ``root``; symbolic links are named and never followed.

    Raises BadArchive, OSError.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._open: tuple[str, int] | None = None
        self._members = {member.name: member for member in _listed(root, "", _DEPTH)}

    @property
    def members(self) -> Mapping[str, Member]:
        return self._members

    def read(self, member: Member, start: int, size: int) -> bytes:
        wanted = max(0, min(size, member.size - start))
        return os.pread(self._descriptor(member.name), wanted, start)

    def _descriptor(self, name: str) -> int:
        if self._open is None or self._open[0] != name:
            self.close()
            path = os.path.join(self._root, name)
            self._open = name, os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self._open[1]

    def close(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            os.close(opened[1])


def _listed(root: str, folder: str, depth: int) -> Iterator[Member]:
    """The members under ``folder``, which is relative to ``root``."""
    with os.scandir(os.path.join(root, folder)) as entries:
        for number, entry in enumerate(entries):
            name = os.path.join(folder, entry.name)
            found = entry.stat(follow_symlinks=False)
            if number >= MOST_MEMBERS or not depth:
                raise BadArchive("the folder holds more than an image: too many or too deep")
            if stat.S_ISDIR(found.st_mode):
                yield from _listed(root, name, depth - 1)
            elif stat.S_ISLNK(found.st_mode):
                target = os.readlink(os.path.join(root, name))
                yield Member(clean_name(name), 0, 0, clean_name(target, folder))
            elif stat.S_ISREG(found.st_mode):
                yield Member(clean_name(name), found.st_size)
            else:
                raise BadArchive(f"{name!r} in the folder is neither a file nor a folder")


def open_source(path: str) -> Source:
    """A folder or a tar file. Raises BadArchive, OSError."""
    if os.path.isdir(path):
        return FolderSource(path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BadArchive(f"{path} is neither a file nor a folder")
    return TarSource(fd)


def is_saved(source: Source) -> bool:
    """Whether it is a ``docker save`` archive only, not an OCI layout as well.

    Raises BadArchive when it is neither.
    """
    members = source.members
    if "index.json" in members and "oci-layout" in members:
        return False
    if "manifest.json" in members:
        return True
    raise BadArchive(
        "this holds no image: neither an OCI layout (oci-layout, index.json)"
        " nor what docker save writes (manifest.json)"
    )


def small(source: Source, name: str, most: int) -> bytes:
    """A member that is read into memory, of at most ``most`` bytes. Raises BadArchive, OSError."""
    member = followed(source, name)
    if member.size > most:
        raise BadArchive(f"{name} has {member.size} bytes, more than the {most} that are read")
    body = source.read(member, 0, member.size)
    if len(body) != member.size:
        raise BadArchive(f"{name} is shorter than it says")
    return body


def followed(source: Source, name: str) -> Member:
    """The file behind ``name``, through a symbolic link within the archive. Raises BadArchive."""
    member = source.members.get(name)
    for _ in range(_DEPTH):
        if member is None:
            raise BadArchive(f"{name[:200]!r} is not in the archive")
        if member.link is None:
            return member
        member = source.members.get(member.link)
    raise BadArchive(f"{name[:200]!r} is a link that leads in a circle")
