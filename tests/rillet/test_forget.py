"""Forgetting without Kafka: an embedded Redis and a real archive, scanned for the id."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from consumers.replay import Replay
from features.card import AsOf
from features.session import encode_session, new_session
from features.text import load_encoder
from features.tombstone import decode_tombstone
from models.answer import decode_answer
from models.learner import LearnerState, decode_learner
from rillet.cli.emptied import emptied
from rillet.cli.main import app
from rillet.client import Client
from rillet.erasure import Erased, forget_directly, look_for, verify
from stream.archive.table import row_of
from stream.archive.writer import ArchiveWriter
from stream.events import Event, encode
from stream.privacy_settings import PrivacySettings
from stream.pseudonyms import Pseudonyms
from stream.records import Record, TopicPartition
from stream.scanning import Sought, in_archive, in_redis
from stream.settings import Settings
from stream.store import Store
from tests.builders import NOON, identify, interaction, item, ranking, write_log

WHO, VISITOR = "zanzibar-17", "cookie-99"


def the_events() -> list[Event]:
    return [
        item("a", NOON, title="grand kilim"),
        item("b", NOON, title="hall runner"),
        interaction("a", NOON + 1, VISITOR),
        identify(VISITOR, WHO, NOON + 2),
        interaction("b", NOON + 3, "bob"),
        ranking(["a", "b"], NOON + 4, WHO, id="r1"),
        interaction("a", NOON + 5, WHO, ranking="r1"),
        ranking(["a", "b"], NOON + 6, "bob", id="r2"),
    ]


def replayed(settings: Settings, store: Store, log: Path) -> None:
    Replay(settings, store, load_encoder(settings.encoder)).run(log)


def archived(url: str, events: list[Event], first: int = 0) -> None:
    rows = [
        row_of(Record("rillet.events", 0, at, None, encode(event)), event)
        for at, event in enumerate(events, first)
    ]
    place = TopicPartition("rillet.events", 0)
    ArchiveWriter(url).write(place, first, first + len(rows), rows)


def places(settings: Settings, store: Store, *names: str) -> list[str]:
    found = [*in_redis(store, Sought(names))]
    return found + [*in_archive(settings.archive.url, Sought(names))]


def test_nothing_of_him_is_left_and_a_replay_of_the_log_brings_nothing_back(
    tmp_path: Path,
) -> None:
    redis = {"url": f"embedded:{tmp_path / 'kept'}"}
    archive = {"url": str(tmp_path / "archive")}
    settings = Settings.model_validate({"redis": redis, "archive": archive})
    log = write_log(tmp_path / "log.jsonl", the_events())
    archived(archive["url"], the_events())
    store = Store(settings.redis)
    try:
        replayed(settings, store, log)
        assert len(places(settings, store, WHO)) == 3
        done = Erased([WHO], NOON + 100)
        look_for(store, done)
        forget_directly(settings, store, done)
        verify(settings, store, done)
        assert (done.events, done.lists, done.archive_rows) == (3, 1, 4)
        assert done.left == []
        assert places(settings, store, WHO) == []
        assert [key for key in in_archive(archive["url"], Sought([VISITOR]))] == []
        assert store.get(store.keys.session("bob")) is not None
        # The log again: all state is dropped but who was forgotten.
        assert len(list(store.scan("forgotten"))) == 2
        with emptied(settings, fresh=True) as again:
            replayed(settings, again, log)
        keys = store.keys
        assert sorted(places(settings, store, WHO)) == [keys.recs(WHO), keys.session(WHO)]
        state = json.loads(store.get(store.keys.session(WHO)) or b"")
        assert (state["history"], state["forgotten"], "events" in state) == ({}, NOON + 100, False)
        strangers = decode_answer(store.get(store.keys.recs(WHO)) or b"")
        assert not any(why.item for one in strangers.items for why in one.reasons)
        assert store.get(store.keys.recs("bob")) is not None
        # What he did before and comes late stays out of the archive, what he does now does not.
        archived(archive["url"], [interaction("b", NOON + 50, WHO)], first=8)
        archived(archive["url"], [interaction("b", NOON + 200, WHO)], first=9)
        done = Erased([WHO], NOON + 100)
        forget_directly(settings, store, done)
        assert done.archive_rows == 1
        assert len([*in_archive(archive["url"], Sought([WHO]))]) == 1
    finally:
        store.close()


def test_with_a_key_no_raw_id_gets_in_and_readers_find_him_all_the_same(tmp_path: Path) -> None:
    redis = {"url": f"embedded:{tmp_path / 'kept'}"}
    privacy = {"key": "a long enough secret"}
    settings = Settings.model_validate({"redis": redis, "privacy": privacy})
    assert "long enough" not in repr(settings)
    store = Store(settings.redis)
    try:
        replayed(settings, store, write_log(tmp_path / "log.jsonl", the_events()))
        assert [*in_redis(store, Sought([WHO, VISITOR, "bob"]))] == []
        with Client(settings) as client:
            assert client.recommend(WHO).user == WHO
            session = client.session(WHO)
            assert session is not None
            assert (session.user, session.positives) == (WHO, 2)
            other = {"key": "another, new secret", "old_key": "a long enough secret"}
        changed = Settings.model_validate({"redis": redis, "privacy": other})
        with Client(changed) as client:
            assert client.recommend(WHO).user == WHO
        replaced = Pseudonyms(PrivacySettings.model_validate(other)).all_of(WHO)
        assert replaced[1] == Pseudonyms(settings.privacy).of(WHO)
        assert replaced[0] != replaced[1]
    finally:
        store.close()


@pytest.mark.parametrize(
    ("raw", "stands"),
    [
        (b'{"user":"u1"}', True),
        (b"rillet:1:open:0:u1:r7", True),
        (b'{"open":{"u1:r7":[]}}', True),
        (b'{"user":"u11"}', False),
        (b"rillet:1:recs:xu1", False),
    ],
)
def test_an_id_is_found_where_it_is_a_whole_name(raw: bytes, stands: bool) -> None:
    assert Sought(["u1"]).stands_in(raw) is stands


def test_ids_are_found_however_json_spells_them() -> None:
    assert Sought(["zoë"]).stands_in(b'{"user":"zo\\u00eb"}')
    assert Sought(['a"b']).stands_in(b'{"user":"a\\"b"}')


def test_the_command_forgets_in_an_embedded_state(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    redis = {"url": "embedded:kept"}
    settings = Settings.model_validate({"redis": redis})
    store = Store(settings.redis)
    try:
        replayed(settings, store, write_log(tmp_path / "log.jsonl", the_events()))
    finally:
        store.close()
    done = command("forget", WHO, "--redis", "embedded:kept", "--verify", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["events"], report["left"], report["handled"]) == (3, [], True)
    done = command("forget", WHO, "--redis", "embedded:kept", "--verify")
    assert re.search(r"state +0 events", done.stdout)


def test_what_stays_after_the_erasure_is_named_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RILLET_ARCHIVE__URL", "archive")
    forget = ["forget", WHO, "--redis", "embedded:kept", "--verify"]
    older = f"rillet:0:recs:{WHO}"
    archived("archive", [interaction("a", NOON, WHO), interaction("a", NOON, "bob")])
    store = Store(Settings.model_validate({"redis": {"url": "embedded:kept"}}).redis)
    try:
        part = next(Path("archive").rglob("*.parquet"))
        copy = part.parent / "orphan.parquet"  # no span names it: nobody reads it, and it is there
        copy.write_bytes(part.read_bytes())
        store._redis.set(older, "{}")
        store._redis.set(store.keys.session(WHO), encode_session(new_session(WHO)))
        done = CliRunner().invoke(app, [*forget, "--json"])
        report = json.loads(done.stdout)
        assert (done.exit_code, report["handled"], report["archive_rows"]) == (1, True, 1)
        assert report["left"] == [older, f"archive/{copy.relative_to('archive')}"]
        shown = CliRunner().invoke(app, forget)
        assert shown.exit_code == 1
        assert f"he still stands  2 places\n    {older}\n    archive/" in shown.stdout
        assert CliRunner().invoke(app, forget[:-1]).exit_code == 0  # nobody looked
        copy.unlink()
        store._redis.delete(older)
        done = CliRunner().invoke(app, forget)
        assert (done.exit_code, "he still stands  nowhere" in done.stdout) == (0, True)
    finally:
        store.close()


def test_the_scan_names_each_place_where_he_is_left(tmp_path: Path) -> None:
    archive = {"url": str(tmp_path / "archive")}
    settings = Settings.model_validate({"redis": {"url": "embedded:"}, "archive": archive})
    archived(archive["url"], [interaction("a", NOON, "bob")])
    store = Store(settings.redis)
    client, head = store._redis, settings.redis.prefix
    try:
        client.set(f"{head}:1:recs:bob", json.dumps({"seen": WHO}))
        client.set(f"{head}:1:session:{WHO}", "{}")
        client.hset(f"{head}:1:a:hash", WHO, "1")
        client.rpush(f"{head}:1:a:list", WHO)
        client.sadd(f"{head}:1:a:set", WHO)
        client.zadd(f"{head}:1:a:zset", {WHO: 1.0})
        client.xadd(f"{head}:1:a:stream", {"v": WHO})
        client.set("somebody:else", WHO)
        part = next((tmp_path / "archive").rglob("*.parquet"))
        half = part.with_name(f".{part.name}.ab12.tmp")
        half.write_bytes(part.read_bytes()[:100])
        done = Erased([WHO], NOON)
        verify(settings, store, done)
        kinds = ("hash", "list", "set", "zset", "stream")
        keys = [f"{head}:1:recs:bob", f"{head}:1:session:{WHO}"]
        keys += [f"{head}:1:a:{kind}" for kind in kinds]
        left = half.relative_to(tmp_path / "archive")
        assert sorted(done.left or ()) == sorted([*keys, f"{settings.archive.url}/{left}"])
    finally:
        store.close()


@pytest.mark.parametrize("who", ["1", "3", "recs", "session", "17"])
def test_who_is_called_like_a_part_of_a_key_is_not_found_in_others(who: str) -> None:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    keys = store.keys
    try:
        others = [keys.session("bob"), keys.recs("bob"), keys.learner(3), keys.taught(3)]
        others += [keys.open_list(3, "bob:r1"), keys.models(3), keys.replayed("t:0:17")]
        for key in others:
            store._redis.set(key, "{}")
        assert [*in_redis(store, Sought([who]))] == []
        store._redis.set(keys.session(who), "{}")
        store._redis.set(keys.open_list(3, f"{who}:r1"), "{}")
        assert sorted(in_redis(store, Sought([who]))) == sorted(
            [keys.session(who), keys.open_list(3, f"{who}:r1")]
        )
    finally:
        store.close()


def test_his_open_lists_go_and_those_of_who_is_called_almost_alike_stay() -> None:
    settings = Settings.model_validate({"redis": {"url": "embedded:"}})
    store = Store(settings.redis)
    keys = store.keys
    try:
        names = {f"{WHO}:r9": WHO, f"{WHO}:x:r2": f"{WHO}:x", "bob:r3": "bob"}
        for name, user in names.items():
            store._redis.set(keys.open_list(0, name), json.dumps({"user": user}))
        voices = [(WHO, NOON), ("bob", NOON)]
        state = LearnerState(AsOf(0, 7, NOON), {name: [] for name in names}, {}, voices)
        store._redis.set(keys.learner(0), msgspec.json.encode(state))
        store._redis.set(keys.learner(1), "no checkpoint")
        done = Erased([WHO], NOON + 1)
        look_for(store, done)
        assert done.open_lists == 1
        forget_directly(settings, store, done)
        assert sorted(name for name, _ in store.scan("open")) == [
            "0:bob:r3",
            f"0:{WHO}:x:r2",
        ]
        kept = decode_learner(store.get(keys.learner(0)) or b"")
        assert sorted(kept.open) == ["bob:r3", f"{WHO}:x:r2"]
        assert kept.voices == [("", NOON), ("bob", NOON)]
        assert [line for line in done.problems if "learner 1" in line]
        assert decode_tombstone(store.get(keys.forgotten(WHO)) or b"").forgotten == NOON + 1
    finally:
        store.close()
