"""The base of types of options. Click's own takes a type parameter from 8.4 on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click import ParamType
else:

    class ParamType(click.ParamType):
        """``ParamType[float]`` is this, whatever click there is."""

        def __class_getitem__(cls, _kind: Any) -> type[ParamType]:
            return cls


__all__ = ["ParamType"]
