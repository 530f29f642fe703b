"""Running consumers take over the text encoder that was promoted last, between two batches."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.catalogue import CatalogueConsumer
from consumers.encoder_training import EncoderJob
from consumers.encoders import encoder_at, promoted_encoder
from consumers.personalize import Personalize
from consumers.re_encoding import beside, fill, re_encode, unless
from consumers.served import ServedModel
from consumers.served_encoder import FollowedEncoder, Serving, ViewedEncoder
from consumers.training import TrainingJob
from consumers.training_input import catalogue_of, encode_items
from consumers.view import LiveView
from consumers.wiring import end_beside
from features.model_folder import find_base
from features.reader import read_card
from features.text import Progress, TextEncoder, load_encoder, text_hash
from features.vectors import from_bytes, item_vectors, query_vectors
from models.answer import decode_answer
from models.encoder_packing import add_untouched
from models.manifest import WEIGHTS
from models.registry import Registry
from models.sources.transformer import Transformer
from stream import metrics
from stream.announcement import Announced, announce
from stream.clock import HandClock
from stream.errors import StoppedError
from stream.events import Event, encode
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from tests.builders import DAY, NOON, interaction, item, write_log
from tests.consumers.trained import small
from tests.tiny_encoder import make_encoder
from tests.tuned import NAMES, TEXTS, WORDS, goods, home_of, quick, walks

_prefixes = itertools.count()
PLACE = TopicPartition(Settings().kafka.events, 0)
NEWS = item("new", NOON + DAY, title="w00a w01b")

pytestmark = pytest.mark.usefixtures("at_once")


@dataclass(frozen=True)
class Models:
    """A registry: an encoder, and sequence models of the settings' own encoder and of it."""

    folder: Path
    tiny: Path
    encoder: str
    old: str
    new: str


def settings_of(home: Path, tiny: Path, redis: dict[str, str]) -> Settings:
    groups = {"redis": redis, "encoder": home_of(tiny), "encoder_tuning": quick(epochs=2)}
    return Settings.model_validate(small(home, **groups, training={"tolerance": 0.9}))


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store
    store.close()


@pytest.fixture(scope="module")
def models(server: Store, tmp_path_factory: pytest.TempPathFactory) -> Models:
    home = tmp_path_factory.mktemp("models")
    tiny = make_encoder(home / "tiny", WORDS)
    settings = settings_of(home, tiny, {"url": server.url, "prefix": "made"})
    store, registry = Store(settings.redis), Registry(settings.training.registry)
    own = load_encoder(settings.encoder)
    encode_items(settings, store, own, write_log(home / "items.jsonl", goods()))
    old = TrainingJob(
        settings,
        catalogue_of(settings, store, own),
        query_vectors(settings, store, own),
        own,
        registry,
    ).run(walks())
    late = walks(begin=NOON + 3 * DAY, seed=4)
    outcome = EncoderJob(settings, store, registry).run(lambda: [*walks(), *late])
    store.close()
    assert old is not None
    assert outcome.sequence is not None, outcome.verdict
    for kind in ("encoder", "sequence"):
        (home / "models" / f"current-{kind}.json").unlink()
    return Models(home / "models", tiny, outcome.version, old.version, outcome.sequence.version)


class Shop:
    """A Redis with items, a registry, and consumers driven by hand."""

    def __init__(self, home: Path, server: Store, models: Models) -> None:
        shutil.copytree(models.folder, home / "models")
        self.home, self.models = home, models
        redis = {"url": server.url, "prefix": f"encoded{next(_prefixes)}"}
        self.settings = settings_of(home, models.tiny, redis)
        self.store = Store(self.settings.redis)
        self.registry = Registry(self.settings.training.registry)
        self.own = load_encoder(self.settings.encoder)
        self.tuned = encoder_at(self.settings, models.encoder)
        log = write_log(home / "items.jsonl", goods())
        encode_items(self.settings, self.store, self.own, log)
        self.offset = 0

    def start(self) -> Personalize:
        """Start personalize, as a process does that has just been given its partition."""
        begun = promoted_encoder(self.settings)
        settings, store = self.settings, self.store
        view = LiveView(settings, store, begun.encoder, transition_partitions=1, every_ms=0)
        consumer = Personalize(settings, store, view, clock=HandClock(NOON + 10**10))
        model = ServedModel(settings, store, consumer.engine, begun.encoder.version)
        viewed = ViewedEncoder(settings, store, begun.version, view, model.follow)
        consumer.served = Serving(viewed, model)
        consumer.assigned([PLACE])
        return consumer

    def keeper(self) -> CatalogueConsumer:
        """Start the catalogue consumer."""
        begun = promoted_encoder(self.settings)
        keeper = CatalogueConsumer(self.settings, self.store, begun.encoder)
        keeper.follower = FollowedEncoder(self.settings, self.store, begun.version, keeper.exchange)
        keeper.assigned([])
        return keeper

    def announce(self, kind: Any, version: str) -> None:
        announce(self.store, kind, Announced(version, self.registry.url, NOON))

    def handle(self, consumer: Any, events: Sequence[Event]) -> None:
        records = [
            Record("topic", 0, at, None, encode(one)) for at, one in enumerate(events, self.offset)
        ]
        self.offset += len(events)
        self.store.write(consumer.handle(records))

    def click(self, consumer: Personalize) -> str:
        """Handle a click; return which model the list was made with."""
        self.handle(consumer, [interaction("i00", NOON + DAY + self.offset, "ann")])
        raw = self.store.get(self.store.keys.recs("ann"))
        assert raw is not None
        answer = decode_answer(raw)
        assert answer.items
        return answer.model.partition("+")[2]

    def settle(self, consumer: Personalize) -> list[str]:
        """Handle batches until nothing more is done beside; return the models of their lists."""
        seen = []
        for _ in range(10):
            seen.append(self.click(consumer))
            served: Any = consumer.served
            wait([f._job for f in (served.encoder, served.model) if f._job is not None])
        return seen


@pytest.fixture
def shop(tmp_path: Path, server: Store, models: Models) -> Iterator[Shop]:
    one = Shop(tmp_path, server, models)
    yield one
    one.store.close()


def vectors(consumer: Personalize, names: Sequence[str] = NAMES) -> Any:
    catalogue = consumer.engine.world.catalogue
    return catalogue.vectors[[catalogue.index[name] for name in names]]


def near(found: Any, wanted: Any) -> bool:
    return bool(np.allclose(found, wanted, atol=2e-3))


def test_the_catalogue_and_queries_have_the_new_vectors_after_the_swap(shop: Shop) -> None:
    consumer = shop.start()
    shop.click(consumer)
    own, tuned = shop.own.encode(TEXTS), shop.tuned.encode(TEXTS)
    assert near(vectors(consumer), own)
    assert not near(own, tuned)
    before = consumer.engine.world.catalogue.version
    shop.announce("encoder", shop.models.encoder)
    shop.click(consumer)
    assert near(vectors(consumer), own)  # a batch does not wait for an encoder
    shop.settle(consumer)
    world = consumer.engine.world
    assert near(vectors(consumer), tuned)
    assert world.catalogue.version > before
    assert world.catalogue.has_vector.all()
    assert near(world.queries.vectors(["query"]), shop.tuned.encode(["query"]))
    assert metrics.counters()["encoders.swapped"] == 1
    # what nobody had encoded lies in Redis now, for the next process
    cache = item_vectors(shop.settings, shop.store, shop.tuned)
    cache.lookup(TEXTS)
    assert (cache.hits, cache.misses) == (len(TEXTS), 0)


def test_a_model_of_the_encoder_before_is_dropped_and_the_new_one_comes_at_once(
    shop: Shop,
) -> None:
    shop.announce("sequence", shop.models.old)
    consumer = shop.start()
    assert shop.click(consumer) == shop.models.old
    shop.announce("encoder", shop.models.encoder)
    shop.announce("sequence", shop.models.new)
    seen = shop.settle(consumer)
    assert seen[-1] == shop.models.new
    assert list(dict.fromkeys(seen)) in (
        [shop.models.old, shop.models.new],
        [shop.models.old, "", shop.models.new],
    )
    assert "models.refused" not in metrics.counters()


def test_without_a_model_of_its_own_the_old_one_is_not_served(shop: Shop) -> None:
    shop.announce("sequence", shop.models.old)
    consumer = shop.start()
    shop.click(consumer)
    shop.announce("encoder", shop.models.encoder)
    assert shop.settle(consumer)[-1] == ""
    source = next(s for s in consumer.engine.sources if isinstance(s, Transformer))
    assert source.version == ""


def test_after_a_rollback_the_encoder_before_serves_again(shop: Shop) -> None:
    shop.registry.promote(shop.models.encoder)
    re_encode(shop.settings, shop.store, shop.tuned)  # as the job does before it promotes
    consumer = shop.start()
    assert near(vectors(consumer), shop.tuned.encode(TEXTS))  # from the start, without news
    shop.settle(consumer)
    plain = add_untouched(shop.registry, find_base(shop.settings.encoder))
    shop.announce("encoder", plain)
    shop.announce("sequence", shop.models.old)
    assert shop.settle(consumer)[-1] == shop.models.old
    assert near(vectors(consumer), shop.own.encode(TEXTS))


def test_a_broken_encoder_leaves_the_old_one_and_is_told_once(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    file = shop.home / "models" / shop.models.encoder / WEIGHTS
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    consumer = shop.start()
    shop.announce("encoder", shop.models.encoder)
    shop.settle(consumer)
    assert near(vectors(consumer), shop.own.encode(TEXTS))
    told = [one for one in caplog.records if "is not served" in one.message]
    assert len(told) == 1
    assert "damaged" in told[0].message
    assert metrics.counters()["models.refused"] == 1


def test_a_promoted_encoder_that_cannot_be_loaded_at_the_start_is_told(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.registry.promote(shop.models.encoder)
    (shop.home / "models" / shop.models.encoder / WEIGHTS).unlink()
    consumer = shop.start()
    shop.click(consumer)
    assert near(vectors(consumer), shop.own.encode(TEXTS))
    assert "the text encoder is the settings' own" in caplog.text


def test_an_encoder_that_has_encoded_nothing_yet_is_made_up_for(shop: Shop) -> None:
    shop.registry.promote(shop.models.encoder)
    consumer = shop.start()
    assert not consumer.engine.world.catalogue.has_vector.any()
    for _ in range(4):
        shop.handle(consumer, [interaction("i00", NOON + DAY + shop.offset, "ann")])
        served: Any = consumer.served
        if served.encoder._job is not None:
            wait([served.encoder._job])
    assert near(vectors(consumer), shop.tuned.encode(TEXTS))


def test_the_catalogue_consumer_encodes_with_the_new_one_from_then_on(shop: Shop) -> None:
    keeper = shop.keeper()
    shop.announce("encoder", shop.models.encoder)
    for _ in range(6):
        shop.handle(keeper, [])
        job = keeper.follower._job if keeper.follower else None
        if job is not None:
            wait([job])
    shop.handle(keeper, [NEWS])
    raw = shop.store.get(shop.store.keys.item("new"))
    card = read_card(raw or b"")
    assert card is not None
    assert card.encoder == shop.tuned.version
    stored = shop.store.get(shop.store.keys.vector(card.encoder, text_hash("w00a w01b")))
    assert stored is not None
    assert near(from_bytes(stored), shop.tuned.encode(["w00a w01b"])[0])


def test_items_that_others_encoded_by_the_old_one_get_their_vectors_too(shop: Shop) -> None:
    lagging = shop.keeper()
    lagging.follower = None  # it has not heard of the new encoder yet
    shop.announce("encoder", shop.models.encoder)
    consumer = shop.start()
    shop.settle(consumer)
    shop.handle(lagging, [NEWS])
    shop.click(consumer)
    catalogue = consumer.engine.world.catalogue
    assert not catalogue.has_vector[catalogue.index["new"]]
    shop.settle(consumer)
    assert near(vectors(consumer, ["new"])[0], shop.tuned.encode(["w00a w01b"])[0])
    assert consumer.engine.world.catalogue.exchanged == 1


def test_items_that_come_while_the_encoder_is_loaded_are_not_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def slowly(*given: Any) -> Any:
        found = re_encode(*given)
        assert go.wait(30)
        return found

    monkeypatch.setattr("consumers.served_encoder.re_encode", slowly)
    keeper = shop.keeper()
    keeper.follower = None
    consumer = shop.start()
    shop.announce("encoder", shop.models.encoder)
    shop.click(consumer)
    shop.click(consumer)
    shop.handle(keeper, [NEWS])
    shop.click(consumer)
    go.set()
    shop.settle(consumer)
    assert near(vectors(consumer, ["new"])[0], shop.tuned.encode(["w00a w01b"])[0])
    assert near(vectors(consumer), shop.tuned.encode(TEXTS))


def fill_step(shop: Shop, consumer: Personalize) -> int:
    """Handle a batch, wait for what is done beside; return how many items have a vector."""
    shop.handle(consumer, [interaction("i00", NOON + DAY + shop.offset, "ann")])
    served: Any = consumer.served
    if served.encoder._job is not None:
        wait([served.encoder._job])
    return int(consumer.engine.world.catalogue.has_vector.sum())


def test_many_texts_are_encoded_and_taken_over_a_chunk_at_a_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.registry.promote(shop.models.encoder)
    consumer = shop.start()
    monkeypatch.setattr("consumers.view.CHUNK", 5)
    counts = [fill_step(shop, consumer) for _ in range(14)]
    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert counts[-1] == len(NAMES)
    assert max(steps) == 5
    assert near(vectors(consumer), shop.tuned.encode(TEXTS))


def test_an_item_whose_card_names_another_text_is_encoded_once(shop: Shop) -> None:
    both = item("both", NOON, title="w00a w01b", description="extra query")
    keeper = shop.keeper()
    shop.handle(keeper, [both])  # its card says where the vector of both texts lies
    titles = shop.settings.encoder.model_copy(update={"fields": ("title",)})
    shop.settings = shop.settings.model_copy(update={"encoder": titles})
    shop.registry.promote(shop.models.encoder)
    re_encode(shop.settings, shop.store, shop.tuned)
    consumer = shop.start()
    view: Any = consumer._view
    asked, take = list[str](), view.take_missing

    def counted() -> Any:
        asked.extend(found := take())
        return found

    view.take_missing = counted
    for _ in range(8):
        fill_step(shop, consumer)
    assert near(vectors(consumer, ["both"])[0], shop.tuned.encode(["w00a w01b"])[0])
    assert asked.count("both") == 1
    catalogue = catalogue_of(shop.settings, shop.store, shop.tuned)
    row = catalogue.index["both"]
    assert near(catalogue.vectors[row], shop.tuned.encode(["w00a w01b"])[0])


def test_texts_that_could_not_be_encoded_are_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop.registry.promote(shop.models.encoder)
    consumer = shop.start()
    monkeypatch.setattr("consumers.served_encoder.FILL_AGAIN_S", 0.0)
    broken = shop.settings.items.model_copy(update={"ttl_days": -1.0})  # Redis refuses the writes
    served: Any = consumer.served
    served.encoder._settings = shop.settings.model_copy(update={"items": broken})
    assert [fill_step(shop, consumer) for _ in range(4)] == [0] * 4
    served.encoder._settings = shop.settings
    for _ in range(4):
        fill_step(shop, consumer)
    assert near(vectors(consumer), shop.tuned.encode(TEXTS))
    assert "24 items could not be encoded" in caplog.text
    assert "is not served" not in caplog.text
    assert metrics.counters()["encoders.unfilled"] >= 1
    assert "models.refused" not in metrics.counters()


def test_a_swap_after_a_gap_in_the_feed_reads_few_cards_at_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = shop.start()
    found = re_encode(shop.settings, shop.store, shop.tuned)
    view: Any = consumer._view
    monkeypatch.setattr("consumers.view.CHUNK", 5)
    view.expect()
    view._note(view.world.catalogue.ids)
    view.exchange(replace(found, ids=[], vectors=found.vectors[:0]))
    assert view.world.catalogue.has_vector.sum() == 5
    assert view.take_missing() == NAMES[5:10]


def test_a_card_that_changes_while_its_text_is_encoded_keeps_its_new_vector(shop: Shop) -> None:
    consumer = shop.start()
    view: Any = consumer._view
    view.put_back(["i00"])
    assert view.take_missing() == ["i00"]
    old = fill(shop.settings, shop.store, shop.own, ["i00"])
    shop.offset = len(NAMES)  # after the events of the card
    shop.handle(shop.keeper(), [item("i00", NOON + DAY, title="w05a w06b")])
    view.refresh()
    view.complete(old)
    assert near(vectors(consumer, ["i00"])[0], shop.own.encode(["w05a w06b"])[0])


class Slow:
    """An encoder that takes a minute, in small steps."""

    def __init__(self, inner: TextEncoder) -> None:
        self.inner, self.version, self.dim = inner, inner.version, inner.dim
        self.begun = threading.Event()

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Any:
        self.begun.set()
        for step in range(600):
            time.sleep(0.1)
            if progress is not None:
                progress(step, 600)
        return self.inner.encode(texts)


def test_a_process_that_ends_does_not_wait_for_texts_that_are_being_encoded(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(shop.tuned)
    monkeypatch.setattr("consumers.served_encoder.encoder_at", lambda *_: slow)
    consumer = shop.start()
    shop.announce("encoder", shop.models.encoder)
    while not slow.begun.is_set():
        shop.click(consumer)
    served: Any = consumer.served
    job = served.encoder._job
    end_beside(consumer)
    assert isinstance(job.exception(timeout=5), StoppedError)


def test_what_is_done_beside_ends_while_redis_is_away_or_cards_are_listed(shop: Shop) -> None:
    stop = threading.Event()
    stop.set()
    store = beside(shop.store, stop)
    with pytest.raises(StoppedError):
        store.wait(60)
    with pytest.raises(StoppedError):
        re_encode(shop.settings, store, shop.tuned, unless(stop))


def test_the_catalogue_consumer_ends_what_it_does_beside(shop: Shop) -> None:
    keeper = shop.keeper()
    end_beside(keeper)
    assert keeper.follower is not None
    with pytest.raises(RuntimeError, match="shutdown"):
        keeper.follower._pool.submit(str)
