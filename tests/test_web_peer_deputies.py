"""A deputy has not what it is asked for: who is sent on to the owner, and who to these."""

from __future__ import annotations

import attrs

from nodecache.byteranges import Span
from nodecache.limits import SEGMENT
from nodecache.peerwire.answers import Absent, Elsewhere, ManifestAnswer
from nodecache.peerwire.codec import decode_manifest_answer, fields_of
from nodecache.peerwire.questions import ManifestQuestion, Mode
from nodecache.reference import Tag
from tests.fakes_registry import some_bytes
from tests.peer_case import ALPINE, ME, PeerCase, question

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

    async def told_to(self, asker: str, **fields: bool) -> Absent | Elsewhere:
        asked = question(self.digest, SPAN, Mode.ONLY_IF_HAVE, **fields)
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

    async def test_the_owner_its_stand_ins_and_other_deputies_are_sent_nowhere(self) -> None:
        for asker in ("n1", "n2", "owner", "second", "another"):
            self.assertEqual(await self.told_to(asker), Absent())

    async def test_nor_is_who_acts_as_owner_by_a_view_of_its_own(self) -> None:
        for asker in ("n1", "n2"):
            await self.told_to(asker)
        self.assertEqual(await self.told_to("n3", as_owner=True), Absent())

    async def manifest_told_to(self, asker: str, asked: ManifestQuestion) -> ManifestAnswer:
        reply = await self.answer(self.asking_manifest(asked, node=asker))
        return decode_manifest_answer(reply.status, fields_of(reply.headers), reply.body)

    async def test_a_herd_for_a_manifest_or_a_tag_is_brought_together_as_well(self) -> None:
        manifest = ManifestQuestion(ALPINE, self.digest, Mode.ONLY_IF_HAVE, 6.0, head=False)
        tag = attrs.evolve(manifest, reference=Tag("latest"), youth=60.0)
        for asked in (manifest, tag):
            for asker in ("n1", "n2"):
                self.assertEqual(await self.manifest_told_to(asker, asked), Absent())
            self.assertEqual(await self.manifest_told_to("n3", asked), Elsewhere(0.15))
            self.clock.advance(0.2)
            answer = await self.manifest_told_to("n3", asked)
            assert isinstance(answer, Elsewhere)
            self.assertEqual([peer for peer, _ in answer.peers], ["n1", "n2"])

    async def test_who_takes_a_tag_however_old_is_sent_nowhere(self) -> None:
        asked = ManifestQuestion(ALPINE, Tag("latest"), Mode.ONLY_IF_HAVE, 6.0, head=True)
        for asker in ("n1", "n2", "n3"):
            reply = await self.answer(self.asking_manifest(asked, node=asker), head=True)
            self.assertEqual(reply.status, 404)

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
