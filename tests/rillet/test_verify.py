"""What `rillet verify` compares, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

from rillet.verify import compare, identified
from stream.events import Event
from stream.settings import RedisSettings
from stream.store import Store
from stream.writes import Plain
from tests.builders import NOON, identify, interaction, write_log


def test_whom_an_identify_touches_is_told_of_a_log(tmp_path: Path) -> None:
    events: list[Event] = [interaction("a", NOON, "anon"), identify("anon", "ann", NOON + 1)]
    log = write_log(tmp_path / "log.jsonl", [*events, interaction("a", NOON + 2, "bob")])
    assert identified(log) == {"anon", "ann"}


def test_who_is_left_out_is_neither_wrong_nor_missing() -> None:
    live = Store(RedisSettings.model_validate({"url": "embedded:"}))
    replayed = Store(RedisSettings.model_validate({"url": live.url, "prefix": "other"}))
    try:
        for store, names in ((live, "abd"), (replayed, "abc")):
            keys = [store.keys.session(name) for name in names]
            raws = [b'{"as_of":{"offset":%d},"n":%d}' % (store is live, ord(n)) for n in names]
            store.write_plain([Plain(k, r, 9000) for k, r in zip(keys, raws, strict=True)])
        plainly = compare(live, replayed, "session", stamps=False)
        assert (plainly.equal, plainly.missing, plainly.extra) == (2, ["c"], ["d"])
        stamped = compare(live, replayed, "session", without={"c", "d"})
        assert sorted(stamped.differing) == ["a", "b"]
        found = compare(live, replayed, "session", stamps=False, without={"b", "c", "d"})
        assert (found.keys, found.equal, found.wrong) == (1, 1, 0)
    finally:
        replayed.close()
        live.close()
