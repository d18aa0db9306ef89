"""The file of the secrets: read at the start, read again, and never trusted when it is no good."""

from __future__ import annotations

import os
import pathlib
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from nodecache.events import Event, SecretsRead
from nodecache.failures import ConfigError
from nodecache.limits import Timeouts
from nodecache.peers.secrets import Secrets, parse_secrets
from tests.fakes_disk import HeldPool, InlinePool

FIRST, SECOND, THIRD = b"first-secret-of-it", b"second-secret-of-it", b"third-secret-of-it"


@pytest.mark.parametrize(
    ("data", "secrets"),
    [
        (FIRST, (FIRST,)),
        (FIRST + b"\n" + SECOND + b"\n", (FIRST, SECOND)),
        (b"# ours\r\n\r\n  " + FIRST + b" \r\n", (FIRST,)),
        (FIRST + b"\n" + FIRST, (FIRST,)),
        (b"\xff" * 16, (b"\xff" * 16,)),
    ],
)
def test_one_secret_a_line(data: bytes, secrets: tuple[bytes, ...]) -> None:
    assert parse_secrets(data) == secrets


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no secret"),
        (b"\n# only a remark of some length\n", "no secret"),
        (FIRST + b"\nshort\n", "line 2 has fewer than 16 bytes"),
        (b"\n".join(b"%016d" % number for number in range(17)), "more than 16"),
        (b"x" * (64 * 1024 + 1), "65536 bytes"),
    ],
)
def test_a_file_that_is_no_good_is_refused_without_quoting_it(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_secrets(data)
    assert "short" not in str(caught.value)


@given(st.binary())
def test_garbage_is_secrets_or_a_value_error(data: bytes) -> None:
    try:
        secrets = parse_secrets(data)
    except ValueError:
        return
    assert 0 < len(secrets) <= 16
    assert all(len(secret) >= 16 for secret in secrets)


class SecretsTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "secret"
        self.path.write_bytes(FIRST)
        self.clock = Clock()
        self.events: list[Event] = []
        self.secrets = self.make()

    def make(self, pool: InlinePool | HeldPool | None = None) -> Secrets:
        return Secrets(
            str(self.path), pool or InlinePool(), self.clock, self.events.append, Timeouts()
        )

    def start(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.secrets.start()))
        self.addCleanup(self.secrets.stop)
        self.assertEqual(self.told(), [(len(self.secrets.accepted), "")])
        self.events.clear()

    def look_again(self) -> None:
        self.clock.advance(Timeouts().peer_secrets)

    def told(self) -> list[tuple[int, str]]:
        events = [event for event in self.events if isinstance(event, SecretsRead)]
        return [(event.count, event.reason) for event in events]

    def test_the_first_signs_and_all_are_accepted(self) -> None:
        self.path.write_bytes(FIRST + b"\n" + SECOND)
        self.start()
        self.assertEqual(self.secrets.signs, FIRST)
        self.assertEqual(self.secrets.accepted, (FIRST, SECOND))

    def test_a_start_without_a_good_file_names_the_key(self) -> None:
        self.path.write_bytes(b"short")
        for words in ("line 1", "No such file"):
            failure = self.failureResultOf(
                Deferred.fromCoroutine(self.secrets.start()), ConfigError
            )
            self.assertIn("peer_secret_file: ", str(failure.value))
            self.assertIn(words, str(failure.value))
            self.assertNotIn("\n", str(failure.value))
            self.path.unlink(missing_ok=True)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_rotation_in_three_steps_is_followed(self) -> None:
        self.start()
        for content in (FIRST + b"\n" + SECOND, SECOND + b"\n" + FIRST, SECOND):
            self.path.write_bytes(content)
            self.look_again()
            self.assertEqual(self.secrets.accepted, parse_secrets(content))
        self.assertEqual(self.told(), [(2, ""), (2, ""), (1, "")])

    def test_a_link_that_is_swapped_is_followed(self) -> None:
        folder = self.path.parent
        (folder / "one").write_bytes(FIRST)
        (folder / "two").write_bytes(SECOND)
        self.path.unlink()
        os.symlink("one", self.path)
        self.start()
        os.symlink("two", folder / "new")
        os.replace(folder / "new", self.path)
        self.look_again()
        self.assertEqual(self.secrets.accepted, (SECOND,))

    def test_the_old_ones_stay_when_the_file_is_no_good_and_that_is_told_once(self) -> None:
        self.start()
        self.path.write_bytes(b"")
        self.look_again()
        self.look_again()
        self.path.unlink()
        self.look_again()
        self.path.write_bytes(b"secret-1")
        self.look_again()
        self.assertEqual(self.secrets.accepted, (FIRST,))
        reasons = [reason for _, reason in self.told()]
        self.assertEqual(len(reasons), 3)
        self.assertNotIn("secret-1", " ".join(reasons))
        self.path.write_bytes(FIRST)
        self.look_again()
        self.assertEqual(self.told()[-1], (1, ""))

    def test_a_file_that_does_not_change_is_nothing_to_tell(self) -> None:
        self.start()
        for _ in range(3):
            self.look_again()
        self.assertEqual(self.told(), [])

    def test_a_read_that_takes_long_is_not_overtaken_and_ends_with_the_stop(self) -> None:
        pool = HeldPool()
        self.secrets = self.make(pool)
        starting = Deferred.fromCoroutine(self.secrets.start())
        pool.flush()
        self.successResultOf(starting)
        self.path.write_bytes(SECOND)
        self.look_again()
        self.look_again()
        self.assertEqual(len(pool.held), 1)
        self.secrets.stop()
        self.secrets.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.secrets.accepted, self.told()), ((FIRST,), [(1, "")]))
