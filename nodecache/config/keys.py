"""The settings that can be given as a flag, a variable or a key of the file: one table."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nodecache.config.values import (
    one_of,
    read_boolean,
    read_duration,
    read_listen,
    read_size,
    read_text,
)


@attrs.frozen
class Key:
    """One setting. ``name`` is that of the file's key and of the flag's variable.

    ``default`` and ``meaning`` are text for the documentation; ``read`` turns
    a given value into the setting's or raises ValueError.
    """

    name: str
    default: str
    meaning: str
    read: Callable[[object], object]
    environment: str = attrs.field()

    @environment.default
    def _environment(self) -> str:
        return f"NODECACHE_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


def read_entries(value: object) -> tuple[str, ...]:
    """``NS=URL`` entries: one text with commas, or a list of such texts."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("is not NS=URL, or a list of them")
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


UPSTREAM = Key(
    "upstream",
    "docker.io=https://registry-1.docker.io",
    "`NS=URL`, repeatable or comma-separated: the closed list of `?ns=` values",
    read_entries,
    environment="NODECACHE_UPSTREAMS",
)

KEYS: tuple[Key, ...] = (
    Key("data_dir", "./nodecache-data", "everything on disk lives here", read_text),
    Key("listen", "localhost:5000", "the mirror, for this node's runtime", read_listen),
    Key("admin_listen", "localhost:5002", "metrics and health, read-only", read_listen),
    UPSTREAM,
    Key("max_size", "the smaller of 20% and 100GiB", "cap of the cache", read_size),
    Key("min_free", "20%", "floor of free disk, always kept", read_size),
    Key("tag_ttl", "60s", "a tag is asked again upstream after this", read_duration),
    Key("offline", "false", "never ask upstream", read_boolean),
    Key(
        "log_format",
        "json; console on a terminal",
        "one event a line",
        one_of("json", "console", "auto"),
    ),
)

#: Variables that are read elsewhere: the command line's own.
OTHER_VARIABLES = frozenset({"NODECACHE_CONFIG"})

#: Settings of a later release, by name: refused by that reason, not as a typing error.
SHARING = frozenset({"peers", "peer_listen", "node_id", "node_address", "zone", "peer_secret_file"})
NO_SHARING = "sharing between nodes is not in this release"


def render_table() -> str:
    """The settings as a markdown table, for the documentation."""
    lines = ["| flag | environment | file | default | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{key.flag}` | `{key.environment}` | `{key.name}` | {key.default} | {key.meaning} |"
        for key in KEYS
    ]
    return "\n".join(lines) + "\n"
