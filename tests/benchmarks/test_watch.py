from __future__ import annotations

import threading
import time

import pytest

from benchmarks.watch import Due, Watcher
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain


def listed(time_ms: int) -> bytes:
    return b'{"as_of":{"partition":0,"offset":1,"event_time":%d},"user":"u"}' % time_ms


def test_a_delay_lasts_from_the_schedule_to_the_list(settings: Settings, store: Store) -> None:
    schedule = [Due("a", 0.0, 100), Due("a", 0.01, 110), Due("b", 0.02, 120), Due("c", 0.03, 130)]

    def write() -> None:
        time.sleep(0.1)
        store.write_plain([Plain(store.keys.recs("a"), listed(105), 60_000)])
        time.sleep(0.1)
        store.write_plain([Plain(store.keys.recs(user), listed(125), 60_000) for user in "abc"])

    watcher, writer = Watcher(settings.redis), threading.Thread(target=write)
    begin = time.monotonic()
    writer.start()
    seen = watcher.watch(schedule, begin, patience_s=0.5)
    writer.join()
    watcher.close()
    first, second, third, never = seen.delays_s
    assert first is not None and second is not None and third is not None
    assert first >= 0.1 and second >= 0.19 and third >= 0.18  # noqa: PT018 - three of a kind
    assert never is None  # its list is older than the event
    assert seen.gaps_s and min(seen.gaps_s) > 0


@pytest.mark.parametrize("again", [1, 2])
def test_it_ends_as_soon_as_all_was_seen(settings: Settings, store: Store, again: int) -> None:
    store.write_plain([Plain(store.keys.recs("a"), listed(100), 60_000)])
    schedule = [Due("a", 0.01 * n, 100) for n in range(again)]
    watcher, begin = Watcher(settings.redis), time.monotonic()
    seen = watcher.watch(schedule, begin, patience_s=60)
    watcher.close()
    assert len(seen.delays_s) == again and None not in seen.delays_s  # noqa: PT018
    assert time.monotonic() - begin < 30
