"""A program of its own: it lists folders of blobs for the process that has started it.

``python -I -S lister.py BLOBS NUMBER COLUMNS``, with the folder of the shards, its own number,
and the descriptor of the file that takes what it finds. Each byte that it takes from its input,
which it shares with its like, is a shard to list. Of a shard in which all is in order it writes
the columns to that file, and a head to its output, which it shares, too. Anything else it leaves
to who has started it, who judges: a name that is no digest, a file without bytes, what is no
file, a folder that can not be read.

It ends when there is no more to take. If nobody is left who reads its heads, the next one ends it.
"""

from __future__ import annotations

import gc
import os
import stat
import struct
import sys
from array import array

# Without typing, which would take longer to load than all else here.

#: What says that it is a head, the number of who wrote it, the shard, how many blobs, where in
#: the file their columns begin, and when the folder was changed before it was read, in ns.
#: Shorter than what a pipe takes in one piece.
HEAD = struct.Struct("=4sBBIQq")
MAGIC = b"nls1"
#: Begins the key of each blob.
CODE = b"b"
#: Bytes of a key; then, once all of these have come, those of a size and of a time.
KEY = 33
WIDTH = KEY + 8 + 8
INPUT, OUTPUT = 0, 1


def listed(path: str) -> tuple[int, int, bytes] | None:
    """Of a shard: when it was changed, how many blobs it has, their columns. None: not in order."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        changed = os.fstat(fd).st_mtime_ns
        columns = _columns(fd, os.path.basename(path))
    except OSError:
        return None
    finally:
        os.close(fd)
    return columns and (changed, *columns)


def _columns(fd: int, shard: str) -> tuple[int, bytes] | None:
    """Raises OSError."""
    names: list[str] = []
    sizes, times, modes = array("q"), array("d"), set()
    with os.scandir(fd) as entries:
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            names.append(entry.name)
            sizes.append(info.st_size)
            times.append(info.st_mtime)
            modes.add(info.st_mode)
    if not all(map(stat.S_ISREG, modes)) or (names and not min(sizes)):
        return None
    # By time: who sorts all of them then has but to merge.
    order = sorted(range(len(names)), key=times.__getitem__)
    keys = _keys([names[at] for at in order], shard)
    if keys is None:
        return None
    sizes = array("q", map(sizes.__getitem__, order))
    times = array("d", map(times.__getitem__, order))
    return len(names), keys + sizes.tobytes() + times.tobytes()


def _keys(names: list[str], shard: str) -> bytes | None:
    """None if one of them is no digest in small letters that belongs here."""
    if any(length != 64 for length in set(map(len, names))):
        return None
    text = "".join([CODE.hex() + name for name in names])
    try:
        keys = bytes.fromhex(text)
    except ValueError:
        return None
    # Capitals and spaces would have passed.
    here = keys[1::KEY] == bytes.fromhex(shard) * len(names)
    return keys if here and keys.hex() == text else None


def write(fd: int, data: bytes) -> None:
    """All of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def main(blobs: str, number: int, columns: int) -> None:
    """List what there is to take."""
    gc.disable()  # it makes no garbage that has to be looked for
    offset = 0
    while taken := os.read(INPUT, 1):
        found = listed(os.path.join(blobs, taken.hex()))
        if found is not None:
            changed, count, data = found
            write(columns, data)
            os.write(OUTPUT, HEAD.pack(MAGIC, number, taken[0], count, offset, changed))
            offset += len(data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
