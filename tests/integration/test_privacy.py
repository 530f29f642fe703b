"""Forgetting, dead letters and silent logs with a real Kafka, a real Redis and real consumers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from models.answer import decode_answer
from rillet.client import Client
from rillet.letter_erasure import erase_letters
from rillet.replayed import replay_letters
from stream.archive.reader import read_archive
from stream.deadletters import dead_letter
from stream.errors import BrokerError, LogError
from stream.events import BadRecord
from stream.kafka import KafkaSink
from stream.letters import letter_of
from stream.pseudonyms import pseudonyms_of
from stream.records import Outgoing, Record
from stream.scanning import Sought, in_archive, in_redis
from stream.settings import Settings, load_settings
from stream.store import Store
from stream.topics import ensure_topics, read_topic
from tests.integration.live import Rillet, Start, eventually

WHO, VISITOR, OTHER = "zanzibar-17", "cookie-99", "quetzal-4"


def told(rillet: Rillet, *words: str, code: int = 0) -> Any:
    done = rillet(*words, "--json")
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def deed(user: str, item: str, at: int = 0, **more: Any) -> dict[str, Any]:
    event = {"event": "interaction", "type": "view", "user": user, "item": item} | more
    return event | ({"timestamp": at} if at else {})


def dead(settings: Settings) -> list[str]:
    found = read_topic(settings.kafka, settings.kafka.deadletters)
    return sorted(letter_of(record).record.value.decode() for record in found)


def publish(settings: Settings, client: Client) -> None:
    """Publish what two users and a visitor did, with three records that are no events."""
    now = time.time_ns() // 1_000_000
    shown = {"event": "ranking", "id": "r1", "items": [{"id": name} for name in "abc"]}
    events = [deed(VISITOR, "a", now - 60_000), deed(OTHER, "b", now - 50_000)]
    events.append({"event": "identify", "anonymous": VISITOR, "user": WHO})
    client.publish([*events, deed(WHO, "b"), shown | {"user": WHO}, deed(WHO, "a", ranking="r1")])
    client.publish(shown | {"user": OTHER})
    with KafkaSinkOf(settings) as sink:
        for user in (WHO, OTHER):
            bad = json.dumps({"event": "interaction", "user": user, "timestamp": "noon"})
            sink.send(Outgoing(settings.kafka.events, bad.encode(), key=user.encode()))
        sink.send(Outgoing(settings.kafka.events, b"%s, broken" % WHO.encode(), key=None))
        sink.flush()
    client.flush()


def in_files(url: str, who: str) -> int:
    """Return how many rows of a user the archive has."""
    try:
        batches = list(read_archive(url, columns=["user"]))
    except LogError:  # not begun
        return 0
    return sum(batch.column("user").to_pylist().count(who) for batch in batches)


def test_a_user_is_forgotten_everywhere_and_no_log_names_him(
    rillet: Rillet, start: Start, variables: dict[str, str], tmp_path: Path, settings: Settings
) -> None:
    url = variables["RILLET_ARCHIVE__URL"] = str(tmp_path / "archive")
    variables["RILLET_ARCHIVE__MAX_S"] = "1"
    ensure_topics(settings.kafka)
    running = [start("consume", name) for name in ("personalize", "archive")]
    store = Store(settings.redis)
    with Client(settings) as client:
        publish(settings, client)

        def events_of(user: str) -> int:
            session = client.session(user)
            return session.events if session is not None else 0

        eventually(lambda: (events_of(WHO), events_of(OTHER)) == (4, 2), running[0].said)
        eventually(lambda: (in_files(url, WHO), in_files(url, OTHER)) == (4, 2), running[1].said)
        assert len(dead(settings)) == 3
        assert len([*in_redis(store, Sought([WHO]))]) >= 3

        report = told(rillet, "forget", WHO, "--verify", "--wait", "40")
        assert (report["handled"], report["left"], report["problems"]) == (True, [], [])
        assert (report["lists"], report["dead_letters"], report["events"]) == (1, 2, 4)
        assert report["archive_rows"] >= 5  # the visitor's too
        assert [*in_redis(store, Sought([WHO]))] == []
        assert [*in_archive(url, Sought([WHO, VISITOR]))] == []
        (letter,) = dead(settings)
        assert OTHER in letter

        client.publish(deed(WHO, "c", report["forgotten_at"] - 1000))  # from before, and late
        client.publish(deed(WHO, "b"))  # a new life
        client.flush()
        eventually(lambda: events_of(WHO), running[0].said)
        session = client.session(WHO)
        assert session is not None
        assert (session.events, session.history.items) == (1, ["b"])
        assert events_of(OTHER) == 2
    store.close()
    for one in running:
        assert one.end() == 0, one.said()
        for name in (WHO, VISITOR, OTHER):
            assert name not in one.said()


class KafkaSinkOf:
    """A sink that is closed at the end."""

    def __init__(self, settings: Settings) -> None:
        self.sink = KafkaSink(settings.kafka)

    def __enter__(self) -> KafkaSink:
        return self.sink

    def __exit__(self, *_: object) -> None:
        self.sink.close()


def test_dead_letters_are_listed_shown_and_replayed_once(
    rillet: Rillet, settings: Settings
) -> None:
    ensure_topics(settings.kafka)
    topics = settings.kafka
    tea = b'{"event":"search","user":"zanzibar-17","query":"tea","timestamp":1795545000000}'
    with KafkaSinkOf(settings) as sink:
        for at, (reason, raw) in enumerate([("malformed", b"no json"), ("future", tea)]):
            record = Record(topics.events, 0, at, WHO.encode(), raw)
            bad = BadRecord(reason, "", "as it is", raw)
            sink.send(dead_letter(bad, record, topics.deadletters))
        sink.flush()
    listed = told(rillet, "deadletters", "list")
    assert [(one["reason"], one["count"]) for one in listed] == [("future", 1), ("malformed", 1)]
    letter = told(rillet, "deadletters", "show", "--where", "reason=future")
    assert (letter["key"], letter["record"], letter["offset"]) == (WHO, tea.decode(), 1)
    replay = ("deadletters", "replay", "--all")
    assert told(rillet, *replay, "--dry-run")["sent"] == 1
    done = told(rillet, *replay)
    assert (done["sent"], done["before"], list(done["passed"].values())) == (1, 0, [1])
    done = told(rillet, *replay)
    assert (done["sent"], done["before"]) == (0, 1)
    (sent,) = read_topic(topics, topics.events)
    assert (sent.key, sent.value) == (WHO.encode(), tea)
    assert rillet("deadletters", "replay").returncode == 2


def test_what_a_crash_left_in_doubt_is_named_and_not_sent_again(settings: Settings) -> None:
    ensure_topics(settings.kafka)
    raw = b'{"event":"search","user":"u","query":"tea","timestamp":1795545000000}'
    record = Record(settings.kafka.events, 0, 5, b"u", raw)
    out = dead_letter(BadRecord("future", "", "", raw), record, "dead")
    letter = letter_of(Record("dead", 0, 0, out.key, out.value, 0, out.headers))
    store = Store(settings.redis)
    try:
        with pytest.raises(BrokerError):
            replay_letters([letter], settings, store, Failing())
        with KafkaSinkOf(settings) as sink:
            done = replay_letters([letter], settings, store, sink)
            assert (done.sent, done.doubtful) == (0, 1)
            assert replay_letters([letter], settings, store, sink, again=True).sent == 1
        assert len(list(read_topic(settings.kafka, settings.kafka.events))) == 1
        assert replay_letters([letter], settings, store, None).before == 1
    finally:
        store.close()


class Failing:
    """A sink that takes records and cannot say what became of them: a crash before the answer."""

    def send(self, record: Outgoing) -> None:
        pass

    def flush(self, timeout_s: float = 0) -> None:
        raise BrokerError("no answer")

    def close(self) -> None:
        pass


def test_letters_of_others_keep_their_headers_and_are_there_once(
    settings: Settings,
) -> None:
    ensure_topics(settings.kafka)
    topic = settings.kafka.deadletters
    with KafkaSinkOf(settings) as sink:
        for at in range(40):
            user = WHO if at % 4 == 0 else f"other-{at}"
            raw = json.dumps({"user": user}).encode()
            headers = (("reason", b"malformed"), ("topic", b"t"), ("partition", b"0"))
            here = (*headers, ("offset", b"%d" % (at // 2 if at % 4 == 3 else at)))
            sink.send(Outgoing(topic, raw, user.encode(), at % 2, here))
        sink.flush()
    names = {letter_of(one).name for one in read_topic(settings.kafka, topic)}
    assert erase_letters(settings.kafka, [WHO]) == 10
    left = [letter_of(one) for one in read_topic(settings.kafka, topic)]
    assert not any(WHO in one.record.value.decode() for one in left)
    assert len({one.name for one in left}) == len(left)
    assert {one.name for one in left} <= names
    assert erase_letters(settings.kafka, [WHO]) == 0


def test_pseudonyms_are_rotated_and_readers_find_him_all_along(
    rillet: Rillet,
    start: Start,
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    first, second = "the first long secret", "the second long secret"
    for place in (variables.__setitem__, monkeypatch.setenv):
        place("RILLET_PRIVACY__KEY", first)
    ensure_topics(settings.kafka)
    running = [start("consume", name) for name in ("personalize",)]
    settings = load_settings()
    with Client(settings) as client:
        client.publish([deed(WHO, "a"), deed(WHO, "b")])
        client.flush()
        eventually(lambda: (found := client.session(WHO)) and found.events == 2, running[0].said)
    old = pseudonyms_of(settings.privacy).of(WHO)
    for place in (variables.__setitem__, monkeypatch.setenv):
        place("RILLET_PRIVACY__KEY", second)
        place("RILLET_PRIVACY__OLD_KEY", first)
    settings = load_settings()
    users = tmp_path / "users.txt"
    users.write_text(f"{WHO}\n")
    with Client(settings) as client:
        assert client.recommend(WHO).user == WHO
        assert told(rillet, "privacy", "rotate", "--users", str(users)) == {"users": 1}
        new = pseudonyms_of(settings.privacy).of(WHO)
        store = Store(settings.redis)
        eventually(lambda: store.get(store.keys.recs(new)), running[0].said)
        strangers = decode_answer(store.get(store.keys.recs(old)) or b"")
        assert not any(why.item for one in strangers.items for why in one.reasons)
        session = client.session(WHO)
        assert session is not None
        assert session.history.items == ["a", "b"]
        assert rillet("privacy", "id", WHO).stdout.split() == [new, old]
        assert [*in_redis(store, Sought([WHO]))] == []
        store.close()
    assert read_keys(settings) <= {new, old}
    for one in running:
        assert one.end() == 0
        for secret in (first, second, WHO):
            assert secret not in one.said()


def read_keys(settings: Settings) -> set[str]:
    return {(one.key or b"").decode() for one in read_topic(settings.kafka, settings.kafka.events)}
