"""The settings of a node that shares with others."""

from __future__ import annotations

from typing import Any

import pytest

from nodecache.config import Settings, load
from nodecache.failures import ConfigError
from nodecache.membership import Address

FILE = "nodecache.toml"
SECRET = {"peer_secret_file": "/secrets/peers"}


def settings(toml: str | None = None, **flags: Any) -> Settings:
    return load(flags, {}, toml, FILE).settings


def complaint(toml: str | None = None, **flags: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(toml, **flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_node_shares_with_nobody_unless_told() -> None:
    found = settings()
    assert found.peers is None
    assert found.peer_address is None


def test_a_headless_service_is_named_with_or_without_its_port() -> None:
    found = settings(peers="nodecache-peers:6001", **SECRET)
    assert found.peers is not None
    assert (found.peers.name, found.peers.port) == ("nodecache-peers", 6001)
    plain = settings(peers="nodecache-peers.kube-system.svc", **SECRET)
    assert plain.peers is not None
    assert plain.peers.port == 5001


def test_once_there_are_peers_they_are_listened_to() -> None:
    assert settings(peers="nodecache", **SECRET).peer_address == "[::]:5001"
    chosen = settings(peers="nodecache", peer_listen="10.0.0.1:7001", **SECRET)
    assert chosen.peer_address == "10.0.0.1:7001"


def test_a_list_of_addresses_needs_no_name() -> None:
    wanted = (Address("10.0.0.1", 5001), Address("fd00::1", 7))
    for given in ("10.0.0.1,[fd00::1]:7", "10.0.0.1:5001, [fd00::1]:7"):
        found = settings(peers=given, **SECRET).peers
        assert found is not None
        assert found.name is None
        assert found.addresses == wanted


@pytest.mark.parametrize(
    "toml",
    [
        'peers = "10.0.0.1:5001,10.0.0.2:5001"',
        'peers = ["10.0.0.1:5001", "10.0.0.2:5001"]',
        '[peers]\nnames = ["10.0.0.1:5001", "10.0.0.2:5001"]',
    ],
)
def test_the_file_names_peers_in_any_of_three_forms(toml: str) -> None:
    found = settings(toml, **SECRET).peers
    assert found is not None
    assert found.addresses == (Address("10.0.0.1", 5001), Address("10.0.0.2", 5001))


def test_peers_without_a_secret_are_refused() -> None:
    assert complaint(peers="nodecache").startswith("--peers: ")
    assert complaint('peers = "nodecache"').startswith(f"{FILE}: peers: ")


def test_a_port_for_peers_without_peers_is_refused() -> None:
    assert complaint(peer_listen=":5001").startswith("--peer-listen: ")
    assert settings(peer_listen="off").peer_address is None


def test_peers_without_a_port_for_them_are_refused() -> None:
    assert complaint(peers="nodecache", peer_listen="off", **SECRET).startswith("--peer-listen: ")


def test_the_port_for_peers_must_be_one_of_its_own() -> None:
    message = complaint(peers="nodecache", listen=":5001", **SECRET)
    assert message.startswith("--listen: ")
    assert "share a port" in message
    message = complaint(peers="nodecache", peer_listen=":5002", **SECRET)
    assert message.startswith("--peer-listen: ")


@pytest.mark.parametrize("wrong", ["a b", "-a", "a/b", "a:1:2", "10.0.0.1:99999", "[fd00::1", ","])
def test_what_names_no_peers_is_refused(wrong: str) -> None:
    assert complaint(peers=wrong, **SECRET).startswith("--peers: ")


@pytest.mark.parametrize("wrong", ["", " ", "a b", "-a", "a" * 254, "a\nb", "ä"])
def test_what_is_no_node_id_or_zone_is_refused(wrong: str) -> None:
    if wrong:
        assert complaint(node_id=wrong).startswith("--node-id: ")
        assert complaint(zone=wrong).startswith("--zone: ")
    assert complaint(f"zone = {wrong!r}").startswith(f"{FILE}: ")


def test_own_addresses_are_read_from_a_list_with_commas() -> None:
    assert settings(node_address="10.0.0.1,fd00:0::1, 10.0.0.1").node_address == (
        "10.0.0.1",
        "fd00::1",
    )
    assert complaint(node_address="10.0.0.1:5001").startswith("--node-address: ")


def test_an_empty_variable_was_not_given() -> None:
    """The downward interface of Kubernetes gives an empty zone where there is none."""
    assert load({}, {"NODECACHE_ZONE": ""}, None, FILE).settings.zone == ""
