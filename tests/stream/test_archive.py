from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.archive.files import Files
from stream.archive.reader import ends_at, is_archive, read_archive, read_events
from stream.archive.spans import DAY_MS, Span, encode_span, parse_span
from stream.archive.table import COLUMNS, Row
from stream.archive.view import View
from stream.archive.writer import ArchiveWriter
from stream.errors import FolderError, LogError
from stream.events import Event
from stream.log import log_size, read_log
from stream.records import TopicPartition
from tests.builders import DAY, NOON, forget, interaction, item
from tests.stream.archives import EVENTS, Key, archived, events_of, fill, logged, rows_of
from tests.stream.killed import deaths, mortal, objects

OTHER = TopicPartition("shop.events", 1)
ITEMS = TopicPartition("shop.catalogue", 0)


def keys(rows: Sequence[Row], place: TopicPartition = EVENTS) -> list[Key]:
    return [(*place, row.offset, row.raw) for row in rows]


def test_what_is_written_is_read_in_the_order_of_offsets(tmp_path: Path) -> None:
    rows = rows_of(events_of(300))
    fill(str(tmp_path), rows, 100, 101, 250)
    assert logged(str(tmp_path)) == [row.raw for row in rows]
    assert archived(str(tmp_path)) == keys(rows)


def test_it_is_a_log_like_others(tmp_path: Path) -> None:
    rows = rows_of(events_of(50))
    fill(str(tmp_path), rows, 20)
    told: list[int] = []
    read = list(read_log(tmp_path, on_bytes=told.append))
    assert read == [(n, row.raw) for n, row in enumerate(rows, start=1)]
    assert told[-1] == pytest.approx(log_size(tmp_path), rel=0.05)
    assert is_archive(tmp_path) and is_archive(f"file://{tmp_path}")
    assert list(read_log(f"file://{tmp_path}")) == read


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="neither a log nor an archive"):
        list(read_log(tmp_path))
    with pytest.raises(LogError, match="no archive") as caught:
        list(read_archive(str(tmp_path / "none")))
    assert "rillet consume archive" in caught.value.mend


def test_a_filesystem_that_is_not_known_is_named() -> None:
    with pytest.raises(FolderError, match="nowhere"):
        ArchiveWriter("nowhere://x")


def test_files_say_what_they_hold(tmp_path: Path) -> None:
    rows = rows_of(events_of(30, days=2), first=5)
    ArchiveWriter(str(tmp_path)).write(EVENTS, 3, 40, rows)
    (path, *_) = sorted(tmp_path.glob("day=*/*.parquet"))
    assert path.name == f"shop.events-0-{3:020d}-{40:020d}-0.parquet"
    table = pq.read_table(path, partitioning=None)
    offsets = table.column("offset").to_pylist()
    note = b'{"topic":"shop.events","partition":0,"first":5,"last":%d,"rows":%d}'
    assert pq.read_metadata(path).metadata[b"rillet"] == note % (offsets[-1], len(offsets))
    assert tuple(table.column_names) == COLUMNS
    day = path.parent.name.removeprefix("day=")
    assert all(ms // DAY_MS == rows[0].timestamp // DAY_MS for ms in table["timestamp"].to_pylist())
    assert day == "2023-12-09"


def test_other_readers_see_a_dataset_by_days(tmp_path: Path) -> None:
    rows = rows_of(events_of(60))
    fill(str(tmp_path), rows, 20)
    table = pq.read_table(tmp_path)
    assert sorted(table.column("offset").to_pylist()) == list(range(60))
    assert len(set(table.column("day").to_pylist())) > 1


def test_partitions_are_merged_by_time_and_keep_their_order(tmp_path: Path) -> None:
    mine = [interaction("a", NOON + at) for at in (0, 50, 10, 60)]
    other = [interaction("b", NOON + at) for at in (20, 55, 56)]
    fill(str(tmp_path), rows_of(mine))
    fill(str(tmp_path), rows_of(other), place=OTHER)
    fill(str(tmp_path), rows_of([item("a", NOON), item("b", NOON + 20)]), place=ITEMS)
    found = [(e["item"], e["event"], e["timestamp"] - NOON) for e in _decoded(tmp_path)]
    assert found == [
        *[("a", "item", 0), ("a", "interaction", 0), ("b", "item", 20), ("b", "interaction", 20)],
        *[("a", "interaction", 50), ("a", "interaction", 10), ("b", "interaction", 55)],
        *[("b", "interaction", 56), ("a", "interaction", 60)],
    ]


def _decoded(path: Path) -> list[Any]:
    return [json.loads(raw) for raw in logged(str(path))]


def test_a_window_of_time_and_some_columns_can_be_read(tmp_path: Path) -> None:
    rows = rows_of(events_of(200, days=4))
    fill(str(tmp_path), rows, 90)
    since, until = NOON + DAY, NOON + 3 * DAY
    batches = list(read_archive(str(tmp_path), since, until, ["raw", "user"]))
    assert all(batch.schema.names == ["raw", "user"] for batch in batches)
    found = sorted(raw for batch in batches for raw in batch.column("raw").to_pylist())
    assert found == sorted(row.raw for row in rows if since <= row.timestamp < until)
    with pytest.raises(LogError, match="no column colour"):
        next(read_archive(str(tmp_path), columns=["colour"]))


def test_days_come_one_after_another(tmp_path: Path) -> None:
    fill(str(tmp_path), rows_of(events_of(100, days=5)), 30)
    fill(str(tmp_path), rows_of(events_of(100, seed=2, days=5)), 60, place=OTHER)
    days = [
        time_ms // DAY_MS
        for batch in read_archive(str(tmp_path), columns=["timestamp"])
        for time_ms in batch.column("timestamp").to_pylist()
    ]
    assert days == sorted(days)


@pytest.mark.parametrize("where", [mortal, objects])
def test_a_writer_that_dies_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, where: Callable[[object], str]
) -> None:
    rows = rows_of(events_of(24, days=3))
    died = 0
    for n, run in enumerate(deaths()):
        url = where(tmp_path / str(n))
        fill(url, rows[:6])
        died += run(partial(ArchiveWriter(url).write, EVENTS, 6, 15, rows[6:15]))
        end = ArchiveWriter(url).end_of(EVENTS)
        assert end in (6, 15)
        assert archived(url) == keys(rows[:end])
        # The next one cuts otherwise than the one that died.
        ArchiveWriter(url).write(EVENTS, end, 24, rows[end:])
        assert archived(url) == keys(rows)
        assert logged(url) == [row.raw for row in rows]
    assert died > 5


def test_the_same_span_again_replaces_what_a_dead_writer_left(tmp_path: Path) -> None:
    rows = rows_of(events_of(6, days=2))
    for n, run in enumerate(deaths()):
        url = mortal(tmp_path / str(n))
        run(partial(ArchiveWriter(url).write, EVENTS, 0, 6, rows))
        ArchiveWriter(url).write(EVENTS, 0, 6, rows)
        count = sum(len(pq.read_table(p)) for p in (tmp_path / str(n)).glob("day=*/*.parquet"))
        assert count == 6


def test_overlapping_spans_count_each_offset_once(tmp_path: Path) -> None:
    rows = rows_of(events_of(100))
    writer = ArchiveWriter(str(tmp_path))
    for start, end in [(0, 30), (20, 50), (10, 25), (50, 60), (40, 100), (40, 60)]:
        writer.write(EVENTS, start, end, rows[start:end])
    assert archived(str(tmp_path)) == keys(rows)
    assert logged(str(tmp_path)) == [row.raw for row in rows]
    assert writer.end_of(EVENTS) == 100


@settings(max_examples=20, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=12),
    gone=st.integers(0, 11),
)
def test_however_spans_lie_each_offset_counts_once(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]], gone: int
) -> None:
    folder = tmp_path_factory.mktemp("spans")
    rows = rows_of(events_of(100, days=2))
    writer, covered = ArchiveWriter(str(folder)), set[int]()
    for start, length in spans:
        end = start + length
        writer.write(EVENTS, start, end, rows[start:end])
        covered.update(range(start, end))
    expected = keys([row for row in rows if row.offset in covered])
    assert archived(str(folder)) == expected
    assert logged(str(folder)) == [raw for *_, raw in expected]
    # A zombie's span whose files were swept away takes nothing from the others.
    start, length = spans[gone % len(spans)]
    zombie = writer.write(EVENTS, start, start + length + 1, rows[start : start + length + 1])
    for file in zombie.files:
        os.remove(folder / file.path)
    assert [key for key in archived(str(folder)) if key[2] in covered] == expected


def test_a_crowd_of_rows_goes_through_many_row_groups(tmp_path: Path) -> None:
    rows = rows_of(events_of(25_000, days=2))
    fill(str(tmp_path), rows, 24_000)
    assert logged(str(tmp_path)) == [row.raw for row in rows]
    assert archived(str(tmp_path)) == keys(rows)


def test_a_span_without_rows_keeps_its_place(tmp_path: Path) -> None:
    writer = ArchiveWriter(str(tmp_path))
    writer.write(EVENTS, 0, 10, [])
    assert writer.end_of(EVENTS) == 10
    assert writer.end_of(OTHER) is None
    assert logged(str(tmp_path)) == []


def test_damage_is_named(tmp_path: Path) -> None:
    writer = fill(str(tmp_path), rows_of(events_of(10)))
    (span,) = tmp_path.glob("_spans/*/*/*.json")
    whole = span.read_bytes()
    span.write_bytes(whole[:20])
    with pytest.raises(LogError, match="damaged"):
        View(writer.files)
    newer = parse_span("p", whole)
    span.write_bytes(encode_span(Span(topic="t", partition=0, start=0, end=1, format=9)))
    with pytest.raises(LogError, match="format 9") as caught:
        View(writer.files)
    assert "newer Rillet" in caught.value.mend
    span.write_bytes(whole)
    files = writer.files
    files.write("_forgotten/0a.json", b"{")
    files.write("_forgotten/.0a.json.77.tmp", b"{")
    with pytest.raises(LogError, match=r"_forgotten/0a.json of the archive is damaged"):
        View(files)
    files.remove("_forgotten/0a.json")
    View(files)
    (tmp_path / newer.files[0].path).write_bytes(b"no parquet")
    with pytest.raises(FolderError, match=r"day=2023-12-\d\d/shop.events"):
        logged(str(tmp_path))


def test_files_that_somebody_removed_are_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of(events_of(60, days=3))
    fill(str(tmp_path), rows)
    first, *_ = sorted(tmp_path.glob("day=*"))
    for path in first.iterdir():
        path.unlink()
    kept = [row for row in rows if row.timestamp // DAY_MS > rows[0].timestamp // DAY_MS]
    assert archived(str(tmp_path)) == keys(kept)
    assert "files are gone" in caplog.text


def test_who_was_forgotten_is_not_read(tmp_path: Path) -> None:
    before = [interaction("a", NOON, "bob"), interaction("b", NOON, "eve")]
    late = [interaction("c", NOON + 5, "bob"), interaction("d", NOON + 7, "bob")]
    events: list[Event] = [*before, forget("bob", NOON + 5), *late]
    rows = rows_of(events)
    fill(str(tmp_path), rows, 2, 3)
    assert logged(str(tmp_path)) == [rows[1].raw, rows[2].raw, rows[4].raw]
    assert archived(str(tmp_path)) == keys([rows[1], rows[2], rows[4]])


def test_a_listing_leaves_no_folder_out(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    assert files.below() == set()
    for n in range(3):
        files.write(f"a/b{n}/c", b"x")
    assert files.below() == {"a/b0/c", "a/b1/c", "a/b2/c"}
    assert files.below("a/b1") == {"a/b1/c"}
    assert files.read_many(["a/b0/c", "a/none"]) == [b"x", None]
    before = int(time.time() * 1000) - 5000
    assert (files.written_ms("a/b0/c") or 0) > before
    assert files.written_ms("a/none") is None


def test_an_archive_in_memory_is_one_too() -> None:
    url = "memory://archive-test"
    rows = rows_of(events_of(40))
    fill(url, rows, 10, 30)
    assert logged(url) == [row.raw for row in rows]
    assert is_archive(url)
    assert [number for number, _ in read_events(url)] == list(range(1, 41))
    fsspec.filesystem("memory").rm("/archive-test", recursive=True)


def test_where_partitions_were_at_a_time_is_what_had_happened_by_then(tmp_path: Path) -> None:
    url, events = str(tmp_path), events_of(90)
    second = EVENTS._replace(partition=7)
    fill(url, rows_of(events), 20, 50)
    fill(url, rows_of(events[:30]), place=second)
    names = [f"{place.topic}:{place.partition}" for place in (EVENTS, second)]
    for until in (NOON, NOON + DAY, NOON + 9 * DAY):
        ends = [
            max(n for n, event in enumerate(part, start=1) if int(event.timestamp) <= until)
            for part in (events, events[:30])
        ]
        assert ends_at(url, until) == dict(zip(names, ends, strict=True))
    assert ends_at(url, NOON - DAY) == {}
