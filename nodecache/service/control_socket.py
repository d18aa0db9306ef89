"""The socket in the data folder over which the node is steered.

It lies in a folder that this process has locked, so that a socket found there
was left by a process that was killed. A path too long for a socket's address
(107 bytes) is reached by way of its folder's descriptor.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.internet import tcp, unix
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure as Reason

NAME: Final = "control.sock"
#: Bytes that a socket's address holds on Linux, but for the zero at its end.
LONGEST: Final = 107
#: Only who runs the node may give it orders.
MODE: Final = 0o600
_BACKLOG: Final = 16


class _Port(unix.Port):
    """Ends in order also where somebody has removed its file."""

    def connectionLost(self, reason: Reason) -> None:
        as_it_is: Any = super()
        try:
            as_it_is.connectionLost(reason)
        except OSError:
            tcp.Port.connectionLost(self, reason)


@attrs.define
class ControlSocket:
    """``path`` is where it lies; ``close`` is owed."""

    path: str
    _port: Any
    _folder: int | None

    async def close(self) -> None:
        """Take no more orders, and remove the file; idempotent."""
        await maybeDeferred(self._port.stopListening)
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)


def open_control_socket(reactor: Any, data_dir: str, site: Any) -> ControlSocket:
    """Listen in the folder ``data_dir``, which is this process's. Raises OSError."""
    folder = os.path.abspath(data_dir)
    path = os.path.join(folder, NAME)
    _remove_stale(path)
    opened = None
    where = path
    if len(os.fsencode(path)) > LONGEST:
        opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        where = f"/proc/self/fd/{opened}/{NAME}"
    try:
        port: Any = _Port(os.fsencode(where), site, _BACKLOG, MODE, reactor)
        port.startListening()
    except CannotListenError as error:
        if opened is not None:
            os.close(opened)
        with suppress(OSError):
            _remove_stale(path)
        raise error.socketError from None
    return ControlSocket(path, port, opened)


def _remove_stale(path: str) -> None:
    """Raises OSError where there is something else than a socket."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "there is something that is no socket", path)
    os.unlink(path)
