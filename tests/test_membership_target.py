"""What ``--peers`` may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodecache.membership import Address, PeerTarget, parse_peers


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("nodecache-peers", PeerTarget("nodecache-peers", 5001)),
        ("nodecache-peers:6001", PeerTarget("nodecache-peers", 6001)),
        ("Peers.Images.svc.cluster.local.", PeerTarget("peers.images.svc.cluster.local.", 5001)),
        (" _peers.x:1 ", PeerTarget("_peers.x", 1)),
        ("10.0.0.1", PeerTarget(None, 5001, (Address("10.0.0.1", 5001),))),
        ("10.0.0.1:7", PeerTarget(None, 7, (Address("10.0.0.1", 7),))),
        ("fd00::1", PeerTarget(None, 5001, (Address("fd00::1", 5001),))),
        ("[fd00:0::1]", PeerTarget(None, 5001, (Address("fd00::1", 5001),))),
        (
            "10.0.0.1:7, [fd00::2]:8,10.0.0.1:7",
            PeerTarget(None, 7, (Address("10.0.0.1", 7), Address("fd00::2", 8))),
        ),
    ],
)
def test_a_name_or_addresses_are_understood(text: str, target: PeerTarget) -> None:
    assert parse_peers(text) == target
    assert parse_peers(str(target)) == target


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("10.0.0.1,,10.0.0.2", "empty"),
        ("10.0.0.1,", "empty"),
        ("a.example,10.0.0.1", "'a.example' is no IP:PORT"),
        ("a.example,b.example", "given by address"),
        ("peers:http", "port must be a number"),
        ("peers:0", "port must be a number"),
        ("10.0.0.1:65536", "port must be a number"),
        ("10.0.0.1:", "port must be a number"),
        ("10.0.0.1:٣", "port must be a number"),
        ("[fd00::1", "no [IPv6]:PORT"),
        ("[10.0.0.1]:5001", "no [IPv6]:PORT"),
        ("[fd00::1]5001", "a colon"),
        ("fd00:0:0:0:0:0:0:1:50001", "write an IPv6 address with a port"),
        ("10.0.0.256", "neither an IP address nor a host name"),
        ("10.0.0:5001", "neither an IP address nor a host name"),
        ("0.0.0.0:5001", "no address of a node"),
        ("[::]:5001", "no address of a node"),
        ("http://peers:5001", "port must be a number"),
        ("pe ers", "no host name"),
        ("-peers", "no host name"),
        ("peers..x", "no host name"),
        ("x" * 300, "no host name"),
        ("päers", "no host name"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_peers(text)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        target = parse_peers(text)
    except ValueError:
        return
    assert (target.name is None) == bool(target.addresses)
    assert parse_peers(str(target)) == target
