"""The node's own name, made once and kept in the data folder. All functions block."""

from __future__ import annotations

import os
import re
import secrets
from typing import Final

#: What a node id may be: safe in a header, in a file, and in a log.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
FILE: Final = "node-id"
_MOST_BYTES: Final = 1024


def is_node_id(text: str) -> bool:
    """Whether ``text`` may be the name of a node."""
    return _ID.fullmatch(text) is not None


def node_id(folder: str) -> str:
    """The id kept in ``folder``; made anew where there is none, or a damaged one.

    Raises OSError when it can not be kept.
    """
    path = os.path.join(folder, FILE)
    kept = _read(path)
    if kept is not None:
        return kept
    made = f"node-{secrets.token_hex(8)}"
    _write(path, made)
    return made


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            text = file.read(_MOST_BYTES).decode("ascii").removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if is_node_id(text) else None


def _write(path: str, text: str) -> None:
    """Whole or not at all, also when the power goes: written beside it, synced, renamed."""
    beside = f"{path}.new"
    with open(beside, "wb") as file:
        file.write(f"{text}\n".encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
