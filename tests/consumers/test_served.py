"""A running personalize takes over the model that was promoted last, between two batches."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from consumers.catalogue import CatalogueConsumer
from consumers.observed import observe
from consumers.personalize import Personalize
from consumers.served import ServedModel
from consumers.view import LiveView
from features.contexts import ask, build_contexts, meaning_of
from features.text import Encoder
from models.answer import decode_answer
from models.manifest import WEIGHTS
from models.registry import Registry
from models.sources.transformer import Transformer
from stream import gauges, metrics
from stream.announcement import Announced, announce
from stream.clock import HandClock
from stream.events import Event, encode
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from tests.builders import DAY, NOON, folded, interaction, item
from tests.consumers.small_log import the_items
from tests.consumers.trained import a_job, small, stock, visits
from tests.models.sources.shop import table

_prefixes = itertools.count()
PLACE = TopicPartition(Settings().kafka.events, 0)
EVENTS = visits(30)

pytestmark = pytest.mark.usefixtures("at_once")


@dataclass(frozen=True)
class Models:
    """A registry with three models of one shop; none of them is the current one."""

    folder: Path
    versions: list[str]


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store
    store.close()


@pytest.fixture(scope="module")
def models(server: Store, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Models:
    home, versions = tmp_path_factory.mktemp("models"), []
    for seed in range(3):
        groups = small(
            home,
            redis={"url": server.url, "prefix": "training"},
            transformer={"seed": seed, "epochs": 1},
            training={"registry": str(home / f"models-{seed}")},
        )
        settings = Settings.model_validate(groups)
        store = Store(settings.redis)
        if not seed:
            stock(settings, store, encoder, home / "items.jsonl")
        outcome = a_job(settings, store, encoder).run(visits())
        store.close()
        assert outcome is not None
        versions.append(outcome.version)
        origin = home / f"models-{seed}" / outcome.version
        shutil.copytree(origin, home / "models" / outcome.version)
    return Models(home / "models", versions)


class Shop:
    """A Redis with items, a registry, and consumers driven by hand."""

    def __init__(
        self,
        home: Path,
        server: Store,
        encoder: Encoder,
        models: Models,
        *,
        stocked: bool = True,
    ) -> None:
        shutil.copytree(models.folder, home / "models")
        self.home, self.encoder, self.versions = home, encoder, models.versions
        redis = {"url": server.url, "prefix": f"served{next(_prefixes)}"}
        self.settings = Settings.model_validate(small(home, redis=redis))
        self.store = Store(self.settings.redis)
        self.registry = Registry(self.settings.training.registry)
        self.offset = 0
        if stocked:
            stock(self.settings, self.store, encoder, home / "items.jsonl")

    def start(self, serving: bool = True) -> Personalize:
        """Start a consumer, as a process does that has just been given its partition."""
        view = LiveView(
            self.settings, self.store, self.encoder, transition_partitions=1, every_ms=0
        )
        clock = HandClock(NOON + 10**10)
        consumer = Personalize(self.settings, self.store, view, clock=clock)
        if serving:
            self.serve(consumer)
        consumer.assigned([PLACE])
        return consumer

    def serve(self, consumer: Personalize) -> ServedModel:
        consumer.served = ServedModel(
            self.settings, self.store, consumer.engine, self.encoder.version
        )
        return consumer.served

    def announce(self, version: str) -> None:
        announce(self.store, "sequence", Announced(version, self.registry.url, NOON))

    def handle(self, consumer: Personalize, events: Sequence[Event]) -> str:
        """Handle a batch, write all of it, and return which model its lists were made with."""
        records = [
            Record(PLACE.topic, 0, at, None, encode(one))
            for at, one in enumerate(events, self.offset)
        ]
        self.offset += len(events)
        writes = consumer.handle(records)
        self.store.write(writes)
        users = {str(getattr(event, "user", None)) for event in events}
        made_with = {decode_answer(raw).model for raw in self.lists(users)}
        assert len(made_with) == 1
        blend, _, version = made_with.pop().partition("+")
        assert blend.startswith("blend-")
        return version

    def lists(self, users: set[str]) -> list[bytes]:
        found = [self.store.get(self.store.keys.recs(user)) for user in sorted(users)]
        return [raw for raw in found if raw is not None]

    def damage(self, version: str) -> None:
        file = self.home / "models" / version / WEIGHTS
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)


@pytest.fixture
def shop(tmp_path: Path, server: Store, encoder: Encoder, models: Models) -> Iterator[Shop]:
    one = Shop(tmp_path, server, encoder, models)
    yield one
    one.store.close()


def click(n: int) -> list[Event]:
    return [interaction(f"k{n % 8}", NOON + DAY + n * 1000, "ann")]


def settle(consumer: Personalize) -> None:
    """Wait for what is done beside, as time passes between two batches."""
    served: Any = consumer.served
    if served._job is not None:
        wait([served._job])


def until_swapped(shop: Shop, consumer: Personalize, numbers: Iterator[int]) -> list[str]:
    """Handle batches until nothing more is done beside; return the versions of their lists."""
    seen = []
    for _ in range(5):
        seen.append(shop.handle(consumer, click(next(numbers))))
        settle(consumer)
    return seen


def test_without_a_model_lists_are_made_all_the_same(shop: Shop) -> None:
    consumer = shop.start()
    assert shop.handle(consumer, click(0)) == ""
    assert consumer.served is not None
    assert consumer.served.version == ""
    assert "models.refused" not in metrics.counters()


def test_what_is_served_is_told_with_when_it_was_made(shop: Shop) -> None:
    shop.announce(shop.versions[1])
    consumer = shop.start()
    try:
        observe(consumer)
        shop.handle(consumer, click(0))
        gauges.look()
        made_at = shop.registry.manifest(shop.versions[1]).made_at
        assert gauges.known(gauges.MADE) == {("sequence", shop.versions[1]): made_at // 1000}
        assert gauges.known(gauges.ITEMS) == {(): len(consumer.engine.world.catalogue)}
        assert set(gauges.known(gauges.EXAMPLES)) == {("next", "0"), ("shown", "0")}
        assert gauges.known(gauges.EXAMPLES)["next", "0"] == 1
    finally:
        metrics.reset()


def test_what_is_current_is_served_from_the_first_batch(shop: Shop) -> None:
    shop.announce(shop.versions[1])
    assert shop.handle(shop.start(), click(0)) == shop.versions[1]


def test_the_pointer_counts_where_nothing_was_announced(shop: Shop) -> None:
    shop.registry.promote(shop.versions[2])
    consumer, numbers = shop.start(), itertools.count()
    assert shop.handle(consumer, click(next(numbers))) == shop.versions[2]
    shop.registry.promote(shop.versions[0])
    assert until_swapped(shop, consumer, numbers)[-1] == shop.versions[0]
    shop.announce(shop.versions[1])
    assert until_swapped(shop, consumer, numbers)[-1] == shop.versions[1]


def test_it_swaps_between_two_batches_when_a_model_is_announced(shop: Shop) -> None:
    consumer, numbers = shop.start(), itertools.count()
    shop.handle(consumer, click(next(numbers)))
    for version in shop.versions:
        before = shop.handle(consumer, click(next(numbers)))
        shop.announce(version)
        seen = until_swapped(shop, consumer, numbers)
        assert seen[0] == before  # a batch does not wait for a model
        assert seen[-1] == version
        assert seen == sorted(seen, key=version.__eq__)
    assert metrics.counters()["models.swapped"] == 3


def test_after_a_swap_the_source_says_what_the_new_model_says(shop: Shop) -> None:
    shop.announce(shop.versions[0])
    consumer, numbers = shop.start(), itertools.count()
    old = scores(consumer, click(0))
    shop.announce(shop.versions[1])
    until_swapped(shop, consumer, numbers)
    new = scores(consumer, click(0))
    assert old.shape == new.shape
    assert not np.allclose(old, new)
    fresh = shop.start()
    assert np.allclose(scores(fresh, click(0)), new, atol=1e-5)


def scores(consumer: Personalize, events: Sequence[Any]) -> Any:
    """Return what the Transformer says to who took these items."""
    world = consumer.engine.world
    session, now = folded(events), int(events[-1].timestamp) + 1000
    question = ask(session, now, world.catalogue, meaning_of(Settings()))
    source = next(s for s in consumer.engine.sources if isinstance(s, Transformer))
    return table(source, build_contexts([question]))[0]


def test_nothing_is_lost_or_doubled_while_models_are_swapped(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    consumer, size = shop.start(), 5
    bad, *good = shop.versions
    shop.damage(bad)
    offers = dict(zip((20, 60, 100), (good[0], bad, good[1]), strict=True))
    seen: list[str] = []
    for first in range(0, len(EVENTS), size):
        if version := offers.get(first):
            shop.announce(version)
        seen.append(shop.handle(consumer, EVENTS[first : first + size]))
        settle(consumer)
    assert list(dict.fromkeys(seen)) == ["", good[0], good[1]]
    assert metrics.counters()["models.refused"] == 1
    swapped = dict(shop.store.scan("session"))
    counted = sum(consumer.learners.held[0].heads[n].examples for n in ("next", "shown"))

    alone = other(shop, tmp_path_factory)
    unbroken = alone.start(serving=False)
    for first in range(0, len(EVENTS), size):
        assert alone.handle(unbroken, EVENTS[first : first + size]) == ""
    assert dict(alone.store.scan("session")) == swapped
    held = unbroken.learners.held[0].heads
    assert sum(held[n].examples for n in ("next", "shown")) == counted > 0
    alone.store.close()


def other(shop: Shop, factory: pytest.TempPathFactory) -> Shop:
    """Return the same shop under another prefix, with nothing in it yet."""
    models = Models(shop.home / "models", shop.versions)
    return Shop(factory.mktemp("other"), shop.store, shop.encoder, models)


def test_a_damaged_model_leaves_the_old_one_and_is_told_once(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad, third = shop.versions
    shop.announce(good)
    consumer, numbers = shop.start(), itertools.count()
    shop.damage(bad)
    shop.announce(bad)
    for _ in range(3):
        assert set(until_swapped(shop, consumer, numbers)) == {good}
    told = [one for one in caplog.records if "is not served" in one.message]
    assert len(told) == 1
    assert told[0].levelname == "ERROR"
    assert bad in told[0].message
    assert "damaged" in told[0].message
    assert metrics.counters()["models.refused"] == 1
    shop.announce(third)
    assert until_swapped(shop, consumer, numbers)[-1] == third


def test_a_damaged_model_at_the_start_leaves_none(shop: Shop) -> None:
    shop.damage(shop.versions[0])
    shop.announce(shop.versions[0])
    consumer, numbers = shop.start(), itertools.count()
    assert set(until_swapped(shop, consumer, numbers)) == {""}
    assert metrics.counters()["models.refused"] == 1


def test_after_a_rollback_the_model_before_is_served_again(shop: Shop) -> None:
    numbers = itertools.count()
    for version in shop.versions[:2]:
        shop.registry.promote(version)
        shop.announce(version)
    consumer = shop.start()
    assert shop.handle(consumer, click(next(numbers))) == shop.versions[1]
    shop.announce(shop.registry.rollback("sequence").current.version)
    assert until_swapped(shop, consumer, numbers)[-1] == shop.versions[0]


def foreign(shop: Shop, **config: Any) -> str:
    """Add the first model once more, with what a test changes of its config; no encoder named."""
    arrays, manifest = shop.registry.load(shop.versions[0])
    files, _ = shop.registry.load_files(shop.versions[0])
    changed = replace(manifest, config=manifest.config | config, encoder="")
    rest = {name: raw for name, raw in files.items() if name != WEIGHTS}
    if "content_dim" in config:
        dim = config["content_dim"]
        arrays = dict(arrays) | {"centre": arrays["centre"][:dim]}
        for name in ("project.weight", "ask.weight"):
            arrays[name] = np.ascontiguousarray(arrays[name][:, :dim])
    return shop.registry.add(arrays, changed, rest)


@pytest.mark.parametrize("config", [{"heads": 3}, {"content_dim": 100}, {"layers": 7}], ids=str)
def test_a_model_that_does_not_fit_stops_no_consumer(shop: Shop, config: dict[str, Any]) -> None:
    shop.announce(shop.versions[1])
    consumer, numbers = shop.start(), itertools.count()
    shop.announce(foreign(shop, **config))
    assert set(until_swapped(shop, consumer, numbers)) == {shop.versions[1]}
    assert metrics.counters()["models.refused"] == 1


def test_a_model_of_another_encoder_is_not_served(shop: Shop, encoder: Encoder) -> None:
    consumer, numbers = shop.start(serving=False), itertools.count()
    served = consumer.served = ServedModel(shop.settings, shop.store, consumer.engine, "other-1")
    shop.announce(shop.versions[0])
    assert set(until_swapped(shop, consumer, numbers)) == {""}
    assert served.version == ""


def test_a_registry_that_was_away_is_asked_again(shop: Shop) -> None:
    hidden = shop.home / "hidden"
    (shop.home / "models").rename(hidden)
    (shop.home / "models").write_text("a file where a folder should be")
    shop.announce(shop.versions[0])
    consumer, numbers = shop.start(), itertools.count()
    assert set(until_swapped(shop, consumer, numbers)) == {""}
    (shop.home / "models").unlink()
    hidden.rename(shop.home / "models")
    assert until_swapped(shop, consumer, numbers)[-1] == shop.versions[0]


def test_a_pointer_that_cannot_be_read_stops_no_consumer(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    (shop.home / "models" / "current-sequence.json").write_text("{")
    consumer, numbers = shop.start(), itertools.count()
    assert set(until_swapped(shop, consumer, numbers)) == {""}
    assert "cannot be read" in caplog.text


def test_after_the_engine_is_restored_the_model_is_served_still(shop: Shop) -> None:
    shop.announce(shop.versions[0])
    consumer, numbers = shop.start(), itertools.count()
    assert shop.handle(consumer, click(next(numbers))) == shop.versions[0]
    before = scores(consumer, click(0))
    consumer.engine.restore(consumer.engine.state())
    assert shop.handle(consumer, click(next(numbers))) == shop.versions[0]
    assert np.array_equal(scores(consumer, click(0)), before)
    assert metrics.counters()["models.swapped"] == 1  # it was not read again


def test_it_computes_in_what_the_settings_say(shop: Shop) -> None:
    shop.announce(shop.versions[0])
    given, found = shop.settings.transformer, {}
    for serve in ("fp32", "bf16"):
        changed = given.model_copy(update={"serve": serve})
        shop.settings = shop.settings.model_copy(update={"transformer": changed})
        consumer = shop.start()
        shop.handle(consumer, click(0))
        found[serve] = scores(consumer, click(1))
    assert not np.array_equal(found["fp32"], found["bf16"])
    assert np.log1p(found["bf16"]) == pytest.approx(np.log1p(found["fp32"]), abs=0.1)


def test_it_reads_as_far_back_as_the_settings_say(shop: Shop) -> None:
    shop.announce(shop.versions[0])
    changed = shop.settings.transformer.model_copy(update={"window": 3})
    shop.settings = shop.settings.model_copy(update={"transformer": changed})
    consumer = shop.start()
    shop.handle(consumer, click(0))
    served: Any = consumer.served
    assert served._loaded is not None
    assert served._loaded.window == 3


def test_partitions_that_come_and_go_change_nothing(shop: Shop) -> None:
    shop.announce(shop.versions[0])
    consumer, numbers = shop.start(), itertools.count()
    shop.handle(consumer, click(next(numbers)))
    consumer.revoked([PLACE])
    shop.announce(shop.versions[1])
    consumer.assigned([PLACE])
    assert shop.handle(consumer, click(next(numbers))) == shop.versions[1]


def test_items_that_appear_after_it_was_loaded_have_scores(shop: Shop) -> None:
    shop.announce(shop.versions[0])
    consumer, numbers = shop.start(), itertools.count()
    shop.handle(consumer, click(next(numbers)))
    size = len(consumer.engine.world.catalogue)
    news = item("twin", NOON + DAY, title="Coffee Mug for the kitchen", category="kitchen")
    keeper = CatalogueConsumer(shop.settings, shop.store, shop.encoder)
    record = Record(shop.settings.kafka.catalogue, 0, 10**6, None, encode(news))
    shop.store.write(keeper.handle([record]))
    assert shop.handle(consumer, click(next(numbers))) == shop.versions[0]
    catalogue = consumer.engine.world.catalogue
    assert len(catalogue) == size + 1
    found = scores(consumer, click(0))
    mug, twin = catalogue.index["k1"], catalogue.index["twin"]
    assert found.shape == (size + 1,)
    assert found[twin] > 0
    assert found[twin] == pytest.approx(found[mug], rel=0.5)


def test_items_of_a_model_that_have_no_card_here_are_known_by_name(
    server: Store, encoder: Encoder, models: Models, tmp_path: Path
) -> None:
    shop = Shop(tmp_path, server, encoder, models, stocked=False)
    shop.announce(shop.versions[0])
    consumer = shop.start()
    assert sorted(consumer.engine.world.catalogue.ids) == sorted(
        str(getattr(one, "item", "")) for one in the_items()
    )
    assert shop.handle(consumer, click(0)) == shop.versions[0]
    assert scores(consumer, click(0)).max() > 0
    shop.store.close()


BEGIN = """
import sys
from types import SimpleNamespace
from consumers.served import ServedModel
from consumers.served_encoder import Serving
from stream.settings import Settings
from stream.store import Store
enabled, registry, alone = sys.argv[1:]
groups = {"transformer": {"enabled": bool(enabled)}, "training": {"registry": registry}}
settings = Settings.model_validate(groups | {"redis": {"url": "embedded:"}})
store = Store(settings.redis)
engine = SimpleNamespace(sources=())  # without the source nothing else is asked for
model = ServedModel(settings, store, engine, "an encoder")
encoder = SimpleNamespace(hurry=lambda: None, look=lambda: None, coming=True)
(model if alone else Serving(encoder, model)).begin()
store.close()
print("torch" in sys.modules)
"""


@pytest.mark.parametrize(
    ("enabled", "version", "alone", "loaded"),
    [
        ("", "", "yes", False),
        ("yes", "", "yes", True),
        ("", "20261124T183000-ab12cd", "yes", True),
        ("", "", "", False),
        ("yes", "", "", True),  # while another encoder is coming
    ],
)
def test_torch_is_loaded_before_the_first_batch_only_where_models_are_to_be_expected(
    enabled: str, version: str, alone: str, loaded: bool, tmp_path: Path
) -> None:
    if version:
        (tmp_path / "models" / version).mkdir(parents=True)
    command = [sys.executable, "-c", BEGIN, enabled, str(tmp_path / "models"), alone]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    said = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert said.stdout.strip() == str(loaded)
