from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.observed import observe
from consumers.replay import Replay
from features.text import load_encoder
from stream import metrics
from stream.export_settings import MetricsSettings
from stream.exporter import exported
from stream.metrics import Heart
from stream.settings import Settings
from stream.store import Store
from tests.builders import write_log
from tests.consumers.small_log import the_log
from tests.scraping import Scraped, free_port, scrape


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """What `personalize` says over HTTP after it has handled a small log, and beaten once."""
    settings = Settings.model_validate({"redis": {"url": "embedded:"}})
    store = Store(settings.redis)
    replay = Replay(settings, store, load_encoder(settings.encoder), partitions=2)
    replay.run(write_log(tmp_path_factory.mktemp("log") / "events.jsonl", the_log()))
    observe(replay.personalize)
    lags = replay.broker.source("scraped", [settings.kafka.events])
    lags.poll(1, 0)
    Heart("personalize", "rillet.personalize").pulse(1, lags.lags(), {})
    port = free_port()
    with exported("personalize", MetricsSettings(port=port)):
        yield scrape(port)
    store.close()
    metrics.reset()
