"""Types of options whose values our own parsers read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from nodecache.cli.kinds import ParamType
from nodecache.runtimes.names import Unusable, Version, parse_version


class Parsed(ParamType[Any]):
    """``read_value`` raises Unusable for what it can not read."""

    def __init__(self, name: str, read_value: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read_value

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A default may be what was read already."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except Unusable as error:
            self.fail(str(error), param, ctx)


def _version(text: str) -> Version:
    found = parse_version(text)
    if found is None:
        raise Unusable(f"{text!r} is no version: it is like 1.7.28")
    return found


VERSION: Final = Parsed("version", _version)
