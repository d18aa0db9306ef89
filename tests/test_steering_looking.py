"""``list``, ``show`` and ``status`` on a running node."""

from __future__ import annotations

import hashlib
import json

from twisted.internet.defer import Deferred

from nodecache.reference import Digest
from nodecache.steering.outline import outline
from nodecache.store import StoredManifest
from tests.fakes_client import until
from tests.fakes_http import Gate, hold_at
from tests.steering_case import NGINX, REDIS, SteeringCase, nodecache, reactor

MIB = 1 << 20


class ListTests(SteeringCase):
    async def test_an_empty_node_lists_nothing(self) -> None:
        await self.start()
        said = await self.say("list")
        assert (said.code, said.out) == (0, "")
        assert "0 images" in said.err

    async def test_an_image_is_listed_with_size_share_and_last_use(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1.27", [b"x" * MIB, b"y" * MIB])
        await self.pull(image, "1.27")
        said = await self.say("list")
        [head, row] = said.out.splitlines()
        assert head.split() == ["IMAGE", "DIGEST", "SIZE", "HERE", "USED"]
        assert row.split()[:2] == ["nginx:1.27", image.digest[:19]]
        assert row.split()[2:5] == ["2.0", "MiB", "100%"]
        assert "1 image;" in said.err

    async def test_the_document_names_everything(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1.27", [b"x" * MIB])
        await self.pull(image, "1.27")
        [row] = (await self.say("list", "--json")).document["images"]
        assert row["name"] == "nginx:1.27"
        assert (row["namespace"], row["repository"], row["tag"]) == ("docker.io", NGINX, "1.27")
        assert row["digest"] == image.digest
        assert row["bytes"] == row["bytes_here"] > MIB
        assert row["last_used_seconds"] <= 5
        assert row["checked_seconds"] <= 5
        assert (row["pinned"], row["imported"]) == (False, False)

    async def test_what_was_pulled_in_part_is_here_in_part(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x" * MIB, b"y" * MIB])
        await self.manifest(NGINX, "1")
        await self.blob(NGINX, image.layers[0])
        await self.settled()
        row = (await self.say("list")).out.splitlines()[1]
        assert "49%" in row or "50%" in row

    async def test_of_an_index_the_platforms_count_that_were_pulled(self) -> None:
        await self.start()
        amd = self.hub.add_image(NGINX, None, [b"a" * MIB])
        arm = self.hub.add_image(NGINX, None, [b"b" * MIB], platform="arm64")
        self.hub.add_index(NGINX, "1", {"amd64": amd, "arm64": arm})
        await self.manifest(NGINX, "1")
        await self.pull(amd, amd.digest)
        [row] = (await self.say("list", "--json")).document["images"]
        assert row["platforms"] == ["linux/amd64"]
        assert MIB < row["bytes"] == row["bytes_here"] < 2 * MIB

    async def test_what_was_pulled_by_digest_is_listed_without_a_name(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, None, [b"x"])
        await self.pull(image, image.digest)
        assert "(no tag)" in (await self.say("list")).out
        said = await self.say("list", image.digest[:15])
        assert image.digest[:19] in said.out

    async def test_patterns_choose(self) -> None:
        await self.start()
        for name, tag in ((NGINX, "1.26"), (NGINX, "1.27"), (REDIS, "7"), ("acme/tool", "2")):
            await self.pull(self.hub.add_image(name, tag, [name.encode() + tag.encode()]), tag)

        async def names(pattern: str) -> list[str]:
            document = (await self.say("list", pattern, "--json")).document
            return [row["name"] for row in document["images"]]

        assert await names("nginx") == ["nginx:1.26", "nginx:1.27"]
        assert await names("nginx:1.27") == ["nginx:1.27"]
        assert await names("library/redis") == ["redis:7"]
        assert await names("acme/*") == ["acme/tool:2"]
        assert await names("*:1.2*") == ["nginx:1.26", "nginx:1.27"]
        assert len(await names("*")) == 4

    async def test_a_wrong_name_offers_the_nearest(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1.27", [b"x"]), "1.27")
        said = await self.say("list", "ngnix:1.27")
        assert said.code == 1
        assert said.err.splitlines() == [
            "nodecache: no image here matches 'ngnix:1.27'",
            "  Did you mean nginx:1.27?",
        ]

    async def test_what_is_no_name_is_said_to_be_none(self) -> None:
        await self.start()
        said = await self.say("list", "Nginx")
        assert said.code == 1
        assert "no name of an image" in said.err

    async def test_the_biggest_or_last_used_come_first_when_asked(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        await self.pull(self.hub.add_image(REDIS, "1", [b"y" * MIB]), "1")
        said = await self.say("list", "--sort", "size", "--json")
        assert [row["name"] for row in said.document["images"]] == ["redis:1", "nginx:1"]

    async def test_looking_is_no_use(self) -> None:
        """Else the least recently used would never go where somebody looks."""
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        store = self.node._store
        before = (await store.census.tags())[0].used_at
        self.patch(store._accounts, "_wall", lambda: before + 1000)
        for command in (["list"], ["show", "nginx"], ["verify"], ["purge", "*", "--dry-run"]):
            assert (await self.say(*command)).code == 0
        assert (await store.census.tags())[0].used_at == before

    async def test_shared_layers_count_once(self) -> None:
        await self.start()
        shared = b"s" * MIB
        await self.pull(self.hub.add_image(NGINX, "1", [shared]), "1")
        await self.pull(self.hub.add_image(REDIS, "1", [shared]), "1")
        document = (await self.say("list", "--json")).document
        assert MIB < document["bytes_here"] < 2 * MIB

    async def test_a_file_that_is_no_tag_is_left_out(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"x"]), "1")
        await self.node.stop("restart")
        tags = self.data_dir / "v1" / "tags" / "docker.io" / NGINX / "_tags"
        (tags / "not a tag!.json").write_text("{}")
        (tags / "broken.json").write_text("{}")
        await self.start()
        assert set(await self.images()) == {"nginx:1"}

    async def test_a_tag_whose_manifest_was_evicted_is_listed_as_not_here(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x"])
        await self.pull(image, "1")
        await self.node._store.census.drop_manifest(Digest.parse(image.digest))
        found = (await self.images())["nginx:1"]
        assert found.bytes_here == 0
        assert found.bytes == len(image.manifest.body)


class ShowTests(SteeringCase):
    async def shown(self, *arguments: str) -> list[str]:
        said = await self.say("show", *arguments)
        assert said.code == 0, said
        return said.out.splitlines()

    async def test_an_image_in_full(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1.27", [b"x" * MIB])
        await self.pull(image, "1.27")
        lines = await self.shown("nginx:1.27")
        facts = {line.split()[0]: line[9:] for line in lines[:7]}
        assert facts["image"] == "nginx:1.27"
        assert facts["upstream"] == "docker.io, as library/nginx"
        assert facts["digest"] == image.digest
        assert facts["checked"].endswith("fresh: served without asking upstream")
        assert "100%" in facts["here"]
        table = [line.split() for line in lines if "sha256:" in line and line[0] != "d"]
        assert [row[0] for row in table] == ["manifest", "config", "layer"]
        assert {row[-1] for row in table} == {"disk"}

    async def test_platforms_of_an_index_that_are_not_here_are_named(self) -> None:
        await self.start()
        amd = self.hub.add_image(NGINX, None, [b"a"])
        arm = self.hub.add_image(NGINX, None, [b"b"], platform="arm64")
        self.hub.add_index(NGINX, "1", {"amd64": amd, "arm64": arm})
        await self.manifest(NGINX, "1")
        await self.pull(amd, amd.digest)
        lines = [line.split() for line in await self.shown("nginx:1")]
        assert ["linux/arm64", "-", "upstream"] in lines
        [ours] = [line for line in lines if line[:1] == ["linux/amd64"]]
        assert ours[-2:] == ["100%", "disk"]

    async def test_a_blob_that_is_not_here_comes_from_upstream(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x"])
        await self.manifest(NGINX, "1")
        document = (await self.say("show", "nginx", "--json")).document
        [config, layer] = document["manifest"]["blobs"]
        assert (config["role"], layer["role"]) == ("config", "layer")
        assert (layer["from"], layer["bytes_here"]) == ("upstream", 0)
        assert layer["digest"] == image.layers[0]

    async def test_a_blob_that_is_being_fetched_says_so_and_how_far_it_is(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x" * (4 * MIB)])
        await self.manifest(NGINX, "1")
        gate = Gate()
        self.hub.cdn.fault(hold_at(2 * MIB, gate))
        body = Deferred.fromCoroutine(self.blob(NGINX, image.layers[0]))
        await until(reactor, lambda: gate.waiting)
        document = (await self.say("show", "nginx", "--json")).document
        layer = document["manifest"]["blobs"][1]
        assert layer["from"] == "flight"
        assert layer["bytes_here"] < layer["bytes"]
        assert "being fetched" in "\n".join(await self.shown("nginx"))
        gate.open()
        await body

    async def test_without_a_tag_it_is_the_only_one_or_latest(self) -> None:
        await self.start()
        await self.pull(self.hub.add_image(NGINX, "1", [b"1"]), "1")
        assert "nginx:1" in (await self.shown("nginx"))[0]
        await self.pull(self.hub.add_image(NGINX, "2", [b"2"]), "2")
        said = await self.say("show", "nginx")
        assert said.code == 1
        assert "means 2 images" in said.err
        assert "nginx:1, nginx:2" in said.err
        await self.pull(self.hub.add_image(NGINX, "latest", [b"l"]), "latest")
        assert "nginx:latest" in (await self.shown("nginx"))[0]

    async def test_an_image_that_is_not_here_is_exit_code_1(self) -> None:
        await self.start()
        said = await self.say("show", "postgres")
        assert said.code == 1
        assert "nodecache pull" in said.err

    async def test_what_is_due_and_what_is_offline(self) -> None:
        await self.start(tag_ttl=0.0)
        await self.pull(self.hub.add_image(NGINX, "1", [b"1"]), "1")
        assert "at the next pull" in "\n".join(await self.shown("nginx"))
        self.node.reload(self.settings(tag_ttl=0.0, offline=True))
        assert "offline" in "\n".join(await self.shown("nginx"))

    async def test_a_whole_digest_on_demand(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"1"])
        await self.pull(image, "1")
        assert image.layers[0] in "\n".join(await self.shown("nginx", "--digests"))


class StatusTests(SteeringCase):
    async def test_the_status_says_what_was_served_and_what_is_left(self) -> None:
        await self.start()
        image = self.hub.add_image(NGINX, "1", [b"x" * MIB])
        await self.pull(image, "1")
        await self.pull(image, "1")
        said = await self.say("status")
        assert said.code == 0
        assert "this node: nodecache" in said.out
        assert "docker.io" in said.out
        assert "saved" in said.out
        assert max(map(len, said.out.splitlines())) <= 80

    async def test_the_document_is_that_of_the_admin_port(self) -> None:
        await self.start()
        document = (await self.say("status", "--json")).document
        assert document["cache"]["cap"] == 1 << 30

    async def test_a_node_alone_is_a_cluster_of_one(self) -> None:
        await self.start()
        [node] = (await self.say("status", "--cluster", "--json")).document["nodes"]
        assert node["self"] is True
        assert node["status"]["cap"] == 1 << 30
        [head, row] = (await self.say("status", "--cluster")).out.splitlines()
        assert head.split()[0] == "NODE"
        assert row.startswith("this node*")

    async def test_a_node_that_is_down_is_exit_code_3_with_a_next_step(self) -> None:
        await self.start()
        port = self.node.admin_port
        await self.node.stop("test")
        url = f"http://127.0.0.1:{port}"
        for command in (["list"], ["show", "x"], ["status"], ["status", "--cluster"]):
            said = await nodecache(*command, "--admin", url)
            assert said.code == 3
            assert url in said.err
            assert "nodecache serve" in said.err
        for command in (["purge", "x", "--yes"], ["pin", "x"], ["refresh", "x"], ["verify"]):
            said = await nodecache(*command, "--data-dir", str(self.data_dir))
            assert said.code == 3
            assert "nodecache serve" in said.err

    async def test_a_port_that_is_not_a_nodes_is_said_to_be_none(self) -> None:
        await self.start()
        said = await nodecache("list", "--admin", self.url(""))
        assert said.code == 1
        assert "admin port" in said.err

    async def test_an_address_that_is_no_url_is_exit_code_2(self) -> None:
        for url in ("nowhere", "ftp://x", "http://x:port"):
            said = await nodecache("list", "--admin", url)
            assert said.code == 2
            assert "--admin" in said.err


def stored(body: object) -> StoredManifest:
    data = json.dumps(body).encode()
    digest = Digest("sha256", hashlib.sha256(data).hexdigest())
    return StoredManifest(digest, "application/x", data)


def test_an_outline_names_roles_platforms_and_what_goes_with_an_image() -> None:
    one, two, three = ("sha256:" + letter * 64 for letter in "abc")
    variant = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    proof = {"vnd.docker.reference.type": "attestation-manifest"}
    index = {
        "manifests": [
            {"digest": one, "size": 5, "platform": variant},
            {"digest": two, "annotations": proof, "platform": {"os": "unknown"}},
            {"digest": three},
        ]
    }
    found = outline(stored(index))
    assert [child.platform for child in found.children] == ["linux/arm64/v8", "attestation", ""]
    assert [child.size for child in found.children] == [5, None, None]
    image = {"config": {"digest": one, "size": 1}, "layers": [{"digest": two, "mediaType": "t"}]}
    found = outline(stored(image))
    assert [(part.role, part.size, part.media_type) for part in found.parts] == [
        ("config", 1, ""),
        ("layer", None, "t"),
    ]


def test_an_outline_of_what_is_no_manifest_is_empty() -> None:
    for body in ("text", [1], {"config": 1, "layers": "x", "manifests": [1, {"digest": 2}]}, None):
        found = outline(stored(body))
        assert (found.parts, found.children) == ((), ())
