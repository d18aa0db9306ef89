"""``registries.conf`` of CRI-O, podman, skopeo and buildah: a drop-in file of version 2.

Files are read in the order of their names, and the last one that names a prefix
replaces what the others say of it: so ours repeats what they said, behind our
mirror.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from nodecache.runtimes import block
from nodecache.runtimes.names import Unusable, same_url
from nodecache.runtimes.toml import read_toml

#: Our file; only names that end in ``.conf`` are read.
FILE_NAME: Final = "nodecache.conf"

#: Keys of a registry and of a mirror that we know how to repeat.
_SCALARS = (str, bool, int)


@attrs.frozen
class Registry:
    """One ``[[registry]]``. ``rest`` are its other keys, as they are."""

    prefix: str
    location: str
    mirrors: tuple[Mapping[str, Any], ...] = ()
    rest: Mapping[str, Any] = attrs.Factory(dict)


def parse(text: str) -> tuple[Registry, ...]:
    """The registries of a file. Raises Unusable."""
    tables = read_toml(text).get("registry", [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise Unusable("has a 'registry' that is no list of tables")
    return tuple(_registry(table) for table in tables)


def _registry(table: Mapping[str, Any]) -> Registry:
    location = str(table.get("location") or table.get("prefix") or "")
    mirrors = table.get("mirror", [])
    if not isinstance(mirrors, list) or not all(isinstance(one, dict) for one in mirrors):
        raise Unusable("has a 'mirror' that is no list of tables")
    known = {"prefix", "location", "mirror"}
    return Registry(
        prefix=str(table.get("prefix") or location),
        location=location,
        mirrors=tuple(mirrors),
        rest={key: value for key, value in table.items() if key not in known},
    )


def in_force(files: Iterable[tuple[str, str]]) -> dict[str, tuple[str, Registry]]:
    """By prefix the registry that counts, and the name of its file.

    ``files`` are names and texts in the order in which they are read. Raises
    Unusable, which names the file.
    """
    found: dict[str, tuple[str, Registry]] = {}
    for name, text in files:
        try:
            registries = parse(text)
        except Unusable as error:
            raise Unusable(f"{name} {error}") from None
        found.update({one.prefix: (name, one) for one in registries})
    return found


@attrs.frozen
class DropInPart(block.BlockPart):
    """Our drop-in: the mirror for each of ``registries``.

    ``others`` is what other files say of them, by prefix.
    """

    registries: tuple[str, ...]
    mirror: str
    others: Mapping[str, Registry] = attrs.Factory(dict)

    def merge(self, text: str | None) -> str:
        """The file with our part, and what else a person wrote into it. Raises Unusable."""
        rest = block.cut(text or "").rest
        merged = block.append(rest, "\n".join(self._table(one) for one in self.registries))
        if {one.prefix for one in parse(rest)} & set(self.registries):
            raise Unusable("names one of the registries outside of nodecache's part")
        parse(merged)
        return merged

    def _table(self, registry: str) -> str:
        there = self.others.get(registry, Registry(registry, registry))
        lines = [
            "[[registry]]",
            f"prefix = {json.dumps(registry)}",
            f"location = {json.dumps(there.location)}",
            *_pairs(there.rest),
        ]
        lines += ["", "[[registry.mirror]]", *_pairs(self._ours())]
        location = urlsplit(self.mirror).netloc
        for mirror in there.mirrors:
            if not same_url(str(mirror.get("location", "")), location):
                lines += ["", "[[registry.mirror]]", *_pairs(mirror)]
        return "\n".join(lines) + "\n"

    def _ours(self) -> dict[str, Any]:
        parts = urlsplit(self.mirror)
        plain = {"insecure": True} if parts.scheme == "http" else {}
        return {"location": parts.netloc, **plain}


def _pairs(table: Mapping[str, Any]) -> list[str]:
    """``key = value`` lines. Raises Unusable for a value that is no text, number or yes and no."""
    for key, value in table.items():
        if not isinstance(value, _SCALARS):
            raise Unusable(f"a registry has a key {key!r} that can not be repeated in {FILE_NAME}")
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
