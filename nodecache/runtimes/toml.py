"""TOML as people and packages write it, or not."""

from __future__ import annotations

import tomllib
from typing import Any

from nodecache.runtimes.names import Unusable


def read_toml(text: str) -> dict[str, Any]:
    """The document. Raises Unusable."""
    try:
        return tomllib.loads(text)
    # Beside its own error there are those of numbers without end and of tables within tables.
    except (ValueError, RecursionError) as error:
        raise Unusable(f"is no TOML: {error}") from None
