"""The order that changes what is logged."""

from __future__ import annotations

from typing import Any

from nodecache.logs import LogSwitch, level_of
from nodecache.steering import Document, Refused, Tell, Verb


def log_orders(switch: LogSwitch | None) -> tuple[Verb, ...]:
    """``log-level``, for a node whose log is its own; ``switch`` is that of its process."""
    if switch is None:
        return ()

    async def run(given: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """``level`` (without it nothing changes) and ``seconds`` (0: until further notice)."""
        del tell
        document = Document(given)
        if "level" in given:
            try:
                level = level_of(document.text("level"))
            except ValueError as error:
                raise Refused(f"level: {given['level']!r} {error}") from None
            switch.set(level, document.seconds("seconds") or 0.0)
        return {
            "level": switch.level.name.lower(),
            "usual": switch.usual.name.lower(),
            "seconds_left": switch.seconds_left,
        }

    return (Verb("log-level", run),)
