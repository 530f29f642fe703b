"""What a personalize consumer loses or counts twice when it is stopped between two batches."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from consumers.personalize import Personalize
from consumers.view import LiveView
from features.text import Encoder
from stream.clock import HandClock
from stream.events import Event, Merge, decode, encode
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Writes
from tests.builders import MINUTE, NOON, identify, interaction, item, ranking, search
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
def settings(server: Store) -> Settings:
    redis = {"url": server.url, "prefix": f"personalize{next(_prefixes)}"}
    return Settings.model_validate({"redis": redis, "blend": {"sample": 1.0}})


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
        consumer.assigned({PLACE: 0})
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
    again = sum(1 for e in events if b'"ranking":' in e.value and b'"interaction"' in e.value)
    assert learner.heads["next"].examples == taken * (1 + Settings().blend.negatives)
    assert learner.heads["shown"].examples == 5 * again


def test_what_was_learned_before_a_restart_is_known_after_it(make: Make, store: Store) -> None:
    events = records(a_day())
    half = len(events) // 2
    unbroken = make()
    unbroken.handle(events[:half])
    unbroken.handle(events[half:])
    store.write(Writes(stamped=unbroken.learners.due(10**6, all_of_them=True)))
    restarted = make()
    held = restarted.learners.held[0]
    assert held.offset == len(events) - 1
    assert held.heads["next"].state() == unbroken.learners.held[0].heads["next"].state()


@pytest.mark.xfail(strict=True, reason="states in Redis are ahead of the learner's checkpoint")
def test_what_was_not_checkpointed_is_learned_when_it_is_read_again(
    make: Make, store: Store
) -> None:
    events = records(a_day())
    half = len(events) // 2
    unbroken = make()
    unbroken.handle(events[:half])
    unbroken.handle(events[half:])
    killed = make()
    store.write(killed.handle(events[:half]))
    restarted = make()
    restarted.handle(events[:half])
    restarted.handle(events[half:])
    heads = [one.learners.held[0].heads["next"] for one in (restarted, unbroken)]
    assert heads[0].examples == heads[1].examples
