"""Events with made-up fields, one of each kind."""

from __future__ import annotations

import typing
from typing import Any

import attrs

from nodecache import events
from nodecache.events import Event

_VALUES: dict[Any, Any] = {
    str: "text",
    int: 7,
    float: 1.5,
    bool: True,
    dict[str, int]: {"disk": 7},
    int | None: 7,
    float | None: 1.5,
}


def kinds() -> list[type[Event]]:
    """Every kind of event that there is."""
    found = [each for each in vars(events).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, Event) and each is not Event]


def made_up(event: type[Event], /, **fields: Any) -> Event:
    """An event of that kind; fields that are not given are made up by their type."""
    hints = typing.get_type_hints(event)
    given = {field.name: _VALUES[hints[field.name]] for field in attrs.fields(event)}
    return event(**{**given, **fields})


def one_of_each() -> list[Event]:
    return [made_up(kind) for kind in kinds()]
