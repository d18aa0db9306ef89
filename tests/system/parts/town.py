"""A node with images from a real registry, and the commands as a person types them beside it."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from tests.system.conftest import Shop
from tests.system.parts.hub import Hub
from tests.system.parts.images import Image
from tests.system.parts.node import Node
from tests.system.parts.terminal import Terminal
from tests.system.parts.zoo import oci_index, schema2

NODECACHE = (sys.executable, "-c", "from nodecache.cli import main; main(prog_name='nodecache')")


@attrs.frozen
class Town:
    """A node, and the images that it has pulled from a real registry."""

    node: Node
    nginx: Image
    redis: Image
    tool: Image

    @property
    def env(self) -> dict[str, str]:
        """As in the node's own container: no command needs an option then."""
        return {
            "NODECACHE_DATA_DIR": str(self.node.data_dir),
            "NODECACHE_ADMIN_LISTEN": f"127.0.0.1:{self.node.admin_port}",
            "PYTHONPATH": os.fspath(pathlib.Path(__file__).parents[3]),
        }

    def terminal(self, *arguments: str) -> Terminal:
        return Terminal([*NODECACHE, *arguments], self.env, self.node.folder)

    def pipe(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*NODECACHE, *arguments],
            env={**os.environ, **self.env},
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def names(self) -> list[str]:
        listed = json.loads(self.pipe("list", "--json").stdout)
        return [row["name"] for row in listed["images"]]

    def pull(self, image: Image) -> None:
        """As a runtime of this machine does."""
        assert self.node.ask(f"/v2/{image.name}/manifests/{image.tag}").status == 200
        manifest = image.platform()
        assert self.node.ask(f"/v2/{image.name}/manifests/{manifest.digest}").status == 200
        for blob in manifest.blobs:
            assert self.node.ask(f"/v2/{image.name}/blobs/{blob.digest}").status == 200

    def as_usual(self) -> None:
        """The node runs and all three images are here, whatever the last test did."""
        if not self.node.process.alive:
            self.node.start()
        for image in (self.nginx, self.redis, self.tool):
            self.pull(image)


@contextmanager
def town_of(folder: pathlib.Path, hub: Hub, shop: Shop) -> Iterator[Town]:
    """A town in ``folder``, which ends."""
    node = Node(folder, f"docker.io={hub.url}", {"node-id": "node-1"})
    images = (
        shop.push("library/nginx", "1.27", oci_index, "nginx"),
        shop.push("library/redis", "7", schema2, "redis"),
        shop.push("acme/tool", "2.4", schema2, "tool"),
    )
    town = Town(node.start(), *images)
    try:
        yield town
    finally:
        node.close()
