"""What a consumer says over HTTP, scraped as Prometheus does."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream import gauges, metrics
from stream.errors import SettingsError
from stream.export_settings import MetricsSettings
from stream.exporter import exported
from stream.families import all_families
from stream.loop import Loop
from stream.memory import MemoryBroker
from stream.metrics import Heart
from stream.records import Outgoing, TopicPartition
from stream.settings import BatchSettings
from stream.store import Store
from tests.scraping import free_port, scrape
from tests.stream.tally import Tally


@pytest.fixture
def port() -> Iterator[int]:
    metrics.reset()
    one = free_port()
    with exported("tally", MetricsSettings(port=one)):
        yield one
    metrics.reset()


def test_without_a_port_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.exporter._Server", None)
    before = threading.active_count()
    with exported("tally", MetricsSettings()):
        assert threading.active_count() == before


def test_every_family_is_there_before_anything_happened(port: int) -> None:
    said = {family.name: family for family in text_string_to_metric_families(scrape(port).text)}
    for name, kind, family in all_families():
        found = said[name.removesuffix("_total")]
        assert (found.type, found.documentation) == (kind, family.help)
    assert "process_resident_memory_bytes" in said
    assert scrape(port).value("rillet_events_total", consumer="tally") == 0
    assert scrape(port).value("rillet_dead_letters_total", reason="malformed") == 0


def test_counters_are_shown_under_their_names(port: int) -> None:
    metrics.count("events", 5)
    metrics.count("dead.malformed", 2)
    metrics.count("dead.new", 1)  # a reason that nobody foresaw
    metrics.count("cut.fields")
    said = scrape(port)
    assert said.value("rillet_events_total") == 5
    assert said.value("rillet_dead_letters_total", reason="malformed") == 2
    assert said.value("rillet_dead_letters_total", reason="new") == 1
    assert said.value("rillet_cut_values_total", limit="fields") == 1


def test_a_step_is_a_histogram_of_what_it_took(port: int) -> None:
    step = metrics.step("answer")
    for ns in (20_000, 40_000, 1_000_000, 50_000_000, 10**12):
        step.add(ns)
    said, labels = scrape(port), {"step": "answer", "consumer": "tally"}
    assert said.value("rillet_step_seconds_count", **labels) == 5
    assert said.value("rillet_step_seconds_sum", **labels) == pytest.approx(1000.05106)
    below = said.values("rillet_step_seconds_bucket", **labels)
    bounds = [
        float(sample.labels["le"])
        for family in text_string_to_metric_families(said.text)
        for sample in family.samples
        if sample.name == "rillet_step_seconds_bucket"
    ]
    assert bounds == sorted(bounds)
    assert below == sorted(below)
    for le, count in zip(bounds, below, strict=True):
        taken = (20e-6, 40e-6, 1e-3, 50e-3, 1000)
        assert count == sum(one < le for one in taken), le


def test_gauges_are_those_of_the_last_heartbeat(port: int) -> None:
    heart = Heart("tally", "group", every_s=0)
    there = {"a-version"}
    gauges.watch(gauges.MADE, lambda: {("sequence", one): time.time() - 60 for one in there})
    heart.pulse(1, {TopicPartition("events", 0): 3, TopicPartition("events", 2): 4}, {})
    said = scrape(port)
    assert said.value("rillet_lag_records", topic="events", partition="2") == 4
    assert time.time() - said.value("rillet_last_beat_timestamp_seconds") < 30
    assert said.value("rillet_model_info", kind="sequence", version="a-version") == 1
    assert 60 <= said.value("rillet_model_age_seconds", kind="sequence") < 90
    there.clear()
    heart.pulse(1, {TopicPartition("events", 0): 1}, {})
    said = scrape(port)
    assert said.values("rillet_lag_records") == [1]  # what moved elsewhere is not shown here
    assert said.values("rillet_model_info") == said.values("rillet_model_age_seconds") == []


def test_freshness_is_from_the_oldest_record_until_its_results_are_written(
    port: int, store: Store
) -> None:
    broker, now = MemoryBroker({"events": 2}), time.time_ns() // 1_000_000
    sink = broker.sink()
    source = broker.source("group", ["events"])
    loop = Loop(Tally(store, ["events"]), source, sink, store, BatchSettings(wait_ms=1))
    for number, age_ms in enumerate((0, 3_000, 1_000)):
        sink.send(Outgoing("events", b"%d" % number, partition=number % 2), now - age_ms)
    assert loop.step(wait_ms=0) == 3
    assert scrape(port).value("rillet_freshness_seconds_count") == 1
    assert 3 <= scrape(port).value("rillet_freshness_seconds_sum") < 20
    sink.send(Outgoing("events", b"4"), 0)  # of no known time, as those of a replay
    sink.send(Outgoing("events", b"5"), now + 3_600_000)  # of a clock that goes fast
    while loop.step(wait_ms=0):
        pass
    assert scrape(port).value("rillet_freshness_seconds_count") in (1, 2)
    assert scrape(port).value("rillet_freshness_seconds_sum") < 20
    loop.close()


def test_it_can_be_scraped_while_steps_and_counters_come_up(port: int) -> None:
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with metrics.step(f"step{number % 400}"):
                metrics.count(f"cut.{number % 400}")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(5):
            said = scrape(port)
            for family in text_string_to_metric_families(said.text):
                ends = {
                    sample.labels["step"]: sample.value
                    for sample in family.samples
                    if sample.labels.get("le") == "+Inf" and "step" in sample.labels
                }
                counts = {
                    sample.labels["step"]: sample.value
                    for sample in family.samples
                    if sample.name == "rillet_step_seconds_count"
                }
                assert ends == counts
    finally:
        stop.set()
        worker.join()


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(port: int) -> None:
    with pytest.raises(SettingsError, match=f"127.0.0.1:{port}: Address already in use") as caught:
        with exported("another", MetricsSettings(port=port)):
            pass
    assert "--metrics-port" in caught.value.mend


def test_it_is_gone_afterwards_and_the_port_free() -> None:
    port = free_port()
    for _ in range(2):
        with exported("tally", MetricsSettings(port=port)):
            assert scrape(port).text
        with pytest.raises(OSError, match="refused"):
            scrape(port)


def test_it_answers_gets_alone(port: int) -> None:
    with pytest.raises(HTTPError, match="405"):
        urlopen(Request(f"http://127.0.0.1:{port}/metrics", data=b"x"), timeout=10)


def test_a_client_that_says_nothing_keeps_nobody_else_waiting(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.exporter._Request.timeout", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as silent:
        silent.sendall(b"GET /metr")
        assert scrape(port).text
        assert silent.recv(1) == b""  # it was let go


def test_it_listens_on_ipv6_too() -> None:
    if not socket.has_ipv6:
        pytest.skip("there is no IPv6 here")
    port = free_port()
    with exported("tally", MetricsSettings(port=port, host="::1")):
        asked = http.client.HTTPConnection("::1", port, timeout=10)
        asked.request("GET", "/metrics")
        assert asked.getresponse().status == 200
        asked.close()
