"""Opening ports: both families of localhost, dual-stack, and one line where it fails."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from nodecache.config import parse_listen
from nodecache.failures import ConfigError
from nodecache.service.listeners import Listener, open_listener
from tests.machine import has_ipv6

reactor = cast(Any, _reactor)


class Listening(TestCase):
    def open(self, address: str) -> Listener:
        listener = open_listener(
            reactor, "listen", parse_listen(address), Factory.forProtocol(Protocol)
        )
        self.addCleanup(listener.close)
        return listener

    def reachable(self, host: str, port: int) -> bool:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            return False
        return True

    def test_localhost_is_both_families_on_one_port(self) -> None:
        listener = self.open("localhost:0")
        hosts = [host for host, _ in listener.addresses]
        assert hosts == (["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"])
        assert len({port for _, port in listener.addresses}) == 1
        for host, port in listener.addresses:
            assert self.reachable(host, port)

    @pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
    def test_all_addresses_are_one_dual_stack_socket(self) -> None:
        for address in ("[::]:0", ":0", "*:0"):
            [(host, port)] = self.open(address).addresses
            assert host == "::"
            assert self.reachable("127.0.0.1", port)
            assert self.reachable("::1", port)

    @pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
    def test_a_single_ipv6_address_leaves_ipv4_alone(self) -> None:
        [(_, port)] = self.open("[::1]:0").addresses
        assert self.reachable("::1", port)
        assert not self.reachable("127.0.0.1", port)

    def test_a_port_that_is_taken_is_one_line_that_names_the_setting(self) -> None:
        [(_, port)] = self.open("127.0.0.1:0").addresses
        said = rf"^listen: cannot listen on 127.0.0.1:{port}: .+; .+ give another --listen$"
        with pytest.raises(ConfigError, match=said):
            self.open(f"127.0.0.1:{port}")

    def test_a_family_whose_port_is_taken_closes_what_was_opened(self) -> None:
        [(_, port)] = self.open("127.0.0.1:0").addresses
        with pytest.raises(ConfigError):
            self.open(f"localhost:{port}")
        if has_ipv6():
            assert not self.reachable("::1", port)

    def test_a_host_that_does_not_resolve_is_one_line(self) -> None:
        with pytest.raises(ConfigError, match=r"^listen: cannot resolve 'no-such-host.invalid'"):
            self.open("no-such-host.invalid:0")

    def test_an_address_of_another_machine_is_one_line(self) -> None:
        with pytest.raises(ConfigError, match=r"^listen: cannot listen on 192\.0\.2\.1:0"):
            self.open("192.0.2.1:0")

    def test_it_is_described_as_it_is_bound(self) -> None:
        listener = self.open("127.0.0.1:0")
        assert listener.describe() == f"127.0.0.1:{listener.addresses[0][1]}"
