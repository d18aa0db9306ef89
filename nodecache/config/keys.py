"""The settings that can be given as a flag, a variable or a key of the file: one table."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from nodecache.config.sharing import (
    read_addresses,
    read_node_id,
    read_peer_listen,
    read_peers,
    read_zone,
)
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
    Key(
        "peer_listen",
        "off; [::]:5001 once `--peers` is set",
        "what the other nodes talk to",
        read_peer_listen,
    ),
    Key(
        "peers",
        "none",
        "the other nodes: a headless service `NAME[:PORT]` (A and AAAA), or `IP:PORT,…`",
        read_peers,
    ),
    Key(
        "node_id",
        "kept in the data folder",
        "stable name of this node (the Kubernetes node name)",
        read_node_id,
    ),
    Key(
        "node_address",
        "found from the peer list",
        "this node's own address(es) among the peers, with commas",
        read_addresses,
    ),
    Key(
        "zone",
        "none",
        "told to peers; nearer peers are preferred where there is a choice",
        read_zone,
    ),
    Key(
        "peer_secret_file",
        "none",
        "secrets of the cluster, one a line: the first signs, all are accepted; `--peers` needs it",
        read_text,
    ),
    Key("max_size", "the smaller of 20% and 100GiB", "cap of the cache", read_size),
    Key("min_free", "20%", "floor of free disk, always kept", read_size),
    Key("tag_ttl", "60s", "a tag is asked again upstream after this", read_duration),
    Key("offline", "false", "never ask upstream, nor make a peer ask", read_boolean),
    Key(
        "log_format",
        "json; console on a terminal",
        "one event a line",
        one_of("json", "console", "auto"),
    ),
    Key(
        "log_level",
        "info",
        "what is logged: `debug` (each request), `info` (each pull), `warning` or `error`",
        one_of("debug", "info", "warning", "error"),
    ),
)

#: Variables that are read elsewhere: the command line's own.
OTHER_VARIABLES = frozenset({"NODECACHE_CONFIG", "NODECACHE_ADMIN_URL"})


def render_table() -> str:
    """The settings as a markdown table, for the documentation."""
    lines = ["| flag | environment | file | default | meaning |", "|---|---|---|---|---|"]
    lines += [
        f"| `{key.flag}` | `{key.environment}` | `{key.name}` | {key.default} | {key.meaning} |"
        for key in KEYS
    ]
    return "\n".join(lines) + "\n"
