"""The upstreams: the list of ``NS=URL``, and the file's tables that say more about each.

The list that counts (flag over environment over file over default) is the
closed list of namespaces. Tables of the file say more about its entries.
Where the list comes from the file or is the default, a table also adds its
namespace to it; where a flag or a variable names the list, a table beyond it
is not used, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from nodecache.config.keys import UPSTREAM, read_entries
from nodecache.config.layers import Given, Layers, Table
from nodecache.config.settings import (
    DOCKER_HUB_URL,
    AccountSettings,
    Origin,
    UpstreamSettings,
)
from nodecache.config.values import (
    read_host,
    read_pattern,
    read_proxy,
    read_repository,
    read_text,
    read_texts,
    read_url,
    shown,
)
from nodecache.failures import ConfigError
from nodecache.reference import DOCKER_HUB, canonical_namespace, is_namespace
from nodecache.rules import NameRules

_KEYS = ("url", "mirrors", "account", "allow", "deny", "ca_file", "proxy", "realm_hosts")
_ACCOUNT_KEYS = ("file", "repositories")
#: Origins whose list no table adds to.
_CLOSED = (Origin.FLAG, Origin.ENVIRONMENT)

T = TypeVar("T")


@attrs.frozen
class Upstreams:
    """``origin`` is where the list of namespaces comes from."""

    upstreams: tuple[UpstreamSettings, ...]
    origin: Origin
    warnings: tuple[str, ...]


def read_upstreams(layers: Layers) -> Upstreams:
    """Raises ConfigError naming the key."""
    given = layers.pick(UPSTREAM)
    listed = _read_list(given) if given else {DOCKER_HUB: DOCKER_HUB_URL}
    origin = given.origin if given else Origin.DEFAULT
    tables = _tables(layers.document.table("upstreams"))
    found = {namespace: UpstreamSettings(namespace, url) for namespace, url in listed.items()}
    warnings: list[str] = []
    for namespace, table in tables.items():
        upstream = _read_table(namespace, table, listed.get(namespace), origin)
        if origin in _CLOSED and namespace not in listed:
            key = given.where if given else UPSTREAM.flag
            warnings.append(f"{_name(table)} is not used: {key} does not list it")
            continue
        found[namespace] = upstream
        if upstream.account and any(url.startswith("http://") for url in upstream.urls):
            warnings.append(f"{table.where('account')}: its password goes out over plain http")
    if not found:
        where = given.where if given else UPSTREAM.name
        raise ConfigError(f"{where}: names no upstream (like docker.io={DOCKER_HUB_URL})")
    return Upstreams(tuple(found.values()), origin, tuple(warnings))


def _name(table: Table) -> str:
    """``nodecache.toml: upstreams."quay.io"``."""
    *above, last = table.path
    return attrs.evolve(table, path=tuple(above)).where(last)


def _read_list(given: Given) -> dict[str, str]:
    listed: dict[str, str] = {}
    for entry in given.read(read_entries):
        namespace, url = attrs.evolve(given, value=entry).read(_read_entry)
        if namespace in listed:
            raise ConfigError(f"{given.where}: {namespace} is given twice")
        listed[namespace] = url
    return listed


def _read_entry(value: object) -> tuple[str, str]:
    written, equals, url = read_text(value).partition("=")
    if not equals:
        raise ValueError(f"is not NS=URL (like docker.io={DOCKER_HUB_URL})")
    namespace = canonical_namespace(written.strip())
    if not is_namespace(namespace):
        raise ValueError("has no namespace (a host, like docker.io) before the =")
    return namespace, read_url(url)


def _tables(document: Table) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for key in document.values:
        namespace = canonical_namespace(key)
        if not is_namespace(namespace):
            raise ConfigError(f"{document.where(key)}: is no namespace (a host, like docker.io)")
        if namespace in tables:
            raise ConfigError(f"{document.where(key)}: {namespace} is given twice")
        tables[namespace] = document.table(key)
        _refuse_split_name(tables[namespace])
    return tables


def _refuse_split_name(table: Table) -> None:
    """``[upstreams.docker.io]`` is to TOML a table ``io`` in a table ``docker``."""
    for key, value in table.values.items():
        if key not in _KEYS and isinstance(value, dict):
            raise ConfigError(f"{table.where(key)}: a namespace needs quotes, or an unknown key")


def _read_table(
    namespace: str, table: Table, listed: str | None, origin: Origin
) -> UpstreamSettings:
    table.refuse_unknown(_KEYS)
    values: dict[str, Any] = {
        "mirrors": _each(table, "mirrors", read_url),
        "allow": _each(table, "allow", read_pattern),
        "deny": _each(table, "deny", read_pattern),
        "realm_hosts": _each(table, "realm_hosts", read_host),
        "ca_file": _one(table, "ca_file", read_text),
        "proxy": _one(table, "proxy", read_proxy),
    }
    if "account" in table.values:
        values["account"] = _read_account(namespace, table.table("account"))
    return UpstreamSettings(namespace, _url(namespace, table, listed, origin), **values)


def _url(namespace: str, table: Table, listed: str | None, origin: Origin) -> str:
    """The table's URL, or that of the list; empty for a table beyond a closed list."""
    url = _one(table, "url", read_url)
    if listed is not None:
        if origin is Origin.FILE and url not in (None, listed):
            raise ConfigError(f"{table.where('url')}: {shown(url)} differs from {UPSTREAM.name}'s")
        return url if url and origin not in _CLOSED else listed
    if url is None and namespace == DOCKER_HUB:
        return DOCKER_HUB_URL
    if url is None and origin not in _CLOSED:
        raise ConfigError(f"{table.where('url')}: missing")
    return url or ""


def _read_account(namespace: str, table: Table) -> AccountSettings:
    table.refuse_unknown(_ACCOUNT_KEYS)
    file = _one(table, "file", read_text)
    if file is None:
        raise ConfigError(
            f"{table.where('file')}: missing (the file with user:password or a token)"
        )
    repositories = _each(table, "repositories", read_repository)
    if not repositories:
        where = table.where("repositories")
        raise ConfigError(f"{where}: missing: an account needs the list of its repositories")
    return AccountSettings(file, NameRules.of(namespace, repositories).allow)


def _one(table: Table, key: str, reader: Callable[[object], T]) -> T | None:
    given = table.get(key)
    return given.read(reader) if given else None


def _each(table: Table, key: str, reader: Callable[[object], T]) -> tuple[T, ...]:
    given = table.get(key)
    if given is None:
        return ()
    items = given.read(read_texts)
    return tuple(attrs.evolve(given, value=item).read(reader) for item in items)
