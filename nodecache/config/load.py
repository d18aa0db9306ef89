"""All settings from flags, environment and file, checked, or one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodecache.config.checks import refuse_contradictions, slow_answers
from nodecache.config.keys import KEYS, UPSTREAM
from nodecache.config.layers import Layers, read_document
from nodecache.config.settings import Loaded, Origin, Settings
from nodecache.config.tables import read_tuning
from nodecache.config.telemetry import read_telemetry
from nodecache.config.upstreams import read_upstreams


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
    told = read_telemetry(layers.document)
    settings = Settings(
        **values,
        upstreams=upstreams.upstreams,
        limits=tuning.limits,
        timeouts=tuning.timeouts,
        sole_registry=tuning.sole_registry,
        telemetry=told.telemetry,
        origins={**origins, **tuning.origins, **told.origins},
    )
    refuse_contradictions(settings, layers)
    warnings = [*layers.warnings(), *upstreams.warnings, *slow_answers(settings)]
    return Loaded(settings, tuple(warnings))
