"""Markup that can not be broken by what is put into it.

Names of images and peers and the words of errors come from outside. Whatever
is given to ``tag`` as text or as an attribute is escaped there, in one place;
only what ``tag`` has made itself (``Html``) goes in as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

_VOID: Final = frozenset({"br", "hr", "link", "meta"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | int | float | None | Iterable["Child"]
Value = str | int | float | bool | None


def text(child: Child) -> Html:
    """Children one behind the other, escaped unless they are markup. None is nothing."""
    if isinstance(child, Html):
        return child
    if child is None:
        return Html("")
    if isinstance(child, str | int | float):
        return Html(escape(_shown(child)))
    return Html("".join(text(each) for each in child))


def tag(name: str, /, *children: Child, **attributes: Value) -> Html:
    """An element. ``class_`` is ``class``, ``aria_label`` is ``aria-label``.

    An attribute of None or False is left out, of True has no value.
    """
    head = name + "".join(_attribute(each, value) for each, value in attributes.items())
    if name in _VOID:
        return Html(f"<{head}>")
    return Html(f"<{head}>{text(children)}</{name}>")


def _attribute(name: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(_shown(value))}"'


def _shown(value: float | str) -> str:
    """Numbers as short as they are, and no character that no document may hold."""
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
