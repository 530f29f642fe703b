"""A user who goes as fast as a robot: remembered within bounds, told, and in nobody's way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from consumers.personalize import Personalize
from consumers.view import LiveView
from features.session import decode_session
from features.text import Encoder
from features.tombstone import decode_tombstone
from stream import metrics
from stream.clock import HandClock
from stream.events import Event, encode
from stream.metrics import Heart, Pulse
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Writes
from tests.builders import MINUTE, NOON, forget, interaction, ranking, search

_prefixes = itertools.count()
PLACE = TopicPartition(Settings().kafka.events, 0)
MOST = 20
Make = Callable[..., Personalize]


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store
    store.close()


@pytest.fixture
def make(server: Store, encoder: Encoder) -> Iterator[Make]:
    stores: list[Store] = []

    def start(most: int = MOST) -> Personalize:
        redis = {"url": server.url, "prefix": f"busy{next(_prefixes)}"}
        limits = {"user_events_per_minute": most}
        settings = Settings.model_validate({"redis": redis, "limits": limits})
        stores.append(Store(settings.redis))
        view = LiveView(settings, stores[-1], encoder, transition_partitions=1, every_ms=0)
        for number in range(30):
            view.world.catalogue.ensure(f"i{number}")
        consumer = Personalize(settings, stores[-1], view, clock=HandClock(NOON + 10**9))
        consumer.assigned([PLACE])
        metrics.reset()
        return consumer

    yield start
    for store in stores:
        store.close()


def records(events: Sequence[Event], first: int = 0) -> list[Record]:
    return [Record(PLACE.topic, 0, at, None, encode(e)) for at, e in enumerate(events, first)]


def clicks(user: str, many: int, at: int = NOON) -> list[Event]:
    return [interaction(f"i{n % 30}", at + n, user) for n in range(many)]


def written(writes: Writes, kind: str) -> list[str]:
    """Return the names in the keys of a kind, in the order of writing."""
    return [one.key.rsplit(":", 1)[1] for one in writes.stamped if f":{kind}:" in one.key]


def examples(consumer: Personalize) -> int:
    return consumer.learners.held[0].heads["next"].examples


def test_nothing_is_learned_from_what_goes_beyond_the_rate(make: Make) -> None:
    consumer = make()
    writes = consumer.handle(records(clicks("bot", 10 * MOST)))
    assert examples(consumer) == MOST
    told = [msgspec.json.decode(one.value) for one in writes.produced]
    assert sum(one.get("name", []).count("taken") for one in told) == MOST
    assert metrics.counters()["busy"] == 9 * MOST


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_counts_does_not_depend_on_batches_or_restarts(make: Make, size: int) -> None:
    consumer = make()
    events = records([*clicks("bot", 50), *clicks("bot", 50, NOON + 2 * MINUTE)])
    for first in range(0, len(events), size):
        consumer._sessions._store.write(consumer.handle(events[first : first + size]))
        consumer.revoked([PLACE])
        consumer.assigned([PLACE])
    assert examples(consumer) == 2 * MOST


def test_all_is_remembered_that_he_did_and_no_more_than_of_others(make: Make) -> None:
    consumer = make()
    last: list[Event] = [search("tea", NOON + 5000, "bot"), ranking("abc", NOON + 5001, "bot")]
    writes = consumer.handle(records([*clicks("bot", 900), *last]))
    (raw,) = (one.value for one in writes.stamped if ":session:" in one.key)
    session = decode_session(raw)
    assert session.events == session.pace.events == 902
    assert session.windows.totals["click"] == 900
    assert session.situation.query == "tea"
    assert len(session.history.items) == 100
    assert len(raw) < 20_000


def test_others_lists_come_in_the_same_batch_and_first(make: Make) -> None:
    consumer = make()
    events = [*clicks("bot", 400), *clicks("ann", 2, NOON + 900), *clicks("bob", 3, NOON + 950)]
    lists = written(consumer.handle(records(events)), "recs")
    assert lists == ["ann", "bob", "bot"]
    assert examples(consumer) == MOST + 5


def test_the_heartbeat_names_him_and_not_the_others(make: Make) -> None:
    consumer = make()
    consumer.handle(records([*clicks("bot", 400), *clicks("ann", MOST)]))
    pulse = msgspec.json.decode(Heart("personalize", "g").pulse(0, {}, {}), type=Pulse)
    assert pulse.busy == {"bot": 400}


def test_the_fastest_are_told_and_only_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("stream.metrics.time.monotonic", lambda: now)
    metrics.reset()
    for number in range(300):
        metrics.note_busy(f"u{number}", number)
    assert list(metrics.busiest().items())[:2] == [("u299", 299), ("u298", 298)]
    assert len(metrics.busiest()) == 10
    now = 161.0
    metrics.note_busy("u1", 7)
    assert metrics.busiest() == {"u1": 7}


def test_without_a_limit_nobody_is_busy(make: Make) -> None:
    consumer = make(0)
    consumer.handle(records(clicks("bot", 300)))
    assert examples(consumer) == 300
    assert metrics.busiest() == {}


def test_who_is_forgotten_is_named_no_more(make: Make) -> None:
    consumer = make()
    consumer.handle(records(clicks("bot", 400)))
    assert list(metrics.busiest()) == ["bot"]
    consumer.handle(records([forget("bot", NOON + 900)], first=400))
    assert metrics.busiest() == {}


@pytest.mark.parametrize("cuts", [(3,), (1, 2), (1, 1, 1), (2, 1)])
def test_a_tombstone_is_the_same_however_batches_are_cut(make: Make, cuts: tuple[int, ...]) -> None:
    """Also where he acts again in the batch in which he is forgotten."""
    consumer = make()
    consumer.handle(records(clicks("ann", 1)))
    late, anew = interaction("i1", NOON + 5, "ann"), interaction("i2", NOON + 500, "ann")
    events = records([forget("ann", NOON + 10), late, anew], first=1)
    store, first = consumer._sessions._store, 0
    for many in cuts:
        store.write(consumer.handle(events[first : first + many]))
        first += many
    stone = decode_tombstone(store.get(store.keys.forgotten("ann")) or b"")
    assert (stone.as_of.offset, stone.forgotten) == (1, NOON + 10)
    session = decode_session(store.get(store.keys.session("ann")) or b"")
    assert (session.events, session.forgotten) == (1, NOON + 10)
