"""The least level that is logged, changed while the node runs, and changed back by itself."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nodecache.events import Level, LogLevelSet
from nodecache.logs.writer import LogWriter
from nodecache.seams import Observe


def level_of(name: str) -> Level:
    """``debug``, ``info``, ``warning`` or ``error``. Raises ValueError."""
    try:
        return Level[name.upper()]
    except KeyError:
        words = ", ".join(level.name.lower() for level in Level)
        raise ValueError(f"is none of {words}") from None


class LogSwitch:
    """``usual`` is the level of the settings, to which it returns."""

    def __init__(self, log: LogWriter, clock: IReactorTime, observe: Observe) -> None:
        self.usual = log.level
        self._log = log
        self._clock = clock
        self._observe = observe
        self._call: IDelayedCall | None = None

    @property
    def level(self) -> Level:
        return self._log.level

    @property
    def seconds_left(self) -> float | None:
        """Until it returns to the usual level; None when it does not."""
        if self._call is None:
            return None
        return max(0.0, self._call.getTime() - self._clock.seconds())

    def set(self, level: Level, seconds: float = 0.0) -> None:
        """For so long; 0 until it is set anew, or the settings are read again."""
        self.stop()
        before, self._log.level = self._log.level, min(level, self._log.level)
        # Told while the lower of the two levels holds.
        self._observe(
            LogLevelSet(before=before.name.lower(), now=level.name.lower(), seconds=seconds)
        )
        self._log.level = level
        if seconds > 0:
            self._call = self._clock.callLater(seconds, self._return)

    def settings_say(self, level: Level) -> None:
        """The settings were read anew; a level that was set by hand gives way."""
        self.usual = level
        if self._log.level is not level or self._call is not None:
            self.set(level)

    def stop(self) -> None:
        """No timer is left; idempotent."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _return(self) -> None:
        self._call = None
        self.set(self.usual)
