"""Events are values: equal, hashed and shown by their fields, by what their base says."""

from __future__ import annotations

import attrs
import pytest

from nodecache import events
from nodecache.events import Coalesced, Event

KINDS = [each for each in vars(events).values() if isinstance(each, type) and each is not Event]
KINDS = [each for each in KINDS if issubclass(each, Event)]


def made(kind: type[Event], /, **changed: object) -> Event:
    """With a number for each field."""
    return kind(**{each.name: at for at, each in enumerate(attrs.fields(kind))} | changed)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_a_value(kind: type[Event]) -> None:
    assert made(kind) == made(kind)
    assert hash(made(kind)) == hash(made(kind))
    for each in attrs.fields(kind):
        assert made(kind) != made(kind, **{each.name: "another"})
    shown = ", ".join(f"{each.name}={at}" for at, each in enumerate(attrs.fields(kind)))
    assert repr(made(kind)) == f"{kind.__name__}({shown})"


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_has_that_compiled_again(kind: type[Event]) -> None:
    """A start would pay for it."""
    assert not {"__eq__", "__hash__", "__repr__"} & set(vars(kind))


def test_events_of_two_kinds_are_never_equal() -> None:
    other = attrs.make_class("Coalesced", ["kind"], bases=(Event,), eq=False, repr=False)
    assert Coalesced(kind="blob") != other("blob")
    assert Coalesced(kind="blob") != ("blob",)
    assert len(KINDS) > 40
