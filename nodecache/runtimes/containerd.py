"""containerd's ``config.toml``, as far as it says where the CRI plug-in looks for mirrors.

What the releases make of it:

- ``registry.config_path`` names the folder of the hosts.toml files. Up to 2.0,
  and where pulls are made "locally", it may be a list with colons. The transfer
  service, which pulls from 2.1 on, takes the list for one folder, finds
  nothing, and says nothing.
- ``registry.mirrors`` is the deprecated table. Every release refuses to load
  the plug-in where both are set. 2.2.0 and 2.2.1 set a ``config_path`` of their
  own, a list, and so refuse the table always; later ones leave it out then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from nodecache.runtimes.hosts_toml import HostsFile, parse
from nodecache.runtimes.names import ANY_REGISTRY, Unusable, Version

#: What ``config_path`` is from 2.2 on where the file says nothing.
DEFAULT_LIST: Final = "/etc/containerd/certs.d:/etc/docker/certs.d"
DEFAULT_LIST_SINCE: Final = (2, 2, 0)
#: From here on pulls are made by the transfer service.
TRANSFER_SINCE: Final = (2, 1, 0)
#: These refuse the deprecated table whatever else is set.
REFUSES_TABLE: Final = ((2, 2, 0), (2, 2, 1))

#: The plug-in that pulls, by the version of the file.
_PLUGINS: Final = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.images"}
#: Keys that make a release of 2.1 or newer pull locally, if they are set and not this.
_LOCAL: Final = {
    "use_local_image_pull": False,
    "discard_unpacked_layers": False,
    "disable_snapshot_annotations": True,
    "image_pull_with_sync_fs": False,
    "max_concurrent_downloads": 3,
}
#: Deprecated tables of the registry that do the same, beside that of mirrors.
_LOCAL_TABLES: Final = ("configs", "auths")


@attrs.frozen
class CriConfig:
    """What the file says. ``config_path`` "" is not set.

    ``misplaced`` names the plug-in under which a ``config_path`` stands where
    this version of the file is not read for it.
    """

    schema: int = 1
    config_path: str = ""
    mirrors: Mapping[str, tuple[str, ...]] = attrs.Factory(dict)
    local_pull: bool = False
    off: bool = False
    misplaced: str = ""

    @property
    def plugin(self) -> str:
        """The plug-in's table in a file of this version."""
        return _PLUGINS.get(self.schema, _PLUGINS[3])


def imports_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Further files that it names, with ``*`` in them or not."""
    found = document.get("imports", [])
    return tuple(str(one) for one in found) if isinstance(found, list) else ()


def read(documents: Sequence[Mapping[str, Any]]) -> CriConfig:
    """The file and those that it imports, in this order: the later ones win."""
    merged: dict[str, Any] = {}
    for document in documents:
        merged = _merged(merged, document)
    version = merged.get("version", 1)
    schema = version if isinstance(version, int) else 1
    plugins = _table(merged.get("plugins"))
    name = _PLUGINS.get(schema, _PLUGINS[3])
    disabled = merged.get("disabled_plugins")
    plugin = _table(plugins.get(name))
    registry = _table(plugin.get("registry"))
    elsewhere = (one for one in _PLUGINS.values() if one != name)
    return CriConfig(
        schema=schema,
        config_path=str(registry.get("config_path") or ""),
        mirrors=_mirrors(registry),
        local_pull=_local_pull(plugin, registry),
        off=bool(set(_PLUGINS.values()) & _texts(disabled)),
        misplaced=next((one for one in elsewhere if _has_path(plugins.get(one))), ""),
    )


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(under)
    for key, value in over.items():
        there = found.get(key)
        both = isinstance(there, Mapping) and isinstance(value, Mapping)
        found[key] = _merged(there, value) if both else value  # type: ignore[arg-type]  # both says so
    return found


def _local_pull(plugin: Mapping[str, Any], registry: Mapping[str, Any]) -> bool:
    """A file of version 2 has some of the keys a table further down."""
    places = (plugin, _table(plugin.get("containerd")))
    keys = any(place.get(key, usual) != usual for place in places for key, usual in _LOCAL.items())
    return keys or any(registry.get(table) for table in _LOCAL_TABLES)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> set[str]:
    return set(map(str, value)) if isinstance(value, list) else set()


def _has_path(plugin: Any) -> bool:
    return bool(_table(_table(plugin).get("registry")).get("config_path"))


def _mirrors(registry: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, table in _table(registry.get("mirrors")).items():
        endpoints = _table(table).get("endpoint", [])
        found[name] = tuple(map(str, endpoints)) if isinstance(endpoints, list) else ()
    return found


def folders(config: CriConfig, version: Version | None) -> tuple[str, ...]:
    """The folders that ``config_path`` names, or that this release takes where it names none."""
    listed = config.config_path
    if not listed and not config.mirrors and version is not None and version >= DEFAULT_LIST_SINCE:
        listed = DEFAULT_LIST
    return tuple(one for one in listed.split(":") if one)


@attrs.frozen
class CertsDir:
    """A folder of hosts.toml files; ``files`` are their texts by the name of the folder in it.

    None stands for a folder without the file, which hides ``_default`` all the same.
    """

    path: str
    files: Mapping[str, str | None]


@attrs.frozen
class Found:
    """What containerd finds for a registry. ``problem`` is set for a file that it can not read."""

    place: str
    hosts: HostsFile | None = None
    problem: str = ""

    @property
    def is_default(self) -> bool:
        return self.place.rpartition("/")[2] == ANY_REGISTRY


def look_up(registry: str, dirs: Iterable[CertsDir]) -> Found | None:
    """The first folder for ``registry``, as containerd looks for it; None: there is none."""
    host, colon, port = registry.rpartition(":")
    names = [f"{host}_{port}_"] if colon else []
    for certs in dirs:
        for name in (*names, registry, ANY_REGISTRY):
            if name in certs.files:
                return _found(f"{certs.path}/{name}", certs.files[name])
    return None


def _found(place: str, text: str | None) -> Found:
    if text is None:
        return Found(place)
    try:
        return Found(place, parse(text))
    except Unusable as error:
        return Found(place, problem=str(error))
