"""How often the console reads Redis, and what it keeps of that."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from consumers.embedded import Embedded
from features.card import AsOf, ItemCard, encode_card
from features.stored import encode_session
from models.answer import Answer, encode_answer
from rillet.console.desk import Desk
from rillet.console.once import Once
from rillet.console.watch import EVERY_S, Watch
from rillet.heartbeats import Heartbeats
from rillet.serving.service import Service
from rillet.state import State, look
from stream.errors import RilletError, StoreError
from stream.metrics import Heart
from stream.records import TopicPartition
from stream.settings import Settings, load_settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import folded, interaction

DAY_MS = 86_400_000
SCANS = ("scan", "names")


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(load_settings(redis={"url": "embedded:"}).redis)
    yield made
    made.close()


@pytest.fixture
def settings(store: Store) -> Settings:
    return load_settings(redis={"url": store.url}, kafka={"bootstrap": "127.0.0.1:1"})


@pytest.fixture
def home() -> Iterator[Path]:
    # A socket's path must be short, which pytest's folders are not everywhere.
    made = Path(tempfile.mkdtemp(prefix="rillet-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the walks through all of Redis, by kind of key."""
    found: Counter[str] = Counter()

    def counted(walk: Callable[[Store, str], Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def walked(store: Store, kind: str) -> Iterator[Any]:
            found[kind] += 1
            return walk(store, kind)

        return walked

    for name in SCANS:
        monkeypatch.setattr(Store, name, counted(getattr(Store, name)))
    return found


@asynccontextmanager
async def desk_of(settings: Settings, engine: Embedded | None = None) -> AsyncIterator[Desk]:
    service = Service(settings, None, engine)
    await service.start()
    try:
        yield Desk(service)
    finally:
        await service.close()


def put(store: Store, **titles: str) -> None:
    cards = [ItemCard(AsOf(0, 1, 1), item, title=title) for item, title in titles.items()]
    store.write_plain([Plain(store.keys.item(one.item), encode_card(one), DAY_MS) for one in cards])


def visit(store: Store, *users: str) -> None:
    states = {user: encode_session(folded([interaction("a", user=user)])) for user in users}
    store.write_plain([Plain(store.keys.session(u), raw, DAY_MS) for u, raw in states.items()])


def again(desk: Desk) -> None:
    """Have the shelf be due, as it is after a while."""
    desk.shelf._pace._next = 0.0


async def together(*what: Awaitable[Any]) -> None:
    await asyncio.gather(*what)


def test_pages_that_are_opened_at_once_walk_through_redis_once(
    settings: Settings, store: Store, scans: Counter[str]
) -> None:
    put(store, a="Tea")

    async def opened() -> None:
        async with desk_of(settings) as desk:
            await together(*(desk.load() for _ in range(8)))
            await desk.load()  # a moment later
            assert desk.shelf.cards["a"].title == "Tea"

    asyncio.run(opened())
    assert scans == {"item": 1, "session": 1}


def test_what_has_changed_is_read_anew(settings: Settings, store: Store) -> None:
    put(store, a="Tea", b="Cup")
    visit(store, "ann", "bob")

    async def opened() -> None:
        async with desk_of(settings) as desk:
            await desk.load()
            assert desk.shelf.users == ["ann", "bob"]
            answer = Answer(AsOf(0, 1, 1), "ann", [], "blend-1", [], 1)
            for user in ("ann", "bob"):
                desk.note(user, "seen", None, answer)
            put(store, a="Green tea")
            gone = [store.keys.session("ann"), store.keys.item("b")]
            store.write_plain([Plain(key, None, 0) for key in gone])
            again(desk)
            await desk.load()
            assert desk.shelf.users == ["bob"]
            assert {name: card.title for name, card in desk.shelf.cards.items()} == {
                "a": "Green tea"
            }
            assert desk.seen("ann") == ()
            assert len(desk.seen("bob")) == 1

    asyncio.run(opened())


def test_a_bounded_number_of_cards_is_kept(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rillet.console.shelf.MOST", 3)
    names = [f"i{n}" for n in range(20)]
    put(store, **{name: f"thing {name}" for name in names})

    async def opened() -> None:
        async with desk_of(settings) as desk:
            shelf = desk.shelf
            await desk.load()
            browsed = shelf.browse("", "")
            others = [name for name in names if name not in browsed]
            for name in others:
                await shelf.need([name, others[0]])
            assert set(shelf.cards) == {*browsed, others[0], *others[-2:]}
            put(store, **{others[0]: "renamed"})
            again(desk)
            await desk.load()
            assert shelf.cards[others[0]].title == "renamed"
            assert len(await shelf.need(names)) == 20

    asyncio.run(opened())


def test_without_redis_what_was_read_is_gone_on_with(settings: Settings, store: Store) -> None:
    put(store, a="Tea")

    async def opened() -> None:
        async with desk_of(settings) as desk:
            await desk.load()
            store.close()
            again(desk)
            await desk.load()
            assert desk.shelf.browse("", "tea") == ["a"]
        async with desk_of(settings) as fresh:
            with pytest.raises(StoreError):
                await fresh.load()

    asyncio.run(opened())


def test_operations_asks_once_for_all_pages(
    scans: Counter[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    settings = load_settings(redis={"url": f"embedded:{home}"})
    looks: Counter[str] = Counter()

    def counted(*given: Any, **named: Any) -> State:
        looks["look"] += 1
        return look(*given, **named)

    monkeypatch.setattr("rillet.console.watch.look", counted)

    async def opened() -> None:
        async with desk_of(settings, Embedded(settings)) as desk:
            watch = Watch(desk.service)
            watch._heartbeats = Heartbeats(clock=lambda: 0.0)
            await together(*(watch.seen() for _ in range(8)))
            watch._asked_at -= EVERY_S
            await watch.seen()

    asyncio.run(opened())
    assert looks["look"] == 2
    assert (scans["process"], scans["learner"]) == (1, 0)


def test_a_page_that_is_closed_does_not_end_the_run_of_others() -> None:
    runs: list[str] = []

    async def work() -> None:
        runs.append("begun")
        await asyncio.sleep(0.01)
        runs.append("done")

    async def pages() -> None:
        once = Once(work)
        closed = asyncio.create_task(once())
        other = asyncio.create_task(once())
        await asyncio.sleep(0)
        closed.cancel()
        await other

    asyncio.run(pages())
    assert runs == ["begun", "done"]


def test_the_processes_of_a_consumer_are_one_curve(home: Path) -> None:
    settings = load_settings(redis={"url": f"embedded:{home}"})
    engine = Embedded(settings)  # which is not begun: all heartbeats are these
    store = Store(settings.redis, make=False)

    def beat(name: str, pid: int, lag: int) -> None:
        heart = Heart(name, "group")
        heart.pid = pid
        raw = heart.pulse(1000, {TopicPartition("events", 0): lag}, {})
        store.write_plain([Plain(store.keys.heartbeat(heart.process), raw, Heart.LIFE_MS)])

    for name, pid, lag in (("personalize", 1, 3), ("personalize", 2, 4), ("neighbours", 3, 5)):
        beat(name, pid, lag)

    async def opened() -> Watch:
        async with desk_of(settings, engine) as desk:
            watch = Watch(desk.service)
            await watch.seen()
            beat("neighbours", 3, 0)
            watch._asked_at -= EVERY_S
            await watch.seen()
            return watch

    watch = asyncio.run(opened())
    store.close()
    lags, rates = watch.lags(), watch.rates()
    found = {name: list(one.values) for name, one in lags.items()}
    assert found == {"neighbours": [5, 0], "personalize": [7, 7]}
    assert all(one.times[0] < one.times[1] for one in (*lags.values(), *rates.values()))
    pulses = (
        {(one.name, one.pid): one for one in watch._last.state.processes} if watch._last else {}
    )
    both = sum(pulses["personalize", pid].events_per_s for pid in (1, 2))
    assert rates["personalize"].values[-1] == pytest.approx(both)
    assert both > pulses["personalize", 1].events_per_s > 0


def test_a_list_counts_as_new_once_it_has_what_the_state_has(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rillet.console.desk.PATIENCE_S", 0.1)
    settings = load_settings(redis={"url": f"embedded:{home}"})
    engine = Embedded(settings)  # which is not begun: what follows is written here
    store = Store(settings.redis, make=False)
    view = interaction("a", user="ann")
    session = folded([view, view], first=4)
    session.recent_ids = ["click"]

    def write(partition: int, offset: int) -> None:
        listed = Answer(AsOf(partition, offset, 1), "ann", [], "blend-1", [], 1)
        values = {store.keys.session("ann"): encode_session(session)}
        values[store.keys.recs("ann")] = encode_answer(listed)
        store.write_plain([Plain(key, raw, DAY_MS) for key, raw in values.items()])

    async def acted() -> None:
        async with desk_of(settings, engine) as desk:
            for place in ((0, 4), (1, 5)):  # one from before the click, one of another partition
                write(*place)
                with pytest.raises(RilletError, match="there is no new list"):
                    await desk.act("ann", "click", view)
            write(0, 5)
            with pytest.raises(RilletError, match="there is no new list"):
                await desk.act("ann", "another click", view)
            done = await desk.act("ann", "click", view)
            assert done.known.answer is not None
            assert done.known.answer.as_of.offset == 5
            assert list(desk.took_ms) == [done.took_ms]

    asyncio.run(acted())
    store.close()
