"""The orders that carry images in and out by archive; loaded once the first of them is given."""

from __future__ import annotations

from nodecache.service.moving import Moved, own_platform
from nodecache.steering import Verb
from nodecache.steering.exporting import Exporting, ExportPorts
from nodecache.steering.importing import Importing, ImportPorts
from nodecache.steering.lasting import Lasting
from nodecache.warming import Ports, Warming


def carrying(moved: Moved, warming: Warming, ports: Ports, lasting: Lasting) -> dict[str, Verb]:
    """By their names."""
    verbs = (_import(moved, lasting).verb(), _export(moved, warming, ports, lasting).verb())
    return {verb.name: verb for verb in verbs}


def _import(moved: Moved, lasting: Lasting) -> Importing:
    return Importing(
        ImportPorts(
            placing=moved.placing(),
            store=moved.store,
            pool=moved.pool,
            reactor=moved.around.reactor,
            data_dir=lambda: moved.settings().data_dir,
            known=moved.known,
            permit=moved.permit,
            cap=moved.cap,
            manifest_bytes=moved.settings().limits.manifest_bytes,
        ),
        lasting,
    )


def _export(moved: Moved, warming: Warming, ports: Ports, lasting: Lasting) -> Exporting:
    settings = moved.settings()
    return Exporting(
        ExportPorts(
            warming=warming,
            shelf=moved.store,
            ports=ports,
            pool=moved.pool,
            reactor=moved.around.reactor,
            limits=settings.limits,
            timeouts=settings.timeouts,
            known=moved.known,
            permit=moved.permit,
            platform=own_platform,
        ),
        lasting,
    )
