from __future__ import annotations

import threading
from collections.abc import Iterator

import msgspec
import pytest

from consumers.catalogue import CatalogueConsumer
from features.card import ItemCard, decode_card
from features.catalogue import Catalogue
from features.reader import StoreReader
from features.text import Encoder, load_encoder
from stream.clock import HandClock
from stream.events import Delete, Event, Field, Interaction, Item, Millis, encode, partition_key
from stream.loop import Loop
from stream.memory import MemoryBroker
from stream.records import Outgoing, Record
from stream.settings import RedisSettings, Settings
from stream.store import Store

SETTINGS = Settings()
TOPIC = SETTINGS.kafka.catalogue


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(SETTINGS.encoder)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(RedisSettings.model_validate({"url": "embedded:"}))
    yield store
    store.close()


def item(name: str, time: int = 10, **fields: str | float | list[str | float] | None) -> Item:
    its = [Field(field, value) for field, value in fields.items()]
    return Item(timestamp=Millis(time), item=name, fields=its)


def records(*events: Event | bytes, start: int = 0) -> list[Record]:
    return [
        Record(TOPIC, 0, offset, None, e if isinstance(e, bytes) else encode(e))
        for offset, e in enumerate(events, start)
    ]


def run(consumer: CatalogueConsumer, store: Store, batch: list[Record]) -> list[ItemCard]:
    """Handle a batch and write it as the loop would; return the cards written."""
    writes = consumer.handle(batch)
    store.write(writes)
    return [decode_card(stamped.value) for stamped in writes.stamped]


def everything(store: Store) -> dict[str, bytes]:
    return {f"{kind}:{k}": v for kind in ("item", "vector") for k, v in store.scan(kind)}


def test_from_broker_to_catalogue(store: Store, encoder: Encoder) -> None:
    broker = MemoryBroker({TOPIC: 2, SETTINGS.kafka.deadletters: 1})
    sink = broker.sink()
    events: list[Event] = [
        item("1", title="Green tea", genres=["drinks"], price=3.5),
        item("2", title="Bicycle bell", price=9),
        item("1", price=4),
        Delete(timestamp=Millis(20), item="2"),
        item("3", price=1),
    ]
    for event in events:
        sink.send(Outgoing(TOPIC, encode(event), key=partition_key(event).encode()))
    sink.send(Outgoing(TOPIC, b"\xff no event", key=b"1"))
    consumer = CatalogueConsumer(SETTINGS, store, encoder)
    loop = Loop(consumer, broker.source("c", [TOPIC]), broker.sink(), store, SETTINGS.batch)
    while loop.events < len(events) + 1:
        loop.step()

    catalogue = Catalogue(encoder.dim)
    reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
    assert catalogue.load(reader) == 3
    cards, _ = reader.fetch(catalogue.ids)
    assert [card.title for card in cards] == ["Green tea", "Bicycle bell", ""]
    assert catalogue.alive.tolist() == [True, False, True]
    assert catalogue.has_vector.tolist() == [True, True, False]
    assert catalogue.numbers["price"].tolist() == [4, 9, 1]
    feed = store.read_changes("0-0").entries
    changed = [name for entry in feed for name in msgspec.json.decode(entry)["items"]]
    assert set(changed) == {"1", "2", "3"}
    letters = broker.source("d", [SETTINGS.kafka.deadletters])
    letters.listen(letters.resume, lambda places: None)
    assert [r.value for _ in range(2) for r in letters.poll(10, 1)] == [b"\xff no event"]
    loop.close()


def test_unchanged_text_is_never_encoded_again(store: Store, encoder: Encoder) -> None:
    first = CatalogueConsumer(SETTINGS, store, encoder)
    run(first, store, records(item("1", title="Tea"), item("2", title="Tea")))
    assert first.vectors.misses == 1
    restarted = CatalogueConsumer(SETTINGS, store, encoder)
    run(restarted, store, records(item("1", price=2), item("2", title=" Tea "), start=2))
    assert restarted.vectors.misses == 0
    run(restarted, store, records(item("1", title="Coffee"), start=4))
    assert restarted.vectors.misses == 1


def test_redelivery_leaves_the_same_bytes(store: Store, encoder: Encoder) -> None:
    consumer = CatalogueConsumer(SETTINGS, store, encoder)
    batch = records(item("1", title="Tea"), item("2", title="Bell"), item("1", price=2))
    run(consumer, store, batch)
    before = everything(store)
    for again in (batch, batch[1:], batch[:1]):
        run(consumer, store, again)
        assert everything(store) == before


def test_what_a_death_left_out_is_written_at_redelivery(store: Store, encoder: Encoder) -> None:
    consumer = CatalogueConsumer(SETTINGS, store, encoder)
    batch = records(item("1", title="Tea"), item("2", title="Bell"))
    writes = consumer.handle(batch)
    store.write_stamped(writes.stamped)  # and here it dies
    position = store.changes_position()
    run(CatalogueConsumer(SETTINGS, store, encoder), store, batch)
    written = store.get_many([one.key for one in writes.plain])
    assert len(written) == 2
    assert written == [one.value for one in writes.plain]
    assert store.read_changes(position).entries == writes.changes


def test_batches_do_not_matter(store: Store, encoder: Encoder) -> None:
    events: list[Event] = [
        item("1", title="Tea", tags=["green", "leaf"]),
        item("2", title="Bell"),
        Delete(timestamp=Millis(30), item="1"),
        item("1", tags=None),
        item("2", price=1.5),
    ]
    consumer = CatalogueConsumer(SETTINGS, store, encoder)
    run(consumer, store, records(*events))
    at_once = everything(store)
    other = Store(RedisSettings.model_validate({"url": store.url, "prefix": "other"}))
    single = CatalogueConsumer(SETTINGS, other, encoder)
    for record in records(*events):
        run(single, other, [record])
    cards = {key: raw for key, raw in everything(other).items() if key.startswith("item:")}
    assert cards == {key: raw for key, raw in at_once.items() if key.startswith("item:")}
    other.close()


def test_misplaced_future_and_bad_records_are_dead_letters(store: Store, encoder: Encoder) -> None:
    consumer = CatalogueConsumer(SETTINGS, store, encoder, HandClock(1000))
    click = Interaction(timestamp=Millis(1), user="u", item="1", type="click")
    forget = Delete(timestamp=Millis(1), user="u")
    late = item("1", time=10_000_000, title="Tea")
    writes = consumer.handle(records(b"{", click, forget, late, b"[1]"))
    assert (writes.stamped, writes.plain, writes.changes) == ([], [], [])
    reasons = [dict(letter.headers)["reason"] for letter in writes.produced]
    assert reasons == [b"malformed", b"misplaced", b"misplaced", b"future", b"malformed"]
    assert consumer.handle([]).stamped == []


def test_card_that_cannot_be_read_is_begun_anew(store: Store, encoder: Encoder) -> None:
    consumer = CatalogueConsumer(SETTINGS, store, encoder)
    run(consumer, store, records(item("1", title="Tea")))
    store._redis.set(store.keys.item("1"), b"{}")
    (card,) = run(consumer, store, records(item("1", price=2), start=1))
    assert (card.title, card.price) == ("", 2.0)


def test_other_encoder_is_used_from_the_next_event_on(store: Store, encoder: Encoder) -> None:
    run(CatalogueConsumer(SETTINGS, store, encoder), store, records(item("1", title="Tea")))
    shorter = load_encoder(SETTINGS.encoder.model_copy(update={"max_tokens": 16}))
    consumer = CatalogueConsumer(SETTINGS, store, shorter)
    (card,) = run(consumer, store, records(item("1", price=1), start=1))
    assert card.encoder == shorter.version
    assert consumer.vectors.misses == 1


def test_runs_until_it_is_stopped(store: Store, encoder: Encoder) -> None:
    broker = MemoryBroker({TOPIC: 1})
    consumer = CatalogueConsumer(SETTINGS, store, encoder)
    loop = Loop(consumer, broker.source("c", [TOPIC]), broker.sink(), store, SETTINGS.batch)
    stop = threading.Event()
    stop.set()
    loop.run(stop)
