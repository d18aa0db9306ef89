"""Flag over environment over file: which value of a setting counts, and what it is called.

Every complaint about a setting is made here, so that each is one line that
names the key in the place where it was given: ``--tag-ttl``,
``NODECACHE_TAG_TTL``, or the file and its key.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import attrs

from nodecache.config.keys import KEYS, OTHER_VARIABLES, Key
from nodecache.config.settings import Origin
from nodecache.config.values import shown
from nodecache.failures import ConfigError

PREFIX = "NODECACHE_"
TABLES = ("upstreams", "limits", "timeouts", "telemetry")

#: What Kubernetes sets in each pod for a Service called ``nodecache``.
_INJECTED = re.compile(r"NODECACHE_(?:PORT(?:_[0-9]+_\w+)?|SERVICE_HOST|SERVICE_PORT(?:_\w+)?)")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

T = TypeVar("T")


@attrs.frozen
class Given:
    """A value that somebody gave; ``where`` names its key for an error line."""

    value: object
    origin: Origin
    where: str

    def read(self, reader: Callable[[object], T]) -> T:
        """What ``reader`` makes of the value. Raises ConfigError naming the key."""
        try:
            return reader(self.value)
        except ValueError as error:
            raise ConfigError(f"{self.where}: {shown(self.value)} {error}") from None


@attrs.frozen
class Table:
    """A table of the file; ``where`` is the file and the table's name."""

    values: Mapping[str, object]
    file: str
    path: tuple[str, ...] = ()

    def where(self, key: str) -> str:
        dotted = ".".join(_quoted(part) for part in (*self.path, key))
        return f"{self.file}: {dotted}" if self.file else dotted

    def get(self, key: str) -> Given | None:
        if key not in self.values:
            return None
        return Given(self.values[key], Origin.FILE, self.where(key))

    def table(self, key: str) -> Table:
        """The table ``key`` inside this one; empty when it is not there. Raises ConfigError."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            # Text is not quoted: where a table names a file, somebody may write the secret itself.
            words = "text" if isinstance(value, str) else shown(value)
            raise ConfigError(f"{self.where(key)}: {words} is not a table")
        return Table(value, self.file, (*self.path, key))

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Raises ConfigError for the first key that is not ``known``."""
        names = sorted(known)
        for key in self.values:
            if key in names:
                continue
            raise ConfigError(f"{self.where(key)}: unknown key{_suggestion(key, names)}")


def read_document(text: str | None, name: str) -> Table:
    """The whole file as a table; an empty one when there is no file. Raises ConfigError."""
    try:
        values = tomllib.loads(text) if text is not None else {}
    except (ValueError, RecursionError) as error:  # its own is one of the first, as is int's
        reason = " ".join(str(error).split())
        raise ConfigError(f"{name}: not valid TOML: {reason}") from None
    return Table(values, name)


@attrs.frozen
class Layers:
    flags: Mapping[str, object]
    environ: Mapping[str, str]
    document: Table

    def pick(self, key: Key) -> Given | None:
        """The value that counts; None when the default does.

        A flag that is None or an empty list, and a variable that is empty,
        were not given.
        """
        flag = self.flags.get(key.name)
        if flag is not None and flag not in ((), []):
            return Given(flag, Origin.FLAG, key.flag)
        variable = self.environ.get(key.environment, "")
        if variable.strip():
            return Given(variable, Origin.ENVIRONMENT, key.environment)
        return self.document.get(key.name)

    def refuse_unknown(self) -> None:
        """Raises ConfigError for a flag or a key of the file that is not known."""
        names = {key.name for key in KEYS}
        for name in self.flags:
            if name not in names:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{flag}: unknown setting")
        self.document.refuse_unknown([*names, *TABLES])

    def warnings(self) -> tuple[str, ...]:
        """Variables that look like settings and are none; their values are not shown."""
        known = {key.environment for key in KEYS} | OTHER_VARIABLES
        unknown = sorted(n for n in self.environ if n.startswith(PREFIX) and n not in known)
        injected = [name for name in unknown if _INJECTED.fullmatch(name)]
        lines = []
        for name in unknown:
            if name not in injected:
                reason = f"unknown setting{_suggestion(name, known)}"
                lines.append(f"{_quoted(name)} in the environment is ignored: {reason}")
        if injected:
            reason = "unknown settings (Kubernetes sets them for a Service called nodecache)"
            lines.append(f"{', '.join(injected)} in the environment are ignored: {reason}")
        return tuple(lines)


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.8)
    return f" (did you mean {close[0]}?)" if close else ""


def _quoted(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else f'"{key}"' if key.isprintable() else repr(key)
