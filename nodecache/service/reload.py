"""What SIGHUP may change while the node runs, and what has to wait for a restart. Pure."""

from __future__ import annotations

import attrs

from nodecache.config import Settings, UpstreamSettings

#: Settings that a running node takes on.
LIVE = frozenset({"tag_ttl", "offline", "max_size", "min_free", "log_level"})
#: Of an upstream: its rules. Addresses, CA and proxy belong to open connections.
LIVE_OF_UPSTREAM = frozenset({"allow", "deny"})

_TABLES = ("limits", "timeouts")


@attrs.frozen
class Changes:
    """Names of settings, in order: taken on at once, and only after a restart."""

    live: tuple[str, ...]
    restart: tuple[str, ...]


def changes(old: Settings, new: Settings) -> Changes:
    """What differs between two settings, by when it takes effect."""
    names = [name for name in _plain_differences(old, new) if name != "upstreams"]
    live = [name for name in names if name in LIVE]
    restart = [name for name in names if name not in LIVE]
    before = {one.namespace: one for one in old.upstreams}
    after = {one.namespace: one for one in new.upstreams}
    restart += [f"upstreams.{namespace}" for namespace in before.keys() ^ after.keys()]
    for namespace in before.keys() & after.keys():
        for name in _fields(before[namespace], after[namespace]):
            key = f"upstreams.{namespace}.{name}"
            (live if name in LIVE_OF_UPSTREAM else restart).append(key)
    return Changes(tuple(sorted(live)), tuple(sorted(restart)))


def _plain_differences(old: Settings, new: Settings) -> list[str]:
    """Names of settings; those of the tables as ``limits.fills``."""
    names = [name for name in _fields(old, new) if name not in _TABLES]
    for table in _TABLES:
        names += [f"{table}.{name}" for name in _fields(getattr(old, table), getattr(new, table))]
    return names


def _fields(old: attrs.AttrsInstance, new: attrs.AttrsInstance) -> list[str]:
    compared = [field.name for field in attrs.fields(type(old)) if field.eq]
    return [name for name in compared if getattr(old, name) != getattr(new, name)]


def merged(old: Settings, new: Settings) -> Settings:
    """``old`` with those values of ``new`` that a running node takes on."""
    after = {one.namespace: one for one in new.upstreams}
    upstreams = tuple(_with_rules(one, after.get(one.namespace, one)) for one in old.upstreams)
    taken = {name: getattr(new, name) for name in LIVE}
    return attrs.evolve(old, upstreams=upstreams, **taken)


def _with_rules(old: UpstreamSettings, new: UpstreamSettings) -> UpstreamSettings:
    return attrs.evolve(old, **{name: getattr(new, name) for name in LIVE_OF_UPSTREAM})
