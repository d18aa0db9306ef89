"""An upstream account: a small file that may change at any time.

Its one line is ``user:password``, or a token that is sent to the registry as
it is (no colon). The secret goes to the upstream's own URL and to its allowed
token realm, for the account's listed repositories, and nowhere else.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable

import attrs

from nodecache.config import AccountSettings
from nodecache.config.values import exposed
from nodecache.events import SettingWarning
from nodecache.seams import Observe

#: Bytes; a bigger file is not an account's.
MOST = 64 * 1024


@attrs.frozen
class Credentials:
    """``user`` is None for a token. ``label`` tells secrets apart without telling them."""

    user: str | None
    secret: str = attrs.field(repr=False)
    label: str

    @property
    def basic(self) -> str | None:
        """The value of a Basic Authorization header."""
        if self.user is None:
            return None
        return "Basic " + base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()

    @property
    def bearer(self) -> str | None:
        """The value of an Authorization header, for a token that is sent as it is."""
        return None if self.user is not None else f"Bearer {self.secret}"


def parse_credentials(text: str) -> Credentials:
    """Raises ValueError, whose message holds nothing of the text."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 1:
        raise ValueError("it must hold one line: user:password, or a token")
    label = hashlib.sha256(lines[0].encode()).hexdigest()[:16]
    user, colon, password = lines[0].partition(":")
    if not colon:
        if not (lines[0].isascii() and lines[0].isprintable() and " " not in lines[0]):
            raise ValueError("its token has characters that no token has")
        return Credentials(None, lines[0], label)
    if not user or not password:
        raise ValueError("its user or its password is empty")
    return Credentials(user, password, label)


#: When it was changed, its inode, size and mode.
Stamp = tuple[int, int, int, int]


def _read(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(MOST).decode()


def _stamp(path: str) -> Stamp:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_size, status.st_mode


class AccountFile:
    """Read when it is first needed, and again when it has changed.

    A file that cannot be read or understood is told of once for each change;
    the repositories are asked for without an account then.
    """

    def __init__(
        self,
        settings: AccountSettings,
        observe: Observe,
        read: Callable[[str], str] = _read,
        stamp: Callable[[str], Stamp] = _stamp,
    ) -> None:
        self._settings = settings
        self._observe = observe
        self._read = read
        self._stamp = stamp
        self._seen: Stamp | None = None
        self._credentials: Credentials | None = None
        self._complaint = ""

    def credentials_for(self, name: str) -> Credentials | None:
        """None for a repository that the account is not listed for, or without a good file."""
        if not self._settings.covers(name):
            return None
        try:
            stamp = self._stamp(self._settings.file)
            if stamp != self._seen:
                self._credentials = parse_credentials(self._read(self._settings.file))
                self._seen, self._complaint = stamp, ""
                self._warn(exposed(f"account file {self._settings.file}", stamp[3]))
        except (OSError, ValueError) as error:
            self._complain(error)
        return self._credentials

    def _complain(self, error: Exception) -> None:
        self._seen, self._credentials = None, None
        words = error.strerror if isinstance(error, OSError) else str(error)
        self._warn(f"account file {self._settings.file} is not used: {words}")

    def _warn(self, complaint: str) -> None:
        if complaint and complaint != self._complaint:
            self._observe(SettingWarning(message=complaint))
        self._complaint = complaint
