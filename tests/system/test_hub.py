"""Against a real registry with tokens and a CDN: what a node asks of it, and what it never does."""

from __future__ import annotations

import base64
import http.client
import json

import pytest

from tests.system.conftest import NodeMaker, Shop
from tests.system.parts.curl import fetch, fetch_all
from tests.system.parts.hub import CDN, REGISTRY, TOKENS, Hub
from tests.system.parts.images import Image, digest_of
from tests.system.parts.node import Node
from tests.system.parts.processes import until
from tests.system.parts.reader import MIB, Reader
from tests.system.parts.zoo import oci_index, quarter_gib, schema2, sixty_layers, unknown_types


def manifest_path(image: Image, reference: str = "") -> str:
    return f"/v2/{image.name}/manifests/{reference or image.tag}"


def blob_path(image: Image, number: int = 1) -> str:
    return f"/v2/{image.name}/blobs/{image.manifest.all_blobs()[number].digest}"


def pull_by_hand(node: Node, image: Image) -> None:
    """All manifests and all blobs, byte for byte."""
    reply = node.ask(manifest_path(image))
    assert reply.status == 200, reply
    assert reply.body == image.manifest.body
    assert reply.headers["content-type"] == image.manifest.media_type
    assert reply.headers["docker-content-digest"] == image.digest
    for child in image.manifest.children:
        assert node.ask(manifest_path(image, child.digest)).body == child.body
    for blob in image.manifest.all_blobs():
        reply = node.ask(f"/v2/{image.name}/blobs/{blob.digest}")
        assert reply.status == 200, reply
        assert digest_of(reply.body) == blob.digest


def test_one_token_serves_concurrent_requests_of_a_repository(
    node: Node, shop: Shop, hub: Hub
) -> None:
    image = shop.make(sixty_layers)
    urls = [f"{node.url}/v2/{image.name}/blobs/{b.digest}" for b in image.manifest.all_blobs()]
    assert {one.status for one in fetch_all(urls)} == {200}
    [ask] = hub.tokens.asks
    assert ask.scopes == (f"repository:{image.name}:pull",)
    assert ask.service == "registry.docker.io"
    assert ask.account == ""


def test_each_repository_has_a_token_of_its_own(node: Node, shop: Shop, hub: Hub) -> None:
    for _ in range(3):
        pull_by_hand(node, shop.make(schema2))
    assert len({ask.scopes for ask in hub.tokens.asks}) == 3
    assert len(hub.tokens.asks) == 3


def is_refused(hub: Hub, image: Image, token: str) -> bool:
    """The registry no longer takes ``token`` for the image."""
    connection = http.client.HTTPConnection(*hub.backend, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}", "Accept": image.manifest.media_type}
        connection.request("HEAD", manifest_path(image), headers=headers)
        return connection.getresponse().status == 401
    finally:
        connection.close()


def test_a_token_that_upstream_no_longer_takes_is_renewed_once(
    node: Node, shop: Shop, hub: Hub
) -> None:
    """``expires_in`` promised five minutes; the registry keeps to two seconds."""
    image = shop.make(schema2)
    hub.tokens.real_life = 2
    assert node.ask(manifest_path(image)).status == 200
    [token] = hub.tokens.given
    until(lambda: is_refused(hub, image, token), "the token has ended")
    assert node.ask(blob_path(image)).status == 200
    assert len(hub.tokens.asks) == 2


def test_a_token_is_renewed_before_it_ends(make_node: NodeMaker, shop: Shop, hub: Hub) -> None:
    """After half of its four seconds, and without another challenge."""
    image = shop.make(schema2)
    hub.tokens.told_life = hub.tokens.real_life = 4
    node = make_node(flags={"tag-ttl": "0"}).start()
    mark = hub.plain.mark()

    def renewed_twice() -> bool:
        assert node.ask(manifest_path(image), "HEAD").source != "stale"
        return len(hub.tokens.asks) == 3

    until(renewed_twice, "the token was renewed twice")
    refused = [ask for ask in hub.plain.asked(mark).asks if ask.status == 401]
    assert len(refused) == 1, "only the first request may be challenged"


def test_the_cdn_never_sees_an_authorization(node: Node, shop: Shop, hub: Hub) -> None:
    image = shop.make(oci_index)
    mark = hub.plain.mark()
    pull_by_hand(node, image)
    asked = hub.plain.asked(mark)
    assert len(asked.blobs) == len(image.manifest.all_blobs())
    assert not any(ask.auth for ask in asked.blobs)


def test_a_clients_own_authorization_goes_nowhere(node: Node, shop: Shop, hub: Hub) -> None:
    image = shop.make(schema2)
    secret = base64.b64encode(b"someone:else").decode()
    reply = node.ask(manifest_path(image), headers={"Authorization": f"Basic {secret}"})
    assert reply.status == 200
    assert [ask.account for ask in hub.tokens.asks] == [""]


def test_a_signed_link_that_ends_within_a_fill_is_asked_for_again(
    node: Node, shop: Shop, hub: Hub
) -> None:
    image = shop.make(quarter_gib)
    hub.plain.nginx.link_life(1)
    hub.plain.nginx.cdn_rate(24 * MIB)
    mark = hub.plain.mark()
    done = fetch(node.url + blob_path(image)).wait()
    blob = image.manifest.blobs[1]
    assert (done.exit_code, done.status, done.size) == (0, 200, blob.size)
    asked = hub.plain.asked(mark)
    redirects = [ask for ask in asked.asks if ask.face == "front" and "/blobs/" in ask.uri]
    assert len(redirects) > 1, asked
    assert asked.fetched_bytes == blob.size


def test_a_head_of_a_blob_needs_no_download_even_where_the_link_is_for_get_only(
    node: Node, shop: Shop, hub: Hub
) -> None:
    image = shop.make(schema2)
    hub.plain.nginx.links_for_get_only()
    mark = hub.plain.mark()
    reply = node.ask(blob_path(image), "HEAD")
    assert reply.status == 200
    assert int(reply.headers["content-length"]) == image.manifest.all_blobs()[1].size
    assert hub.plain.asked(mark).fetched_bytes <= 1


def test_twenty_clients_of_a_cold_blob_cost_one_fetch(node: Node, shop: Shop, hub: Hub) -> None:
    image = shop.make(quarter_gib)
    blob = image.manifest.blobs[1]
    mark = hub.plain.mark()
    seen = fetch_all([node.url + blob_path(image)] * 20)
    assert {(one.exit_code, one.status, one.size) for one in seen} == {(0, 200, blob.size)}
    assert hub.plain.asked(mark).fetched(blob.digest) == blob.size


def test_a_fresh_tag_costs_nothing_and_an_old_one_only_a_head(
    make_node: NodeMaker, shop: Shop, hub: Hub
) -> None:
    image = shop.make(oci_index)
    for ttl, heads in (("1h", 0), ("0", 3)):
        node = make_node(flags={"tag-ttl": ttl}).start()
        assert node.ask(manifest_path(image)).status == 200
        mark = hub.plain.mark()
        for _ in range(3):
            assert node.ask(manifest_path(image)).body == image.manifest.body
        asked = hub.plain.asked(mark)
        assert (asked.manifest_heads, asked.manifest_gets) == (heads, 0), asked


def test_a_tag_that_moved_costs_one_get(make_node: NodeMaker, shop: Shop, hub: Hub) -> None:
    node = make_node(flags={"tag-ttl": "0"}).start()
    before = shop.push("library/moving", "latest", schema2, "before")
    assert node.ask(manifest_path(before)).body == before.manifest.body
    after = shop.push("library/moving", "latest", schema2, "after")
    mark = hub.plain.mark()
    for _ in range(3):
        assert node.ask(manifest_path(after)).body == after.manifest.body
    assert hub.plain.asked(mark).manifest_gets == 1


def test_an_image_that_upstream_deleted_stays_served_with_a_warning(
    make_node: NodeMaker, shop: Shop, hub: Hub
) -> None:
    node = make_node(flags={"tag-ttl": "0"}).start()
    image = shop.make(schema2)
    pull_by_hand(node, image)
    shop.delete(image)
    reply = node.ask(manifest_path(image))
    assert (reply.status, reply.body) == (200, image.manifest.body)
    assert reply.source == "stale"
    assert reply.headers["warning"].startswith("299 - ")
    pull_by_hand(node, image)


def test_a_private_image_is_not_there_without_an_account(node: Node, shop: Shop, hub: Hub) -> None:
    image = shop.make(schema2, namespace="acme")
    hub.tokens.private.add(image.name)
    reply = node.ask(manifest_path(image))
    assert reply.status == 404
    assert "www-authenticate" not in reply.headers
    assert json.loads(reply.body)["errors"][0]["code"] == "MANIFEST_UNKNOWN"


def test_an_account_is_used_for_its_listed_repositories_only_and_read_again(
    make_node: NodeMaker, shop: Shop, hub: Hub
) -> None:
    mine, other = (shop.make(schema2, namespace="acme") for _ in range(2))
    hub.tokens.private |= {mine.name, other.name}
    hub.tokens.accounts["robot"] = "first"
    node = make_node()
    secret = node.folder / "account"
    secret.write_text("robot:wrong\n")
    node.toml = (
        "[upstreams.'docker.io'.account]\n"
        f"file = '{secret}'\nrepositories = ['{mine.name}']\n[timeouts]\nabsent = '0'\n"
    )
    node.start()
    assert node.ask(manifest_path(mine)).status == 404
    secret.write_text("robot:first\n")
    until(lambda: node.ask(manifest_path(mine)).status == 200, "the account is read again")
    pull_by_hand(node, mine)
    assert node.ask(manifest_path(other)).status == 404
    assert {ask.account for ask in hub.tokens.asks if other.name in ask.scopes[0]} == {""}


def test_docker_hub_by_its_own_names_through_a_proxy_and_with_an_own_authority(
    make_node: NodeMaker, shop: Shop, hub: Hub
) -> None:
    """The default upstream; all three names are reached by TLS through HTTPS_PROXY."""
    node = make_node(
        upstream="",
        toml=f"[upstreams.'docker.io']\nca_file = '{hub.ca.certificate_file}'\n",
        env={"HTTPS_PROXY": hub.egress.url},
    ).start()
    for kind in (oci_index, unknown_types):
        pull_by_hand(node, shop.make(kind))
    assert {(REGISTRY, 443), (TOKENS, 443), (CDN, 443)} == set(hub.egress.connects)


def test_two_upstreams_that_hold_the_same_blob_share_its_bytes(
    make_node: NodeMaker, shop: Shop, hub: Hub
) -> None:
    """The second name leads to the same Hub under another namespace."""
    node = make_node(upstream=f"docker.io={hub.url},quay.io={hub.url}").start()
    image = shop.make(schema2)
    pull_by_hand(node, image)
    until(lambda: node.metric("nodecache_fills_active") == 0, "the blobs are stored")
    mark = hub.plain.mark()
    reply = node.ask(f"{manifest_path(image)}?ns=quay.io")
    assert (reply.body, reply.headers["oci-namespace"]) == (image.manifest.body, "quay.io")
    assert node.ask(f"{blob_path(image)}?ns=quay.io").source == "disk"
    assert hub.plain.asked(mark).blobs == []
    assert node.ask(f"{manifest_path(image)}?ns=ghcr.io").status == 404


@pytest.mark.parametrize("part", [slice(2, 6), slice(0, 1), slice(100, None)])
def test_a_range_of_a_cold_blob_is_answered_with_that_range(
    node: Node, shop: Shop, part: slice
) -> None:
    image = shop.make(schema2)
    blob = image.manifest.all_blobs()[1]
    [whole] = blob.chunks()
    wanted = f"bytes={part.start}-{'' if part.stop is None else part.stop - 1}"
    reply = node.ask(blob_path(image), headers={"Range": wanted})
    assert (reply.status, reply.body) == (206, whole[part])
    last = (part.stop or blob.size) - 1
    assert reply.headers["content-range"] == f"bytes {part.start}-{last}/{blob.size}"


def test_an_offline_node_serves_what_it_has_and_asks_nobody(
    make_node: NodeMaker, shop: Shop, hub: Hub
) -> None:
    image, unknown = shop.make(oci_index), shop.make(schema2)
    node = make_node().start()
    pull_by_hand(node, image)
    node.stop()
    node.flags["offline"] = ""
    node.env["NODECACHE_OFFLINE"] = "true"
    node.start()
    mark = hub.plain.mark()
    pull_by_hand(node, image)
    assert node.ask(manifest_path(unknown)).status == 404
    assert hub.plain.asked(mark).asks == ()


def test_a_slow_blob_shows_its_header_and_first_bytes_while_the_rest_is_on_its_way(
    node: Node, shop: Shop, hub: Hub
) -> None:
    image = shop.make(quarter_gib)
    hub.plain.nginx.cdn_rate(2 * MIB)
    reader = Reader(node, blob_path(image, 1))
    reader.read(MIB)
    assert node.metric("nodecache_fills_active") == 1
    hub.plain.nginx.as_usual()
    assert reader.rest() == image.manifest.blobs[1].digest
