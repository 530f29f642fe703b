from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.cutting import Cutter
from stream.records import Record, TopicPartition


def records(partition: int, offsets: range) -> list[Record]:
    return [Record("t", partition, offset, None, b"") for offset in offsets]


@given(
    every=st.integers(1, 9),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    poll=st.integers(1, 17),
)
def test_cuts_do_not_depend_on_how_records_were_polled(
    every: int, lengths: list[int], poll: int
) -> None:
    log = [one for number, n in enumerate(lengths) for one in records(number, range(n))]
    cutter = Cutter(every)
    batches = []
    for start in range(0, len(log), poll):
        cutter.add(log[start : start + poll])
        while batch := cutter.take():
            batches.append(batch)
    while batch := cutter.take(lambda place, following: following == lengths[place.partition]):
        batches.append(batch)
    for number, n in enumerate(lengths):
        mine = [batch for batch in batches if batch[0].partition == number]
        assert [one.offset for batch in mine for one in batch] == list(range(n))
        assert all(batch[0].offset % every == 0 and len(batch) <= every for batch in mine)
        assert all(len(batch) == every for batch in mine[:-1])
    assert all(len({one.partition for one in batch}) == 1 for batch in batches)


def test_lost_partitions_are_dropped() -> None:
    cutter = Cutter(2)
    cutter.add(records(0, range(2)) + records(1, range(2)))
    cutter.forget([TopicPartition("t", 0)])
    assert [one.partition for one in cutter.take()] == [1, 1]
    assert cutter.take() == []


def test_gaps_in_a_compacted_log_do_not_hold_a_batch_back() -> None:
    cutter = Cutter(10)
    cutter.add(records(0, range(3, 5)) + records(0, range(25, 26)))
    assert [one.offset for one in cutter.take()] == [3, 4]
    assert cutter.take() == []
