"""All settings from flags, environment and file, checked, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodecache.config.keys import KEYS, UPSTREAM
from nodecache.config.layers import Layers, read_document
from nodecache.config.settings import Loaded, Origin, Settings, parse_listen
from nodecache.config.tables import read_tuning
from nodecache.config.upstreams import read_upstreams
from nodecache.failures import ConfigError

#: Seconds. Clients of a mirror give up on headers after 30 s (measured on
#: containerd); an answer deadline above this leaves no time to fall back.
ANSWER_MOST = 25.0


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    toml_text: str | None,
    toml_name: str,
) -> Loaded:
    """The settings that count: flag over environment over file over default.

    ``flags`` are by the names of the file's keys, None or missing where not
    given; ``toml_text`` is the file's content and ``toml_name`` what to call
    it. Raises ConfigError: one line that names the key in its place.
    """
    layers = Layers(flags, environ, read_document(toml_text, toml_name))
    layers.refuse_unknown()
    values: dict[str, Any] = {}
    origins = {key.name: Origin.DEFAULT for key in KEYS}
    for key in KEYS:
        given = layers.pick(key)
        if given is None:
            continue
        origins[key.name] = given.origin
        if key is not UPSTREAM:
            values[key.name] = given.read(key.read)
    upstreams = read_upstreams(layers)
    tuning = read_tuning(layers.document)
    settings = Settings(
        **values,
        upstreams=upstreams.upstreams,
        limits=tuning.limits,
        timeouts=tuning.timeouts,
        sole_registry=tuning.sole_registry,
        origins={**origins, **tuning.origins},
    )
    _refuse_shared_port(settings, layers)
    warnings = [*layers.warnings(), *upstreams.warnings, *_slow(settings)]
    return Loaded(settings, tuple(warnings))


def _refuse_shared_port(settings: Settings, layers: Layers) -> None:
    """The two ports must differ where their addresses overlap."""
    mirror, admin = parse_listen(settings.listen), parse_listen(settings.admin_listen)
    everywhere = {"", "::", "0.0.0.0"}
    overlap = mirror.host == admin.host or everywhere & {mirror.host, admin.host}
    if mirror.port == admin.port != 0 and overlap:
        keys = (key for key in reversed(KEYS) if key.name in ("admin_listen", "listen"))
        given = next(filter(None, map(layers.pick, keys)))
        raise ConfigError(f"{given.where}: the mirror ({mirror}) and {admin} share a port")


def _slow(settings: Settings) -> tuple[str, ...]:
    if settings.timeouts.answer <= ANSWER_MOST:
        return ()
    return ("timeouts.answer is above 25s, but clients wait for headers no longer than 30s",)
