"""A running engine, scraped over HTTP; and a trace that goes with an event through Kafka."""

from __future__ import annotations

import time
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from consumers.wiring import group_of
from rillet import Client
from stream.kafka import KafkaSource
from stream.settings import Settings
from tests.integration.live import Rillet, Start, eventually, worked_off
from tests.integration.test_live import shop
from tests.scraping import Scraped, free_port, scrape


def test_every_consumer_of_up_tells_what_it_does(
    rillet: Rillet, start: Start, variables: dict[str, str], tmp_path: Path
) -> None:
    first = free_port()
    variables["RILLET_METRICS__PORT"] = str(first)
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    assert rillet("publish", str(shop(tmp_path / "log.jsonl"))).returncode == 0
    eventually(lambda: worked_off(rillet), up.said)
    said: dict[str, Scraped] = {}
    for name, place in (("catalogue", 0), ("neighbours", 1), ("personalize", 4)):
        assert f"http://127.0.0.1:{first + place}/metrics" in up.said()
        said[name] = scrape(first + place)
        assert said[name].value("rillet_build_info", consumer=name) == 1
        assert sum(said[name].values("rillet_lag_records")) == 0
        assert len(said[name].values("rillet_lag_records")) == 2
        assert time.time() - said[name].value("rillet_last_beat_timestamp_seconds") < 30
        assert said[name].value("rillet_freshness_seconds_count") > 0
        assert said[name].value("rillet_step_seconds_count", step="handle") > 0
    one = said["personalize"]
    assert one.value("rillet_events_total") == 241
    assert one.value("rillet_dead_letters_total", reason="malformed") == 1
    assert sum(one.values("rillet_learner_examples", head="next")) > 0
    assert one.value("rillet_catalogue_items") == 24
    assert said["catalogue"].value("rillet_encoded_items_total") == 24
    names = {f'"u{number}"' for number in range(12)} | {f'"i{number}"' for number in range(24)}
    assert not [name for name in names if any(name in scraped.text for scraped in said.values())]
    assert up.end() == 0, up.said()
    assert up.said().count(" ended after ") == 3


def test_what_is_published_within_a_span_says_so(rillet: Rillet, settings: Settings) -> None:
    assert rillet("init", "--topics").returncode == 0
    event = {"event": "interaction", "type": "view", "user": "u", "item": "i"}
    with Client(settings) as client:
        client.publish(event)
        with TracerProvider().get_tracer("shop").start_as_current_span("click") as span:
            client.publish(event)
        client.flush()
    source = KafkaSource(settings.kafka, [settings.kafka.events], group_of("reader", settings))
    try:
        source.listen(lambda places: None, lambda places: None)
        records = []

        def read() -> bool:
            source.resume(source.assignment())
            records.extend(source.poll(10, 200))
            return len(records) == 2

        eventually(read, lambda: f"{len(records)} records")
    finally:
        source.close()
    without, within = (dict(record.headers) for record in records)
    assert without == {}
    mine = span.get_span_context()
    begin = f"00-{trace.format_trace_id(mine.trace_id)}-{trace.format_span_id(mine.span_id)}-"
    assert set(within) == {"traceparent"}
    assert within["traceparent"].decode()[: len(begin)] == begin
