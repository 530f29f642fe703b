"""The archive on a real Kafka, its consumers killed: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import signal
from collections import Counter
from functools import partial
from pathlib import Path

from stream.archive.reader import read_archive
from stream.events import encode
from stream.log import read_log
from tests.builders import HOUR, NOON, interaction, item, write_log
from tests.integration.live import Rillet, Running, Start, eventually

EVENTS, ITEMS = 2000, 100


def a_log(path: Path) -> Path:
    """Write items and what users do over some days, now and then turning back an hour."""
    items = [item(f"i{n}", NOON, title=f"item number {n}") for n in range(ITEMS)]
    deeds = [
        interaction(f"i{n % ITEMS}", NOON + n * HOUR // 20 - (n % 7 == 0) * HOUR, f"u{n % 83}")
        for n in range(EVENTS)
    ]
    return write_log(path, [*items, *deeds])


def archived(folder: Path) -> list[tuple[str, int, int, bytes]]:
    """Return every row as (topic, partition, offset, raw); none where there is no archive yet."""
    if not (folder / "_spans").exists():
        return []
    found: list[tuple[str, int, int, bytes]] = []
    for batch in read_archive(str(folder), columns=["topic", "partition", "offset", "raw"]):
        found += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return found


def test_killed_in_the_middle_it_holds_what_was_published_once(
    rillet: Rillet, start: Start, variables: dict[str, str], unique: str, tmp_path: Path
) -> None:
    folder, log = tmp_path / "archive", a_log(tmp_path / "log.jsonl")
    variables["RILLET_ARCHIVE__URL"] = str(folder)
    variables["RILLET_ARCHIVE__MAX_ROWS"] = "40"
    variables["RILLET_ARCHIVE__MAX_S"] = "2"
    variables["RILLET_BATCH__MAX_RECORDS"] = "20"
    assert rillet("init", "--topics").returncode == 0
    assert rillet("publish", str(log)).returncode == 0

    killed: list[Running] = []
    for least in (200, 900):
        killed.append(start("consume", "archive"))
        eventually(partial(more_than, least, folder), killed[-1].said)
        killed[-1].process.send_signal(signal.SIGKILL)
        killed[-1].process.wait(60)
        assert len(archived(folder)) < EVENTS + ITEMS, "it was done before it was killed"
    # Two at once, of whom one leaves well: partitions move, and come back.
    first, second = start("consume", "archive"), start("consume", "archive")
    eventually(lambda: len(archived(folder)) == EVENTS + ITEMS, first.said)
    assert first.end() == 0, first.said()
    eventually(lambda: no_lag(rillet), second.said)
    assert second.end() == 0, second.said()

    found = archived(folder)
    published = [raw for _, raw in read_log(log)]
    assert Counter(raw for *_, raw in found) == Counter(published)
    assert len({key[:3] for key in found}) == len(found) == EVENTS + ITEMS
    assert {topic for topic, *_ in found} == {f"{unique}.events", f"{unique}.catalogue"}
    in_order(log, found)

    shown = rillet("archive", "show", "--json")
    assert json.loads(shown.stdout)["rows"] == EVENTS + ITEMS
    assert rillet("archive", "compact").returncode == 0
    assert sorted(archived(folder)) == sorted(found)
    assert rillet("validate", str(folder)).returncode == 0


def more_than(rows: int, folder: Path) -> bool:
    return len(archived(folder)) > rows


def no_lag(rillet: Rillet) -> bool:
    state = json.loads(rillet("status", "--json").stdout)
    running = [one["name"] for one in state["processes"]]
    return "archive" in running and state["lag"]["archive"] == 0


def in_order(log: Path, found: list[tuple[str, int, int, bytes]]) -> None:
    """Check that each partition has its records as they were published."""
    places = {raw: place for place, (_, raw) in enumerate(read_log(log))}
    assert len(places) == len(found)
    last: dict[tuple[str, int], int] = {}
    for topic, partition, _, raw in sorted(found):
        assert places[raw] > last.get((topic, partition), -1)
        last[topic, partition] = places[raw]


def test_up_runs_it_where_the_settings_say_so(
    rillet: Rillet, start: Start, variables: dict[str, str], tmp_path: Path
) -> None:
    variables["RILLET_ARCHIVE__URL"] = str(tmp_path / "archive")
    variables["RILLET_ARCHIVE__ENABLED"] = "true"
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    log = write_log(tmp_path / "log.jsonl", [item("i", NOON), interaction("i", NOON, "u")])
    assert rillet("publish", str(log)).returncode == 0
    eventually(lambda: no_lag_of_all(rillet), up.said)
    assert up.end() == 0, up.said()
    assert up.said().count(" ended after ") == 4
    # What was in hand was written at the end.
    assert sorted(raw for *_, raw in archived(tmp_path / "archive")) == sorted(
        encode(one) for one in (item("i", NOON), interaction("i", NOON, "u"))
    )


def no_lag_of_all(rillet: Rillet) -> bool:
    state = json.loads(rillet("status", "--json").stdout)
    mine = next((one for one in state["processes"] if one["name"] == "archive"), None)
    return mine is not None and mine["events"] == 2 and len(state["processes"]) == 4
