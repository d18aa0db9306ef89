"""A node in front of the double of Docker Hub, and the command line spoken to it."""

from __future__ import annotations

import json
from typing import Any

import attrs
from click.testing import CliRunner
from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread

from nodecache.cli import main
from nodecache.steering.inventory import Listed
from tests.fakes_client import until
from tests.fakes_hub import Image
from tests.node_case import NodeCase

reactor: Any = _reactor
NGINX, REDIS = "library/nginx", "library/redis"


@attrs.frozen
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """As lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        """As one document."""
        return json.loads(self.out)


async def nodecache(*arguments: str, answer: str = "") -> Said:
    """The command, in a thread: the node of the test turns meanwhile."""
    result = await deferToThread(
        CliRunner().invoke, main, list(arguments), input=answer, prog_name="nodecache"
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


class SteeringCase(NodeCase):
    async def say(self, *arguments: str, answer: str = "") -> Said:
        """``nodecache ARGUMENTS``, spoken to this node."""
        where = ["--admin", f"http://127.0.0.1:{self.node.admin_port}"]
        where += ["--data-dir", str(self.data_dir)]
        return await nodecache(*arguments, *where, answer=answer)

    async def pull(self, image: Image, reference: str) -> None:
        """As a runtime does: the manifest, then all blobs; they are on disk then."""
        got = await self.manifest(image.name, reference)
        assert got.status == 200, got
        for digest in (image.config, *image.layers):
            assert (await self.blob(image.name, digest)).status == 200
        await self.settled()

    async def settled(self) -> None:
        """Until no fill is under way."""
        await until(reactor, lambda: not self.filling() and not self.node._fills.active())

    async def images(self) -> dict[str, Listed]:
        """What is here, by name."""
        looking = self.node.steering.images.looking
        return {image.name: image for image in await looking._inventory.images()}
