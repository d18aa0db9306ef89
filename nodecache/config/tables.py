"""The file's ``[limits]`` and ``[timeouts]``, by the names and kinds of ``limits.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from nodecache.config.layers import Table
from nodecache.config.settings import Origin
from nodecache.config.values import read_boolean, read_bytes, read_duration
from nodecache.failures import ConfigError
from nodecache.limits import Limits, Timeouts

#: Limits that count something; all others are bytes.
COUNTS = frozenset(
    {
        "connections_per_blob",
        "connections_per_node",
        "fills",
        "resumes",
        "redirects",
        "header_lines",
        "client_connections",
        "client_connections_per_address",
        "disk_threads",
        "log_burst",
        "log_rate",
        "peer_transfers",
        "peer_segment_transfers",
        "peer_queue",
        "peer_connections_per_blob",
        "peer_small_cluster",
        "peer_connections_shared",
        "peer_connections_per_node",
        "peer_referrals",
        "peer_sweep",
        "peer_fills",
        "peer_clients",
        "peer_clients_per_address",
        "admin_clients",
        "admin_clients_per_address",
        "peer_warms",
        "warm_peers",
        "warm_images",
        "warm_blobs",
    }
)
#: Values for which 0 makes sense: nothing is remembered, retried or waited for.
_MAY_BE_ZERO = frozenset(
    {
        "absent",
        "absent_signature",
        "limited",
        "token_margin",
        "listing_ttl",
        "grace_pin",
        "keepalive",
        "drain",
        "resume_pause",
        "flush",
        "redirects",
        "resumes",
        "hot_manifest_bytes",
        "peer_queue",
        "peer_referrals",
        "peer_sweep",
        "peer_linger",
        "peer_small_cluster",
    }
)
_COUNT_MOST = 1_000_000

#: Where the first is above the second, nothing works as it should.
_ORDER = {
    "limits": (
        ("job_wanted", "job_bytes"),
        ("job_bytes", "disk_queue"),
        ("disk_queue", "disk_queue_node"),
    ),
    "timeouts": (("probe_first", "probe_last"),),
}

T = TypeVar("T", Limits, Timeouts)


@attrs.frozen
class Tuning:
    """What the two tables say; ``origins`` names the values that were given."""

    limits: Limits
    timeouts: Timeouts
    sole_registry: bool
    origins: Mapping[str, Origin]


def read_tuning(document: Table) -> Tuning:
    """Raises ConfigError naming the key."""
    limits_table, timeouts_table = document.table("limits"), document.table("timeouts")
    limits = _read(limits_table, Limits(), also=("sole_registry",))
    timeouts = _read(timeouts_table, Timeouts())
    sole = limits_table.get("sole_registry")
    origins = {
        f"{table.path[0]}.{name}": Origin.FILE
        for table in (limits_table, timeouts_table)
        for name in table.values
    }
    return Tuning(limits, timeouts, sole.read(read_boolean) if sole else False, origins)


def _read(table: Table, defaults: T, also: tuple[str, ...] = ()) -> T:
    kinds: dict[str, object] = {f.name: f.default for f in attrs.fields(type(defaults))}
    table.refuse_unknown([*kinds, *also])
    changes: dict[str, Any] = {}
    for name, default in kinds.items():
        given = table.get(name)
        if given is None:
            continue
        changes[name] = given.read(_reader(name, default))
    result = attrs.evolve(defaults, **changes)
    for low, high in _ORDER[table.path[0]]:
        if getattr(result, low) > getattr(result, high):
            blamed = low if low in changes else high
            raise ConfigError(f"{table.where(blamed)}: {low} must not be above {high}")
    return result


def _reader(name: str, default: object) -> Callable[[object], float]:
    """The reader for a limit or timeout, by the kind of its default."""
    least = 0 if name in _MAY_BE_ZERO else 1
    if isinstance(default, float):
        return lambda value: _positive(read_duration(value), least)
    if name in COUNTS:
        return lambda value: _read_count(value, least)
    return lambda value: int(_positive(read_bytes(value), least))


def _positive(value: float, least: int) -> float:
    if value == 0 and least > 0:
        raise ValueError("must be more than 0")
    return value


def _read_count(value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _COUNT_MOST:
        raise ValueError(f"is no whole number from {least} to {_COUNT_MOST}")
    return value
