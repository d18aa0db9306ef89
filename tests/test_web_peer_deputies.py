"""A deputy has not what it is asked for: who is sent on to the owner, and who to these."""

from __future__ import annotations

from nodecache.byteranges import Span
from nodecache.limits import SEGMENT
from nodecache.peerwire.answers import Absent, Elsewhere
from nodecache.peerwire.questions import Mode
from tests.fakes_registry import some_bytes
from tests.peer_case import ME, PeerCase, question

DATA = some_bytes(50_000)
SPAN = Span(0, len(DATA))
RANKS = ["owner", "second", "third", "other", ME, "another"]


class DeputyTests(PeerCase):
    def setUp(self) -> None:
        super().setUp()
        for number in range(512):
            self.members.know(f"n{number}")
        self.members.ranks = RANKS
        self.digest = self.peers.add_blob(self.whole(DATA), DATA, here=False)

    async def told_to(self, asker: str, *, verified: bool = False) -> Absent | Elsewhere:
        asked = question(self.digest, SPAN, Mode.ONLY_IF_HAVE, verified=verified)
        answer = await self.refusal(self.asking(asked, node=asker))
        assert isinstance(answer, Absent | Elsewhere), answer
        return answer

    def named(self, answer: Absent | Elsewhere) -> list[str]:
        assert isinstance(answer, Elsewhere), answer
        return [peer for peer, _ in answer.peers]

    async def test_two_are_sent_on_and_the_others_to_them_a_moment_later(self) -> None:
        for asker in ("n1", "n2"):
            self.assertEqual(await self.told_to(asker), Absent())
        answer = await self.told_to("n3")
        self.assertEqual(self.named(answer), [])
        assert isinstance(answer, Elsewhere)
        self.clock.advance(answer.retry + 0.01)
        self.assertEqual(self.named(await self.told_to("n3")), ["n1", "n2"])
        self.assertEqual(self.admission.asked, 0, "what is not here costs no place")

    async def test_once_it_is_here_it_is_given(self) -> None:
        for asker in ("n1", "n2", "n3"):
            await self.told_to(asker)
        self.peers.has.add(self.digest)
        sent = self.asking(question(self.digest, SPAN, Mode.ONLY_IF_HAVE), node="n3")
        _, received = await self.bytes_of(sent, SPAN)
        self.assert_same(received, DATA)

    async def test_who_is_no_deputy_says_that_it_has_it_not(self) -> None:
        for ranks in (["owner", "second", "third", "other"], [ME, *RANKS[:3]]):
            self.members.ranks = ranks
            for asker in ("n1", "n2", "n3"):
                self.assertEqual(await self.told_to(asker), Absent())

    async def test_in_a_cluster_of_512_nobody_is_a_deputy(self) -> None:
        del self.members.peers["n511"]
        for asker in ("n1", "n2", "n3"):
            self.assertEqual(await self.told_to(asker), Absent())

    async def test_a_copy_found_right_is_nobodys_to_introduce(self) -> None:
        for asker in ("n1", "n2", "n3"):
            self.assertEqual(await self.told_to(asker, verified=True), Absent())

    async def test_the_lane_follows_from_the_segment_and_the_size(self) -> None:
        await self.told_to("n1")
        far = question(self.digest, Span(9 * SEGMENT, 10 * SEGMENT), size=20 * SEGMENT)
        self.assertEqual(await self.refusal(self.asking(far)), Absent())
        self.assertEqual(self.members.keys, [f"{self.digest}/0", f"{self.digest}/1"])
