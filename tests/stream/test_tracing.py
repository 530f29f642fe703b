"""Spans of batches, by the SDK's exporter in memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from stream import metrics
from stream.export_settings import TracingSettings
from stream.loop import Loop
from stream.memory import MemoryBroker
from stream.records import Headers, Outgoing, Record
from stream.settings import BatchSettings
from stream.store import Store
from stream.tracing import Tracer, headers_of_span, tracer_for
from tests.stream.tally import Tally

ROOT = Path(__file__).resolve().parents[2]


class Scene:
    """A loop whose batches are traced."""

    def __init__(self, store: Store, share: float) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)))
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.application = provider.get_tracer("application")
        broker = MemoryBroker({"events": 1})
        self.sink = broker.sink()
        source = broker.source("group", ["events"])
        batch = BatchSettings(max_records=8, wait_ms=1)
        self.loop = Loop(Tally(store, ["events"]), source, broker.sink(), store, batch)
        self.loop.tracer = self.tracer = Tracer("tally", provider)
        self.sent = 0

    def send(self, headers: Headers = ()) -> None:
        self.sink.send(Outgoing("events", b"%d" % self.sent, headers=headers))
        self.sent += 1

    def spans(self) -> dict[str, ReadableSpan]:
        """Return the spans of one batch by name."""
        found = [one for one in self.exporter.get_finished_spans() if "click" not in one.name]
        assert len({one.name for one in found}) == len(found)
        return {one.name: one for one in found}

    def drain(self) -> dict[str, ReadableSpan]:
        while self.loop.step(wait_ms=0):
            pass
        return self.spans()


@pytest.fixture
def scene(store: Store) -> Iterator[Scene]:
    one = Scene(store, 1.0)
    yield one
    one.tracer.close()


@pytest.fixture
def unsampled(store: Store) -> Iterator[Scene]:
    one = Scene(store, 0.0)
    yield one
    one.tracer.close()


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def times(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None and span.end_time is not None
    return span.start_time, span.end_time


def test_the_steps_of_a_batch_are_spans_within_each_other(scene: Scene) -> None:
    before = time.time_ns()
    for _ in range(3):
        scene.send()
    spans = scene.drain()
    names = {"poll", "handle", "checkpoint"}
    parts = {name for name in spans if name.startswith("checkpoint.")}
    assert set(spans) == {"tally batch"} | names | parts
    assert len(parts) == 5
    root = spans["tally batch"]
    assert root.parent is None
    assert root.attributes is not None
    assert root.attributes["messaging.batch.message_count"] == 3
    assert root.attributes["messaging.destination.name"] == "events"
    assert root.attributes["messaging.consumer.group.name"] == "group"
    for name in names | parts:
        parent = spans["checkpoint"] if name in parts else root
        assert spans[name].parent is not None
        assert spans[name].parent.span_id == span_id(parent)  # type: ignore[union-attr]
        (begin, end), (first, last) = times(spans[name]), times(parent)
        assert first <= begin <= end <= last
    assert before - 10**9 < times(root)[0] < time.time_ns()


def test_a_batch_goes_on_with_the_trace_of_the_application(unsampled: Scene) -> None:
    with unsampled.application.start_as_current_span("not a click"):
        unsampled.send(headers_of_span())
    assert unsampled.drain() == {}  # neither the application nor we have drawn it
    flags = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    unsampled.send()
    unsampled.send((("traceparent", flags), ("tracestate", b"shop=1")))
    root = unsampled.drain()["tally batch"]
    assert trace_id(root) == 0x0AF7651916CD43DD8448EB211C80319C
    assert root.parent is not None
    assert root.parent.span_id == 0xB7AD6B7169203331
    assert root.parent.is_remote


def test_other_traces_of_a_batch_are_linked_each_once(scene: Scene) -> None:
    for name in ("one click", "another click"):
        with scene.application.start_as_current_span(name):
            scene.send(headers_of_span())
            scene.send(headers_of_span())
    root = scene.drain()["tally batch"]
    one, other = (
        span for span in scene.exporter.get_finished_spans() if span.name.endswith("click")
    )
    assert trace_id(root) == trace_id(one)
    assert [link.context.span_id for link in root.links] == [span_id(other)]


@pytest.mark.parametrize("value", [b"", b"nonsense", b"00-0-0-01", b"\xff\xfe", None])
def test_a_bad_header_is_none(scene: Scene, value: bytes) -> None:
    scene.send((("traceparent", value),))
    root = scene.drain()["tally batch"]
    assert root.parent is None
    assert scene.loop.events == 1


def test_a_poll_counts_from_when_its_oldest_record_was_published(scene: Scene) -> None:
    with metrics.step("poll"):
        time.sleep(0.05)
        published = time.time_ns() // 1_000_000
        time.sleep(0.02)
    record = Record("events", 0, 0, None, b"0", published)
    scene.tracer.batch([record], "group")
    begin, end = times(scene.spans()["poll"])
    assert begin // 1_000_000 in range(published - 1, published + 2)
    assert end - begin >= 19_000_000
    assert times(scene.spans()["tally batch"])[0] == begin


def test_steps_of_an_earlier_turn_are_not_of_this_batch(scene: Scene) -> None:
    for _ in range(3):
        assert scene.loop.step(wait_ms=0) == 0
    scene.send()
    assert scene.loop.step(wait_ms=0) == 1
    assert "poll" in scene.spans()  # one, though there were four


def test_a_batch_that_was_not_drawn_has_no_spans(unsampled: Scene) -> None:
    unsampled.send()
    assert unsampled.drain() == {}
    assert unsampled.loop.events == 1


def test_after_its_end_nothing_is_listened_to(scene: Scene) -> None:
    scene.tracer.close()
    with metrics.step("poll"):
        pass
    assert scene.tracer._ran == []


def test_without_a_span_there_are_no_headers() -> None:
    assert headers_of_span() == ()


def test_it_is_off_by_default() -> None:
    assert tracer_for("tally", TracingSettings()) is None


class Collector(BaseHTTPRequestHandler):
    """Takes spans as a collector does."""

    taken: ClassVar[list[ExportTraceServiceRequest]] = []

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        self.taken.append(ExportTraceServiceRequest.FromString(raw))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_it_sends_to_the_collector_that_is_set() -> None:
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
        tracer = tracer_for("tally", TracingSettings(enabled=True, endpoint=endpoint, sample=1))
        assert tracer is not None
        with metrics.step("poll"):
            pass
        tracer.batch([Record("events", 0, 0, None, b"0")], "group")
        tracer.close()
        server.shutdown()
        thread.join()
    (request,) = Collector.taken
    (of,) = request.resource_spans
    named = {one.key: one.value.string_value for one in of.resource.attributes}
    assert named["service.name"] == "rillet-tally"
    assert [one.name for one in of.scope_spans[0].spans] == ["poll", "tally batch"]


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from stream.errors import SettingsError
from stream.export_settings import TracingSettings
from stream.tracing import headers_of_span, tracer_for
assert headers_of_span() == ()
assert tracer_for("tally", TracingSettings()) is None
try:
    tracer_for("tally", TracingSettings(enabled=True))
except SettingsError as error:
    print(error.mend)
"""


def test_without_the_extra_it_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "pip install 'rillet[otel]'", done.stderr
