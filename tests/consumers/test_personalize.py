"""What a personalize consumer loses or counts twice when it is stopped between two batches."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from consumers.learners import KeptLearners
from consumers.personalize import Personalize
from consumers.view import LiveView
from features.card import AsOf
from features.contexts import Contexts
from features.session import encode_session, new_session
from features.text import Encoder
from features.tombstone import SHELL_MS
from models.answer import Answer, decode_answer
from models.arrays import unpack
from models.engine import Engine
from models.retrieval import Retrieval, retrieve
from models.watermark import VOICES
from stream.clock import HandClock
from stream.events import Event, Interaction, Merge, Ranking, decode, encode
from stream.loop import GivenUp
from stream.memory import MemoryBroker, MemorySink
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain, Writes
from tests.builders import (
    HOUR,
    MINUTE,
    NOON,
    forget,
    identify,
    interaction,
    item,
    merge,
    ranking,
    search,
)
from tests.consumers.small_log import a_visit

_prefixes = itertools.count()
Make = Callable[[], Personalize]
PLACE = TopicPartition(Settings().kafka.events, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store
    store.close()


@pytest.fixture
def settings(server: Store, request: pytest.FixtureRequest) -> Settings:
    """Return settings that learn from every positive, or from the share a test names."""
    redis = {"url": server.url, "prefix": f"personalize{next(_prefixes)}"}
    return Settings.model_validate(
        {"redis": redis, "blend": {"sample": getattr(request, "param", 1.0)}}
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.redis)
    yield store
    store.close()


@pytest.fixture
def make(settings: Settings, store: Store, encoder: Encoder) -> Make:
    """Start a consumer, as a process does that has just been given its partition."""

    def start() -> Personalize:
        view = LiveView(settings, store, encoder, transition_partitions=1, every_ms=0)
        consumer = Personalize(settings, store, view, clock=HandClock(NOON + 10**9))
        consumer.assigned([PLACE])
        return consumer

    return start


def records(events: Sequence[Event], first: int = 0) -> list[Record]:
    return [Record(PLACE.topic, 0, at, None, encode(e)) for at, e in enumerate(events, first)]


def merges(writes: Writes) -> list[Merge]:
    found = [decode(one.value) for one in writes.produced if one.topic == PLACE.topic]
    return [one for one in found if isinstance(one, Merge)]


def activity(writes: Writes) -> list[bytes]:
    return [one.value for one in writes.produced if one.topic == Settings().kafka.transitions]


BATCH: list[Event] = [
    interaction("a", NOON, "anon"),
    interaction("b", NOON + 1, "anon"),
    identify("anon", "u", NOON + 2),
    ranking(["a", "b"], NOON + 3, "u", id="r"),
    interaction("b", NOON + 4, "u", ranking="r"),
]


def test_a_batch_that_was_not_written_is_done_alike_again(make: Make) -> None:
    first, again = make().handle(records(BATCH)), make().handle(records(BATCH))
    assert again == first
    assert len(merges(first)) == 1
    assert activity(first)


def test_others_are_told_while_lists_are_made(make: Make) -> None:
    kafka = Settings().kafka
    broker = MemoryBroker({kafka.events: 1, kafka.transitions: 1, kafka.deadletters: 1})
    consumer = make()
    alone = consumer.handle(records(BATCH))
    assert alone.ahead == 0

    class Told(MemorySink):
        def flush(self, timeout_s: float = 30.0) -> None:
            raise AssertionError("waited for before anything was written")

    consumer = make()
    consumer.sink = Told(broker)
    writes = consumer.handle(records(BATCH))
    assert writes.ahead == len(writes.produced) > 1
    assert writes.produced == alone.produced
    told = [one.value for one in broker.records(kafka.transitions)]
    assert sorted(told) == sorted(activity(writes))


def test_a_batch_that_was_written_changes_no_state_again(make: Make, store: Store) -> None:
    store.write(make().handle(records(BATCH)))
    states = dict(store.scan("session"))
    again = make().handle(records(BATCH))
    assert (merges(again), activity(again)) == ([], [])
    store.write(again)
    assert dict(store.scan("session")) == states


def test_an_identify_read_again_hands_over_nothing_that_came_later(
    make: Make, store: Store
) -> None:
    store.write(make().handle(records(BATCH)))
    store.write(make().handle(records([interaction("c", NOON + 9, "anon")], first=5)))
    assert merges(make().handle(records(BATCH))) == []


def test_what_is_merged_is_the_strangers_state_before_he_was_known(make: Make) -> None:
    (merge,) = merges(make().handle(records(BATCH)))
    assert isinstance(merge.state, msgspec.Raw)
    state = msgspec.json.decode(bytes(merge.state))
    assert state["history"]["items"] == ["a", "b"]
    assert (merge.user, merge.anonymous) == ("u", "anon")
    assert state["as_of"]["offset"] == 1


def test_identifying_somebody_unknown_hands_over_nothing(make: Make) -> None:
    assert merges(make().handle(records([identify("nobody", "u")]))) == []


def test_events_that_do_not_belong_here_are_dead_letters(make: Make) -> None:
    strange: list[Event] = [item("x"), search("tea", NOON + 10**10)]
    writes = make().handle(records(strange))
    reasons = [dict(one.headers)["reason"] for one in writes.produced]
    assert reasons == [b"misplaced", b"future"]
    assert writes.stamped == []


def a_day() -> list[Event]:
    chance, events = random.Random(3), list[Event]()
    for n in range(12):
        cluster = "kitchen" if n % 2 else "cycling"
        events += a_visit(f"user{n % 4}", NOON + n * MINUTE * 4, cluster, chance)
    return events


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_examples_do_not_depend_on_the_size_of_batches(make: Make, size: int) -> None:
    consumer, events = make(), records(a_day())
    for first in range(0, len(events), size):
        consumer.handle(events[first : first + size])
    learner = consumer.learners.held[0]
    learner.close_all()
    assert learner.offset == len(events) - 1
    taken = sum(e.value.count(b'"interaction"') for e in events)
    lists = {e.id: e for e in map(decode, (e.value for e in events)) if isinstance(e, Ranking)}
    named = {
        e.ranking for e in map(decode, (e.value for e in events)) if isinstance(e, Interaction)
    }
    shown = sum(len(one.items) for name, one in lists.items() if name in named)
    assert learner.heads["next"].examples == taken
    assert learner.heads["shown"].examples == shown > 0


def test_a_checkpoint_holds_what_lists_taught_that_closed_at_the_logs_end(make: Make) -> None:
    consumer, restored = make(), make().engine
    consumer.handle(records(a_day()))
    learner, shown = consumer.learners.held[0], "counts.total"
    before = unpack(consumer.engine.lists.state())[shown]
    sizes = {f"{e.user}:{e.id}": len(e.items) for e in a_day() if isinstance(e, Ranking)}
    waiting = sum(sizes[name] for name in learner.state(0).open)
    learner.close_all()
    restored.restore(consumer.engine.state())
    assert waiting > 0
    assert unpack(restored.lists.state())[shown][1] == before[1] + waiting


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("settings", [0.2], indirect=True)
def test_few_of_many_are_drawn_alike_however_they_are_read(
    make: Make, store: Store, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.lessons.EARLY", 9)
    monkeypatch.setattr("models.lessons.EARLY_CLICKS", 3)
    one, other, events = make(), make(), records(a_day())
    one.handle(events)
    for first in range(0, len(events), size):
        write(store, other, events[first : first + size])
        write(store, other, events[first : first + size])  # once more, as after a crash
    theirs, mine = other.learners.held[0], one.learners.held[0]
    assert theirs.positives == mine.positives == 36
    assert 9 <= mine.heads["next"].examples < 36
    assert theirs.heads["next"].examples == mine.heads["next"].examples
    assert theirs.clicks == mine.clicks > 3
    for learner in (theirs, mine):
        learner.close_all()
    assert theirs.heads["shown"].examples == mine.heads["shown"].examples > 0


def write(store: Store, consumer: Personalize, some: Sequence[Record]) -> None:
    """Handle a batch and write all of it."""
    store.write(consumer.handle(some))


def ended(consumer: Personalize, store: Store) -> None:
    """Write what a consumer writes when it is told to stop."""
    writes = Writes()
    consumer.learners.checkpoint(writes, models=True)
    store.write(writes)


def test_a_restart_between_two_batches_changes_nothing(make: Make, store: Store) -> None:
    events = records(a_day())
    cuts = [events[at : at + 7] for at in range(0, len(events), 7)]
    unbroken = make()
    for cut in cuts:
        unbroken.handle(cut)
    for cut in cuts:
        restarted = make()
        write(store, restarted, cut)
        ended(restarted, store)
    one, other = unbroken.learners.held[0], restarted.learners.held[0]
    assert other.state(0) == one.state(0)
    assert other.heads["shown"].examples > 0
    assert restarted.engine.state() == unbroken.engine.state()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
def test_a_kill_amid_a_write_teaches_nothing_twice_and_loses_nothing(
    make: Make, store: Store, share: float
) -> None:
    events = records(a_day())
    half = len(events) // 2
    unbroken = make()
    unbroken.handle(events[:half])
    unbroken.handle(events[half:])
    killed = make()
    write(store, killed, events[:half])
    writes = killed.handle(events[half:])
    store.write_stamped(writes.stamped[: round(share * len(writes.stamped))])
    restarted = make()
    write(store, restarted, events[half:])
    one, other = unbroken.learners.held[0], restarted.learners.held[0]
    assert [h.examples for h in other.heads.values()] == [h.examples for h in one.heads.values()]
    assert other.state(0).open == one.state(0).open
    kept, named = {key for key, _ in store.scan("open")}, other.state(0).open
    assert kept >= {f"0:{name}" for name in named}
    # What a kill keeps from being deleted goes by its time of life; before the learner nothing is.
    assert share >= 0.5 or len(kept) == len(named)


def test_a_batch_that_redis_refused_is_learned_from_once(make: Make, store: Store) -> None:
    events = records(a_day())
    half = len(events) // 2
    unbroken, refused = make(), make()
    unbroken.handle(events[:half])
    unbroken.handle(events[half:])
    write(store, refused, events[:half])
    refused.handle(events[half:])
    refused.revoked([PLACE])  # what the loop does when a write has failed for too long
    refused.assigned([PLACE])
    write(store, refused, events[half:])
    for consumer in (unbroken, refused):
        consumer.learners.held[0].close_all()
    one, other = unbroken.learners.held[0], refused.learners.held[0]
    assert [h.examples for h in other.heads.values()] == [h.examples for h in one.heads.values()]
    assert refused.engine.learned == unbroken.engine.learned
    mine, theirs = unpack(unbroken.engine.state()), unpack(refused.engine.state())
    for name in mine.keys() - {"engine.lists"}:  # those still open were scored at another time
        assert np.array_equal(mine[name], theirs[name]), name


def test_users_may_have_rankings_of_one_name(make: Make) -> None:
    lists = [ranking("abc", NOON + n, user, id="home") for n, user in enumerate(("ann", "bob"))]
    click = interaction("b", NOON + 5, "bob", ranking="home")
    consumer = make()
    consumer.handle(records([*lists, click]))
    state = consumer.learners.held[0].state(0)
    assert state.open == {"ann:home": [], "bob:home": ["b"]}


@pytest.mark.parametrize("last", [identify("ann", "bob", NOON + 9), forget("ann", NOON + 9)])
def test_who_is_known_or_forgotten_leaves_no_list_waiting(
    make: Make, store: Store, last: Event
) -> None:
    consumer = make()
    shown = ranking("abc", NOON, "ann", id="home")
    write(store, consumer, records([shown, interaction("b", NOON + 5, "ann", ranking="home")]))
    assert [key for key, _ in store.scan("open")] == ["0:ann:home"]
    write(store, consumer, records([last], first=2))
    assert list(store.scan("open")) == []
    assert consumer.learners.held[0].heads["shown"].examples == 0


def test_what_is_handed_over_moves_no_clock_that_closes_lists(make: Make) -> None:
    """It comes through the topic when another partition got to it, and again after a crash."""
    visitor = msgspec.structs.replace(new_session("anon"), as_of=AsOf(1, 5, NOON))
    users, later = [f"user{n}" for n in range(VOICES)], NOON + HOUR
    late = [merge("anon", encode_session(visitor), user, later) for user in users]
    consumer = make()
    consumer.handle(records([ranking("abc", NOON, "ann", id="home"), *late]))
    learner = consumer.learners.held[0]
    assert list(learner.state(0).open) == ["ann:home"]
    consumer.handle(records([search("tea", later, user) for user in users], first=50))
    assert list(learner.state(0).open) == []


def test_a_learner_that_cannot_be_read_begins_anew(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    write(store, make(), records(a_day()))
    for key in (store.keys.learner(0), store.keys.models(0)):
        store.write_plain([Plain(key, b"{}", 10**6)])
    assert make().learners.held[0].offset == -1
    assert caplog.text.count("cannot be read") == 1
    assert "set aside" in caplog.text


def test_the_most_experienced_sources_are_taken_over(make: Make, store: Store) -> None:
    (young := make()).handle(records(a_day()[:9]))
    (old := make()).handle(records(a_day()))
    life = 10**6
    store.write_plain([Plain(store.keys.models(0), young.engine.state(), life)])
    store.write_plain([Plain(store.keys.models(1), old.engine.state(), life)])
    third = make()
    third.learners.begin([], 2)
    assert third.engine.learned == young.engine.learned  # it had begun with partition 0 alone
    fresh = Engine(third.engine.settings, third.engine.world)
    KeptLearners(fresh.settings, store, fresh, None).begin([], 2)
    assert fresh.learned == old.engine.learned > young.engine.learned


def listed(store: Store, user: str) -> Answer:
    return decode_answer(store.get(store.keys.recs(user)) or b"")


@pytest.mark.parametrize("gone", [forget("ann", NOON + 5), identify("ann", "bob", NOON + 5)])
def test_a_sleeper_does_not_put_back_the_list_of_who_is_gone(
    make: Make, store: Store, gone: Event
) -> None:
    """Who is gone has the list of strangers, for an hour: it refuses an older one of his own."""
    seen = interaction("a", NOON, None, session="ann")
    sleeper = make().handle(records([seen]))
    store.write(make().handle(records([seen, gone])))
    strangers = listed(store, "ann")
    assert (strangers.as_of.offset, len(strangers.items)) == (
        1,
        len(listed(store, "*default*").items),
    )
    refused = store.write(sleeper)
    assert store.keys.recs("ann") in {one.key for one in refused}
    assert listed(store, "ann") == strangers
    assert 0 < store._redis.pttl(store.keys.recs("ann")) <= SHELL_MS


def test_who_was_forgotten_stays_so_when_his_emptied_state_is_gone(
    make: Make, store: Store
) -> None:
    """Neither late events nor a consumer that came too late bring him back."""
    before = [interaction("a", NOON, "ann"), interaction("b", NOON + 1, "ann")]
    store.write(make().handle(records(before)))
    old = store.get(store.keys.session("ann"))
    store.write(make().handle(records([forget("ann", NOON + 5)], first=2)))
    shell = store.get(store.keys.session("ann")) or b""
    for left in (None, old):
        store.write_plain([Plain(store.keys.session("ann"), left, 1000)])
        store.write(make().handle(records([interaction("a", NOON + 4, "ann")], first=3)))
        assert store.get(store.keys.session("ann")) == shell.replace(b'"offset":2', b'"offset":3')
        assert [why for one in listed(store, "ann").items for why in one.reasons if why.item] == []
    store.write_plain([Plain(store.keys.session("ann"), None)])
    store.write(make().handle(records([interaction("c", NOON + 6, "ann")], first=4)))
    again = msgspec.json.decode(store.get(store.keys.session("ann")) or b"")
    assert (again["history"]["items"], again["events"], again["forgotten"]) == (["c"], 1, NOON + 5)
    (stone,) = store.scan("forgotten")
    assert "ann" not in stone[0]
    assert b"ann" not in stone[1]


def test_no_voice_of_a_forgotten_user_stays_in_a_checkpoint(make: Make, store: Store) -> None:
    events: list[Event] = [
        ranking(["a", "b"], NOON, "ann", id="r"),
        ranking(["a", "b"], NOON + 1, "bob", id="r"),
        interaction("a", NOON + 2, "ann"),
    ]
    store.write(make().handle(records(events)))
    assert b"ann" in (store.get(store.keys.learner(0)) or b"")
    store.write(make().handle(records([forget("ann", NOON + 5)], first=3)))
    raw = store.get(store.keys.learner(0)) or b""
    assert b"ann" not in raw
    assert b"bob:r" in raw


@pytest.mark.parametrize("cut", [2, 3, 4])
def test_what_one_that_lost_the_partition_learned_meanwhile_is_not_lost(
    make: Make, store: Store, cut: int
) -> None:
    """It slept, its partition was given away, and it went on before it knew."""
    events = records(BATCH)
    undisturbed = make()
    undisturbed.handle(events)
    sleeper = make()
    store.write(sleeper.handle(events[:cut]))
    owner = make()  # has loaded the learner as it is now
    store.write(sleeper.handle(events[cut:]))
    with pytest.raises(GivenUp):
        owner.handle(events[cut:])
    owner.revoked([PLACE])
    owner.assigned([PLACE])
    store.write(owner.handle(events[cut:]))
    for name, head in undisturbed.learners.held[0].heads.items():
        assert owner.learners.held[0].heads[name].examples == head.examples
    assert undisturbed.learners.held[0].positives == owner.learners.held[0].positives == 3


def test_reading_again_what_was_written_is_not_taken_for_another_process(
    make: Make, store: Store
) -> None:
    one = make()
    store.write(one.handle(records(BATCH)))
    assert activity(one.handle(records(BATCH))) == []


@pytest.mark.parametrize(("most", "looks"), [(128, 1), (5, 1), (4, 2), (1, 5)])
def test_sources_are_asked_once_where_lessons_and_lists_are_few(
    make: Make, monkeypatch: pytest.MonkeyPatch, most: int, looks: int
) -> None:
    asked = list[int]()

    def counted(sources: Any, contexts: Contexts, *more: Any) -> Retrieval:
        asked.append(len(contexts))
        return retrieve(sources, contexts, *more)

    monkeypatch.setattr("models.engine.retrieve", counted)
    monkeypatch.setattr("models.engine.MOST", most)
    bought = [interaction("a", NOON, "ann"), interaction("b", NOON + 1, "bob")]
    writes = make().handle(records(bought))
    # two positives; then both users' lists, and the one for everybody
    assert sum(asked) == 5
    assert len(asked) == looks
    keys = [one.key for one in writes.stamped] + [one.key for one in writes.plain]
    assert sum(":recs:" in key for key in keys) == 3
