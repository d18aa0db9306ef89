"""The journal of a blob that is not whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from nodecache.limits import MIB, SEGMENT
from nodecache.store.journal import Known, read_journal, segment_line, total_line

TOTAL = 2 * SEGMENT + 1
FULL = tuple(range(8))
LINES = (total_line(TOTAL), segment_line(0, FULL), segment_line(2, [7]), segment_line(1, FULL))


class JournalTests(SynchronousTestCase):
    def test_an_empty_journal_knows_nothing(self) -> None:
        self.assertEqual(read_journal(b""), Known(None, {}))

    def test_what_was_written_is_known(self) -> None:
        known = read_journal(b"".join(LINES))
        self.assertEqual(known, Known(TOTAL, {0: FULL, 1: FULL, 2: (7,)}))
        self.assertTrue(known.is_whole)

    def test_it_is_not_whole_while_a_segment_lacks(self) -> None:
        self.assertFalse(read_journal(b"".join(LINES[:-1])).is_whole)

    def test_it_is_not_whole_without_a_total(self) -> None:
        self.assertFalse(read_journal(b"".join(LINES[1:])).is_whole)

    def test_the_empty_blob_is_whole_once_its_total_is_known(self) -> None:
        self.assertTrue(read_journal(total_line(0)).is_whole)

    def test_a_torn_line_is_as_if_never_written(self) -> None:
        known = read_journal(LINES[0] + LINES[1] + LINES[2][:-4])
        self.assertEqual(known.segments, {0: FULL})

    def test_a_line_behind_a_torn_one_counts_if_it_begins_a_line(self) -> None:
        known = read_journal(LINES[0] + LINES[1][:-4] + b"\n" + LINES[2])
        self.assertEqual(known.segments, {2: (7,)})

    def test_a_segment_with_too_few_checksums_is_not_believed(self) -> None:
        self.assertEqual(read_journal(LINES[0] + segment_line(0, FULL[:-1])).segments, {})

    def test_a_segment_that_the_blob_does_not_have_is_not_believed(self) -> None:
        self.assertEqual(read_journal(LINES[0] + segment_line(3, FULL)).segments, {})

    def test_a_new_total_forgets_the_segments_before_it(self) -> None:
        journal = LINES[0] + LINES[1] + total_line(8 * MIB) + segment_line(0, FULL)
        self.assertEqual(read_journal(journal), Known(8 * MIB, {0: FULL}))
        self.assertEqual(read_journal(LINES[0] + LINES[1] + total_line(SEGMENT)).segments, {})

    @settings(max_examples=200)
    @given(st.data())
    def test_damage_loses_lines_and_invents_none(self, data: st.DataObject) -> None:
        journal = bytearray(b"".join(LINES))
        for _ in range(data.draw(st.integers(1, 4))):
            journal[data.draw(st.integers(0, len(journal) - 1))] = data.draw(st.integers(0, 255))
        del journal[data.draw(st.integers(0, len(journal))) :]
        known = read_journal(bytes(journal))
        whole = read_journal(b"".join(LINES))
        self.assertIn(known.total, (TOTAL, None))
        self.assertLessEqual(known.segments.items(), whole.segments.items())

    @settings(max_examples=100)
    @given(st.binary(max_size=300))
    def test_any_bytes_can_be_read(self, junk: bytes) -> None:
        self.assertEqual(read_journal(junk), Known(None, {}))
