"""Compaction, retention and forgetting, while others write and read, and under sudden death."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.archive import upkeep
from stream.archive.files import Files
from stream.archive.reader import read_archive, read_events
from stream.archive.spans import DAY_MS
from stream.archive.upkeep import compact, forget, prune
from stream.archive.view import FORGOTTEN, View
from stream.archive.writer import ArchiveWriter
from stream.errors import LogError
from stream.events import Event
from stream.records import TopicPartition
from tests.builders import DAY, NOON, identify, interaction
from tests.builders import forget as delete
from tests.stream.archives import EVENTS, archived, events_of, fill, logged, rows_of
from tests.stream.killed import deaths, mortal, objects

OTHER = TopicPartition("shop.events", 1)


def data(folder: Path) -> list[Path]:
    return sorted(folder.glob("day=*/*.parquet"))


def on_disk(folder: Path) -> bytes:
    """Return all bytes of the raw columns, forgotten or not."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["raw"], partitioning=None) for path in data(folder)]
    return b"".join(raw for table in tables for raw in table.column("raw").to_pylist())


def test_compaction_keeps_every_row(tmp_path: Path) -> None:
    rows, others = rows_of(events_of(200, days=3)), rows_of(events_of(90, seed=2, days=2))
    fill(str(tmp_path), rows, *range(10, 200, 10))
    fill(str(tmp_path), others, 30, 60, place=OTHER)
    before, order = archived(str(tmp_path)), logged(str(tmp_path))
    done = compact(str(tmp_path))
    assert (archived(str(tmp_path)), logged(str(tmp_path))) == (before, order)
    assert len(data(tmp_path)) == done.files == 4 + 3
    assert done.files < done.files_before
    assert (done.rows, done.rows_before) == (290, 290)
    assert len(list(tmp_path.glob("_spans/*/*/*.json"))) == 2
    assert not (tmp_path / "_lock.json").exists()
    assert ArchiveWriter(str(tmp_path)).end_of(EVENTS) == 200


def test_compaction_again_changes_nothing_and_later_spans_join(tmp_path: Path) -> None:
    rows = rows_of(events_of(100, days=3))
    fill(str(tmp_path), rows[:60], 20, 40)
    compact(str(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in data(tmp_path)}
    compact(str(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in data(tmp_path)} == before
    ArchiveWriter(str(tmp_path)).write(EVENTS, 60, 100, rows[60:])
    compact(str(tmp_path))
    assert logged(str(tmp_path)) == [row.raw for row in rows]
    assert before.keys() & set(data(tmp_path))  # a day to which nothing came stays as it is


def test_full_files_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "FULL_ROWS", 25)
    rows = rows_of([interaction("i", NOON + n) for n in range(100)])
    fill(str(tmp_path), rows, 10, 20, 50, 60, 70, 80, 90)
    done = compact(str(tmp_path))
    assert logged(str(tmp_path)) == [row.raw for row in rows]
    assert done.files == 5  # 20, 30, 20, 20 and 10 rows


def test_doubled_rows_leave_the_files(tmp_path: Path) -> None:
    rows = rows_of(events_of(60, days=2))
    writer = ArchiveWriter(str(tmp_path))
    for start, end in [(0, 30), (20, 50), (40, 60)]:
        writer.write(EVENTS, start, end, rows[start:end])
    assert compact(str(tmp_path)).rows == 60
    assert logged(str(tmp_path)) == [row.raw for row in rows]


@pytest.mark.parametrize("where", [mortal, objects])
@pytest.mark.parametrize("work", [compact, lambda url: forget(url, "u3")])
def test_work_that_dies_at_any_moment_changes_nothing(
    tmp_path: Path, where: Callable[[object], str], work: Callable[[str], object]
) -> None:
    rows, more = rows_of(events_of(16, days=2)), rows_of(events_of(3, seed=3, days=1))
    forgets = work is not compact
    left = [row.raw for row in rows if row.user != "u3"] if forgets else [r.raw for r in rows]
    died = 0
    for n, run in enumerate(deaths()):
        url = where(tmp_path / str(n))
        fill(url, rows, 8)
        fill(url, more, place=OTHER)
        all_rows = logged(url)
        died += run(partial(work, url))
        marked = bool(list((tmp_path / str(n)).glob(f"{FORGOTTEN}/*.json")))
        found = [key[-1] for key in archived(url) if key[1] == 0]
        assert found == (left if marked else [row.raw for row in rows])
        work(url)
        assert [key[-1] for key in archived(url) if key[1] == 0] == left
        if not forgets:
            assert logged(url) == all_rows
        assert ArchiveWriter(url).end_of(EVENTS) == 16
    assert died > 10


def test_what_crashes_left_is_swept_away_when_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(events_of(30, days=1))
    fill(str(tmp_path), rows)
    debris = [
        tmp_path / f"day=2023-12-09/shop.events-0-{3:020d}-{9:020d}-0.parquet",
        tmp_path / "day=2023-12-09/.x.parquet.abc.tmp",
    ]
    # It may be about to be named: it goes further than the archive.
    ahead = tmp_path / f"day=2023-12-09/shop.events-0-{30:020d}-{40:020d}-0.parquet"
    theirs = tmp_path / "day=2023-12-09/notes.txt"
    for path in [*debris, ahead, theirs]:
        path.write_bytes(b"x")
    assert compact(str(tmp_path)).swept == 0
    monkeypatch.setattr(upkeep, "GRACE_MS", -5000)
    assert compact(str(tmp_path)).swept == 2
    assert not any(path.exists() for path in debris)
    assert ahead.exists() and theirs.exists()
    ahead.unlink()
    assert logged(str(tmp_path)) == [row.raw for row in rows]


def test_two_do_not_work_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(str(tmp_path), rows_of(events_of(10)))
    lock = tmp_path / "_lock.json"
    now = int(time.time() * 1000)
    mine = {"host": socket.gethostname(), "pid": os.getppid(), "at": now}
    lock.write_text(json.dumps(mine))
    with pytest.raises(LogError, match=f"process {os.getppid()}") as caught:
        compact(str(tmp_path))
    assert "_lock.json" in caught.value.mend
    lock.write_text(json.dumps(mine | {"host": "elsewhere"}))
    with pytest.raises(LogError, match="elsewhere"):
        prune(str(tmp_path), 1)
    for gone in ({"pid": 2**22 + 1}, {"host": "elsewhere", "at": now - 3_600_000}):
        lock.write_text(json.dumps(mine | gone))
        compact(str(tmp_path))
        assert not lock.exists()


def test_a_log_is_read_to_its_end_though_it_is_compacted_meanwhile(tmp_path: Path) -> None:
    rows = rows_of(events_of(400, days=4))
    fill(str(tmp_path), rows, *range(20, 400, 20))
    reading = read_events(str(tmp_path))
    read = [raw for _, raw in (next(reading) for _ in range(50))]
    compact(str(tmp_path))
    read += [raw for _, raw in reading]
    assert read == [row.raw for row in rows]


def test_training_reads_to_the_end_though_it_is_compacted_meanwhile(tmp_path: Path) -> None:
    rows = rows_of(events_of(400, days=4))
    fill(str(tmp_path), rows, *range(20, 400, 20))
    reading = read_archive(str(tmp_path), columns=["offset"])
    read = next(reading).column("offset").to_pylist()
    compact(str(tmp_path))
    for batch in reading:
        read += batch.column("offset").to_pylist()
    assert sorted(read) == list(range(400))


def days_ago(days: int) -> int:
    return int(time.time() * 1000) // DAY_MS * DAY_MS - days * DAY_MS + 1000


def test_old_days_go_and_the_place_in_the_log_stays(tmp_path: Path) -> None:
    rows = rows_of([interaction("i", days_ago(ago)) for ago in (9, 5, 8, 4, 3, 0)])
    fill(str(tmp_path), rows, 2, 4)
    dry = prune(str(tmp_path), 4, dry=True)
    assert (dry.rows_before, dry.rows) == (6, 3)
    assert len(archived(str(tmp_path))) == 6
    assert prune(str(tmp_path), 4).rows == 3
    assert logged(str(tmp_path)) == [rows[n].raw for n in (3, 4, 5)]
    assert len(list(tmp_path.glob("day=*/*.parquet"))) == 3
    prune(str(tmp_path), 0)
    assert ArchiveWriter(str(tmp_path)).end_of(EVENTS) == 6
    assert prune(str(tmp_path), 0).rows == 1


def test_a_deleted_user_leaves_the_files_when_they_are_compacted(tmp_path: Path) -> None:
    events: list[Event] = [
        *(interaction("secret", NOON + n, "bob") for n in range(5)),
        interaction("other", NOON, "eve"),
        delete("bob", NOON + DAY),
        interaction("again", NOON + 2 * DAY, "bob"),
    ]
    rows = rows_of(events)
    fill(str(tmp_path), rows, 3, 6)
    assert b"secret" in on_disk(tmp_path)
    assert b"secret" not in b"".join(logged(str(tmp_path)))
    compact(str(tmp_path))
    assert b"secret" not in on_disk(tmp_path)
    assert logged(str(tmp_path)) == [row.raw for row in rows[5:]]
    # What comes late is from before he was forgotten, in another partition too.
    late = rows_of([interaction("secret", NOON + 9, "bob")], first=8)
    ArchiveWriter(str(tmp_path)).write(EVENTS, 8, 9, late)
    ArchiveWriter(str(tmp_path)).write(OTHER, 0, 9, late)
    assert logged(str(tmp_path)) == [row.raw for row in rows[5:]]
    compact(str(tmp_path))
    assert b"secret" not in on_disk(tmp_path)


def test_visitors_who_turned_out_to_be_him_are_forgotten_with_him(tmp_path: Path) -> None:
    visitors = rows_of(
        [
            interaction("cookie-1", NOON, None, session="v1"),
            identify("v1", "v2", NOON + 1),
            interaction("cookie-1 later", NOON + 2, None, session="v1"),
            interaction("cookie-3", NOON + 2, None, session="v3"),
            identify("v3", "eve", NOON + 3),
        ]
    )
    fill(str(tmp_path), visitors, place=OTHER)
    his = rows_of(
        [
            interaction("cookie-2", NOON + 2, None, session="v2"),
            identify("v2", "bob", NOON + 3),
            interaction("named", NOON + 4, "bob"),
            delete("bob", NOON + 5),
        ]
    )
    fill(str(tmp_path), his)
    left = sorted([visitors[2].raw, visitors[3].raw, visitors[4].raw, his[3].raw])
    assert sorted(logged(str(tmp_path))) == left
    compact(str(tmp_path))
    assert sorted(logged(str(tmp_path))) == left
    assert b'cookie-1"' not in on_disk(tmp_path) and b"cookie-2" not in on_disk(tmp_path)
    # The identify event is gone, and still a late row of the visitor does not come back.
    late = rows_of([interaction("cookie-2 late", NOON + 1, None, session="v2")], first=4)
    ArchiveWriter(str(tmp_path)).write(EVENTS, 4, 5, late)
    assert sorted(logged(str(tmp_path))) == left


def test_a_user_is_forgotten_by_hand_at_once_and_for_good(tmp_path: Path) -> None:
    rows = rows_of([*events_of(20, user="bob/ü"), *events_of(20, user="eve")])
    fill(str(tmp_path), rows, 10, 30)
    done = forget(str(tmp_path), "bob/ü")
    assert done.rows_before - done.rows == 20
    assert logged(str(tmp_path)) == [row.raw for row in rows[20:]]
    assert b"bob" not in on_disk(tmp_path)
    # What a consumer had in hand at that moment.
    ArchiveWriter(str(tmp_path)).write(EVENTS, 40, 45, rows_of(events_of(5, user="bob/ü"), 40))
    assert logged(str(tmp_path)) == [row.raw for row in rows[20:]]
    later = rows_of([interaction("new", int(time.time() * 1000) + 5000, "bob/ü")], 45)
    ArchiveWriter(str(tmp_path)).write(EVENTS, 45, 46, later)
    assert later[0].raw in logged(str(tmp_path))


def test_marks_go_with_the_days_they_were_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(str(tmp_path), rows_of(events_of(10)))
    forget(str(tmp_path), "u1")
    assert len(list((tmp_path / FORGOTTEN).iterdir())) == 1
    prune(str(tmp_path), 5)
    assert len(list((tmp_path / FORGOTTEN).iterdir())) == 1
    monkeypatch.setattr(upkeep, "day_of", lambda _ms: "2999-01-01")
    prune(str(tmp_path), 5)
    assert list((tmp_path / FORGOTTEN).iterdir()) == []


def test_there_is_nothing_to_work_on(tmp_path: Path) -> None:
    for work in (compact, lambda url: prune(url, 3), lambda url: forget(url, "bob")):
        with pytest.raises(LogError, match="no archive"):
            work(str(tmp_path / "none"))
    assert list(tmp_path.rglob("*.json")) == []


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_whatever_is_done_in_whatever_order_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    url, rows = str(folder), rows_of(events_of(60, days=2))
    at = 0
    while at < 60:
        what = data.draw(st.sampled_from(["write", "write", "write", "zombie", "compact"]))
        if what == "write":
            end = data.draw(st.integers(at + 1, 60))
            ArchiveWriter(url).write(EVENTS, at, end, rows[at:end])
            at = end
        elif what == "zombie" and at:
            start = data.draw(st.integers(0, at - 1))
            end = data.draw(st.integers(start + 1, at))
            ArchiveWriter(url).write(EVENTS, start, end, rows[start:end])
        elif at:
            compact(url)
        if at:
            assert logged(url) == [row.raw for row in rows[:at]]
    assert View(Files(url)).missing == []
