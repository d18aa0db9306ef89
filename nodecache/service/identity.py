"""What a node with peers is known by: its id, and the secrets of its cluster."""

from __future__ import annotations

import attrs

from nodecache.config import Settings
from nodecache.discovery.identity import node_id
from nodecache.failures import DataFolderError
from nodecache.peers import Secrets
from nodecache.seams import DiskPool
from nodecache.service.surroundings import Surroundings


@attrs.frozen
class Identity:
    """``secrets`` are started; ``stop`` is owed to them."""

    id: str
    secrets: Secrets


async def identify(around: Surroundings, settings: Settings, pool: DiskPool) -> Identity | None:
    """None for a node without peers. Raises ConfigError, DataFolderError."""
    if settings.peers is None or settings.peer_secret_file is None:
        return None
    kept = settings.node_id or await _kept_id(settings.data_dir, pool)
    secrets = Secrets(
        settings.peer_secret_file, pool, around.reactor, around.observe, settings.timeouts
    )
    await secrets.start()
    return Identity(kept, secrets)


async def _kept_id(folder: str, pool: DiskPool) -> str:
    try:
        return await pool.run(lambda: node_id(folder))
    except OSError as error:
        raise DataFolderError(f"node id in {folder}: {error.strerror}") from error
