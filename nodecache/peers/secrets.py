"""The cluster's secrets, read from a file again and again.

The file is read anew by its name each time: Kubernetes swaps a link behind it.
What is read and is no good changes nothing: the secrets in use stay.
"""

from __future__ import annotations

import os
from typing import Any, Final

from twisted.internet.defer import Deferred

from nodecache.config.values import exposed
from nodecache.events import SecretsRead, SettingWarning
from nodecache.failures import ConfigError
from nodecache.limits import KIB, Timeouts
from nodecache.seams import DiskPool, Observe

#: Bytes of a secret; lines of the file that hold one; bytes of the file.
LEAST: Final = 16
MOST: Final = 16
MOST_FILE: Final = 64 * KIB


def parse_secrets(data: bytes) -> tuple[bytes, ...]:
    """One secret a line; blank lines and those that begin with ``#`` are left out.

    Raises ValueError, which names lines and never what they hold.
    """
    if len(data) > MOST_FILE:
        raise ValueError(f"it has more than {MOST_FILE} bytes")
    found: dict[bytes, None] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        secret = line.strip()
        if not secret or secret.startswith(b"#"):
            continue
        if len(secret) < LEAST:
            raise ValueError(f"line {number} has fewer than {LEAST} bytes")
        found[secret] = None
    if not found:
        raise ValueError("it holds no secret")
    if len(found) > MOST:
        raise ValueError(f"it holds more than {MOST} secrets")
    return tuple(found)


class Secrets:
    """``accepted``: all secrets, of which the first signs. ``clock`` is an IReactorTime."""

    def __init__(
        self, path: str, pool: DiskPool, clock: Any, observe: Observe, timeouts: Timeouts
    ) -> None:
        self._path = path
        self._pool = pool
        self._clock = clock
        self._observe = observe
        self._interval = timeouts.peer_secrets
        self._reason = ""
        self._exposed = ""
        self._timer: Any = None
        self._reading: Deferred[None] | None = None
        self._stopped = False
        self.accepted: tuple[bytes, ...] = ()

    @property
    def signs(self) -> bytes:
        return self.accepted[0]

    async def start(self) -> None:
        """Read the file, and again from time to time. Raises ConfigError when it is no good."""
        try:
            self.accepted, warning = await self._pool.run(self._read)
        except (OSError, ValueError) as error:
            raise ConfigError(f"peer_secret_file: {self._path}: {_words(error)}") from None
        self._observe(SecretsRead(count=len(self.accepted)))
        self._warn(warning)
        self._wait()

    def stop(self) -> None:
        """Read no more; idempotent."""
        self._stopped = True
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def _read(self) -> tuple[tuple[bytes, ...], str]:
        """Blocks. The secrets, and a warning where others can read them as well."""
        with open(self._path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return parse_secrets(file.read(MOST_FILE + 1)), exposed(self._path, mode)

    def _warn(self, warning: str) -> None:
        """Once, until it is so no more."""
        if warning and warning != self._exposed:
            self._observe(SettingWarning(message=f"peer_secret_file: {warning}"))
        self._exposed = warning

    def _wait(self) -> None:
        if not self._stopped:
            self._timer = self._clock.callLater(self._interval, self._again)

    def _again(self) -> None:
        self._timer = None
        self._reading = self._pool.run(self._read).addCallbacks(
            self._took, lambda reason: self._kept(reason.value)
        )
        self._reading.addBoth(lambda _: self._wait())

    def _took(self, found: tuple[tuple[bytes, ...], str]) -> None:
        secrets, warning = found
        self._warn(warning)
        changed = secrets != self.accepted
        if changed or self._reason:
            self.accepted, self._reason = secrets, ""
            self._observe(SecretsRead(count=len(secrets)))

    def _kept(self, error: BaseException | None) -> None:
        """The old ones stay; told once for each reason."""
        reason = _words(error)
        if reason != self._reason and not self._stopped:
            self._reason = reason
            self._observe(SecretsRead(count=len(self.accepted), reason=reason))


def _words(error: BaseException | None) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, ValueError) else type(error).__name__
