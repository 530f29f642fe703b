"""States without lists: what is imported is what a replay leaves, and live ones go on from it."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.importing import Import, Imported
from consumers.replay import Replay
from features.session import encode_session, is_new
from features.text import Encoder
from rillet.cli.emptied import emptied
from stream.clock import HandClock
from stream.errors import LogError
from stream.events import Delete, Event
from stream.pseudonyms import pseudonyms_of
from stream.scanning import Sought, in_redis
from stream.settings import Settings
from stream.store import Store
from stream.writes import Stamped
from tests.builders import DAY, MINUTE, NOON, identify, interaction, item, write_log
from tests.consumers.small_log import BATCH, FORGOTTEN, Result, Run, the_items, the_log

KINDS = ("session", "forgotten", "item", "itemstate", "neighbours")


class Place:
    """A Redis, and what may be done to it."""

    def __init__(self, folder: Path, encoder: Encoder, settings: Settings) -> None:
        self.folder, self.encoder, self.settings = folder, encoder, settings
        self.store = Store(settings.redis)
        self.logs = itertools.count()

    def log(self, events: Sequence[Event]) -> Path:
        return write_log(self.folder / f"{next(self.logs)}.jsonl", events)

    def take(self, events: Sequence[Event]) -> Imported:
        engine = Import(self.settings, self.store, self.encoder, HandClock(NOON + 30 * DAY))
        return engine.run(self.log(events))

    def replay(self, events: Sequence[Event]) -> Result:
        replay = Replay(self.settings, self.store, self.encoder)
        replay.run(self.log(events))
        return Result(replay, self.store)


@pytest.fixture
def place(tmp_path: Path, encoder: Encoder, redis_url: str) -> Iterator[Callable[..., Place]]:
    places: list[Place] = []

    def make(**groups: Any) -> Place:
        redis = {"url": redis_url, "prefix": f"import-{tmp_path.name}-{len(places)}"}
        options: dict[str, Any] = {"redis": redis, "batch": {"max_records": BATCH}} | groups
        places.append(Place(tmp_path, encoder, Settings.model_validate(options)))
        return places[-1]

    yield make
    for one in places:
        one.store.close()


def states(store: Store) -> dict[str, dict[str, Any]]:
    """Return what was folded, without the places where it was read."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        for name, raw in store.scan(kind):
            value = msgspec.json.decode(raw)
            value.pop("seen", None)
            value["as_of"] = value["as_of"]["event_time"] if kind == "session" else 0
            value["merged"] = sorted(value.get("merged", ()))
            found[f"{kind} {name}"] = value
    return found


def test_what_is_imported_is_what_a_replay_leaves_but_for_its_stamps(
    place: Callable[..., Place], usual: Result
) -> None:
    one = place()
    done = one.take(the_log())
    assert states(one.store) == states(usual.store)
    assert {kind for kind in KINDS if next(one.store.scan(kind), None)} == set(KINDS)
    assert next(one.store.scan("recs"), None) is None
    assert next(one.store.scan("learner"), None) is None
    assert (done.events, done.bad) == (len(the_log()), 0)
    assert done.users == len({f"user{n}" for n in range(10)} | {"stranger"})


@pytest.mark.parametrize("step", [1, 7, 100])
def test_how_much_is_read_at_once_changes_nothing(
    place: Callable[..., Place], usual: Result, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.importing.AT_ONCE", step)
    monkeypatch.setattr("consumers.deeds.KEPT_BYTES", 0)
    monkeypatch.setattr("consumers.deeds.CACHED", 1)
    one = place(session={"cached": 2})
    one.take(the_log())
    assert states(one.store) == states(usual.store)


def test_the_first_record_of_any_partition_is_newer(place: Callable[..., Place]) -> None:
    one = place()
    one.take(the_log())
    for kind in KINDS:
        for name, raw in one.store.scan(kind):
            assert msgspec.json.decode(raw)["as_of"]["partition"] == -1, (kind, name)
    (user, session), *_ = Result(None, one.store).sessions().items()  # type: ignore[arg-type]
    assert is_new(session, 0, 0)
    stamped = Stamped(one.store.keys.session(user), encode_session(session), 0, 0, 1000)
    assert one.store.write_stamped([stamped]) == []


def test_consumers_go_on_from_what_was_imported(
    place: Callable[..., Place], run: Run, usual: Result
) -> None:
    log = the_log()
    half = next(at for at, event in enumerate(log) if event.timestamp >= NOON + 200 * MINUTE)
    one = place()
    one.take(log[:half])
    result = one.replay(log[half:])
    assert states(one.store) == states(usual.store)
    lists = result.answers()
    assert lists.keys() == {user for user in usual.answers() if user != "stranger"}
    assert all(answer.items for answer in lists.values())


def test_another_import_finds_who_was_forgotten_forgotten_and_nobody_else(
    place: Callable[..., Place],
) -> None:
    one = place()
    one.take(the_log())
    before = states(one.store)
    with emptied(one.settings, fresh=True):
        assert next(one.store.scan("session"), None) is None
    again = [event for event in the_log() if not isinstance(event, Delete)]
    one.take(again)
    after = states(one.store)
    assert Result(None, one.store).sessions()[FORGOTTEN].events == 0  # type: ignore[arg-type]
    assert after["session user2"] == before["session user2"]
    assert after["session user2"]["merged"] == ["stranger"]


def test_persons_are_named_by_pseudonyms(place: Callable[..., Place]) -> None:
    one = place(privacy={"key": "a secret of your own"})
    log = [*the_items(), interaction("k1", NOON, None, session="stranger")]
    one.take([*log, identify("stranger", "alice", NOON + 1), interaction("c1", NOON + 2, "alice")])
    assert [*in_redis(one.store, Sought(["alice", "stranger"]))] == []
    name = pseudonyms_of(one.settings.privacy).of("alice")
    assert Result(None, one.store).sessions()[name].history.items == ["k1", "c1"]  # type: ignore[arg-type]


def test_what_is_from_the_future_is_bad(place: Callable[..., Place]) -> None:
    one = place()
    late = interaction("k1", NOON + 40 * DAY, "alice")
    done = one.take([*the_items(), late, item("k2", NOON + 40 * DAY, price=1.0)])
    assert done.bad == 2
    assert done.users == 0
    assert next(one.store.scan("session"), None) is None


def test_who_is_only_named_has_no_state(place: Callable[..., Place]) -> None:
    one = place()
    done = one.take([*the_items(), identify("nobody", "bob", NOON)])
    assert done.users == 1
    assert Result(None, one.store).sessions().keys() == {"nobody"}  # type: ignore[arg-type]


def test_a_visitor_is_handed_over_at_once(place: Callable[..., Place]) -> None:
    one = place()
    seen = interaction("k1", NOON, None, session="stranger")
    bought = interaction("c1", NOON + MINUTE, "alice", type="purchase")
    one.take([*the_items(), seen, identify("stranger", "alice", NOON + 1), bought])
    found = Result(None, one.store).sessions()  # type: ignore[arg-type]
    assert found["alice"].history.items == ["k1", "c1"]
    assert found["stranger"].events == 0


def test_bad_records_are_counted_and_let_lie(place: Callable[..., Place]) -> None:
    one = place()
    log = one.log(the_log())
    log.write_bytes(log.read_bytes() + b'{"event":"interaction","user":"x"}\nno json\n')
    done = Import(one.settings, one.store, one.encoder, HandClock(NOON + 30 * DAY)).run(log)
    assert done.bad == 2
    assert done.report()["events"] == len(the_log()) + 2


def test_what_came_before_the_damage_of_a_log_is_imported(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = place(), place()
    log = the_log()
    monkeypatch.setattr("consumers.importing.AT_ONCE", 1)
    monkeypatch.setattr("stream.log._CHUNK", 64)  # so that lines come before the damage is met
    damaged = one.folder / "damaged.jsonl.gz"
    damaged.write_bytes(gzip.compress(one.log(log).read_bytes())[:-8])
    with pytest.raises(LogError, match="ends after line") as told:
        Import(one.settings, one.store, one.encoder, HandClock(NOON + 30 * DAY)).run(damaged)
    whole = int(str(told.value).rsplit("line ", 1)[1].split()[0].rstrip(";,."))
    other.take(log[:whole])
    assert states(other.store)
    assert states(one.store) == states(other.store)
