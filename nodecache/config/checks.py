"""What must hold between settings, each of them right by itself."""

from __future__ import annotations

from itertools import combinations

from nodecache.config.keys import KEYS
from nodecache.config.layers import Layers
from nodecache.config.settings import ListenAddress, Settings, parse_listen
from nodecache.failures import ConfigError

#: Seconds. Clients of a mirror give up on headers after 30 s (measured on
#: containerd); an answer deadline above this leaves no time to fall back.
ANSWER_MOST = 25.0

_EVERYWHERE = frozenset({"", "::", "0.0.0.0"})
_PORTS = {"listen": "the mirror", "admin_listen": "the admin port", "peer_listen": "the peers"}


def refuse_contradictions(settings: Settings, layers: Layers) -> None:
    """Raises ConfigError naming the key that is to blame."""
    _refuse_shared_port(settings, layers)
    _refuse_half_sharing(settings, layers)


def _refuse_shared_port(settings: Settings, layers: Layers) -> None:
    """Ports must differ where their addresses overlap."""
    ports = {
        "listen": parse_listen(settings.listen),
        "admin_listen": parse_listen(settings.admin_listen),
    }
    if settings.peer_address is not None:
        ports["peer_listen"] = parse_listen(settings.peer_address)
    for (first, one), (second, other) in combinations(ports.items(), 2):
        if _overlap(one, other):
            where = _blamed(layers, second, first)
            raise ConfigError(f"{where}: {_PORTS[first]} ({one}) and {other} share a port")


def _overlap(one: ListenAddress, other: ListenAddress) -> bool:
    everywhere = _EVERYWHERE & {one.host, other.host}
    return one.port == other.port != 0 and bool(one.host == other.host or everywhere)


def _blamed(layers: Layers, *names: str) -> str:
    """The first of ``names`` that somebody gave, in the place where it was given."""
    keys = {key.name: key for key in KEYS}
    given = filter(None, (layers.pick(keys[name]) for name in names))
    found = next(given, None)
    return found.where if found is not None else names[0]


def _refuse_half_sharing(settings: Settings, layers: Layers) -> None:
    if settings.peers is None:
        if settings.peer_address is not None:
            where = _blamed(layers, "peer_listen")
            raise ConfigError(f"{where}: there is nobody to listen to without peers")
        return
    if settings.peer_secret_file is None:
        where = _blamed(layers, "peers")
        raise ConfigError(f"{where}: a node shares with a peer_secret_file only")
    if settings.peer_address is None:
        where = _blamed(layers, "peer_listen")
        raise ConfigError(f"{where}: a node with peers listens to them as well")


def slow_answers(settings: Settings) -> tuple[str, ...]:
    """Warnings, one line each."""
    if settings.timeouts.answer <= ANSWER_MOST:
        return ()
    return ("timeouts.answer is above 25s, but clients wait for headers no longer than 30s",)
