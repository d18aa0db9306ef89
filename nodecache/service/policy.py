"""What the cache acts by, of the settings."""

from __future__ import annotations

import platform

from nodecache.cache import Platform, Policy
from nodecache.config import Settings


def policy_of(settings: Settings) -> Policy:
    """What the cache acts by, of the settings."""
    return Policy(
        rules={one.namespace: one.rules for one in settings.upstreams},
        tag_ttl=settings.tag_ttl,
        offline=settings.offline,
        platform=Platform.of_machine(platform.machine()),
    )
