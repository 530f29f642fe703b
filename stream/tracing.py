"""OpenTelemetry traces of batches: an optional extra, off by default.

The steps that are measured anyway become the spans of a batch, made after it is done. An
application whose span is active while it publishes hands its trace on in the record's header
``traceparent``; the batch that handles the record is a part of that trace.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from stream import metrics
from stream.errors import SettingsError
from stream.export_settings import TracingSettings
from stream.records import Headers, Record

if TYPE_CHECKING:  # an extra: it comes with the first tracer
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span

__all__ = ["Tracer", "headers_of_span", "tracer_for"]

HEADERS: Final = ("traceparent", "tracestate")

LINKS: Final = 128
"""Traces beside the first that a batch names; the SDK would drop more."""

SEND_S: Final = 5.0
"""How long a collector may take; the process waits for it at its end."""

Ran = tuple[str, int, int]
"""A step that has run: its name, begin and end, as of time.perf_counter_ns."""


def headers_of_span() -> Headers:
    """Return what hands the active span on to who reads a record; () where there is none."""
    if "opentelemetry.trace" not in sys.modules:  # then nobody can have begun a span
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple((name, value.encode()) for name, value in carrier.items())


def tracer_for(consumer: str, settings: TracingSettings) -> Tracer | None:
    """Return what sends spans to the collector; None where tracing is off.

    Raises
    ------
    SettingsError
        The packages are missing.
    """
    if not settings.enabled:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        message = f"tracing.enabled needs OpenTelemetry: {error}"
        raise SettingsError(message, "pip install 'rillet[otel]'") from error
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample)),
        resource=Resource.create({"service.name": f"rillet-{consumer}"}),
    )
    sender = OTLPSpanExporter(endpoint=settings.endpoint, timeout=SEND_S)
    provider.add_span_processor(BatchSpanProcessor(sender))
    return Tracer(consumer, provider)


class Tracer:
    """Makes the spans of a process' batches.

    Parameters
    ----------
    consumer
        The consumer's name.
    provider
        Samples, and takes the spans; closed with this.
    """

    def __init__(self, consumer: str, provider: TracerProvider) -> None:
        self._consumer, self._provider = consumer, provider
        self._tracer = provider.get_tracer("rillet")
        self._ran: list[Ran] = []
        metrics.listen(self._note)

    def _note(self, name: str, begin: int, end: int) -> None:
        if name == "poll":  # whatever came before it is of another batch
            self._ran.clear()
        self._ran.append((name, begin, end))

    def batch(self, records: Sequence[Record], group: str) -> None:
        """Make the spans of a batch that is written, if it is one of the sample.

        Parameters
        ----------
        records
            The batch, not empty.
        group
            The consumer group.
        """
        from opentelemetry.trace import SpanKind

        ran, self._ran = self._ran, []
        if not ran:
            return
        wall = time.time_ns() - time.perf_counter_ns()
        ran = _shortened(ran, min(record.timestamp for record in records) * 1_000_000 - wall)
        first, end = min(begin for _, begin, _ in ran), max(end for *_, end in ran)
        parent, links = _traces(records)
        root = self._tracer.start_span(
            f"{self._consumer} batch",
            parent,
            SpanKind.CONSUMER,
            {
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": records[0].topic,
                "messaging.consumer.group.name": group,
                "messaging.batch.message_count": len(records),
            },
            links,
            start_time=first + wall,
        )
        if root.is_recording():
            self._children(root, ran, wall)
        root.end(end + wall)

    def _children(self, root: Span, ran: Sequence[Ran], wall: int) -> None:
        """Make a span of each step, within that of the step in which it ran."""
        from opentelemetry.trace import set_span_in_context

        around = [(sys.maxsize, set_span_in_context(root))]
        for name, begin, end in sorted(ran, key=lambda one: (one[1], -one[2])):
            while begin >= around[-1][0]:
                around.pop()
            span = self._tracer.start_span(name, around[-1][1], start_time=begin + wall)
            span.end(end + wall)
            around.append((end, set_span_in_context(span)))

    def close(self) -> None:
        """Send what is left, and make no more."""
        metrics.listen(None)
        self._provider.shutdown()


def _shortened(ran: Sequence[Ran], published: int) -> list[Ran]:
    """Have the poll begin when the batch's oldest record was published, if it waited for it."""
    name, begin, end = ran[0]
    return [(name, min(max(begin, published), end), end), *ran[1:]]


def _traces(records: Sequence[Record]) -> tuple[Context | None, list[Link]]:
    """Return the first sampled trace among the records, and links to the others."""
    from opentelemetry.trace import Link, get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    found: dict[int, Context] = {}
    for record in records:
        # a foreign program may have sent a header without a value
        carrier = {n: v.decode("latin-1") for n, v in record.headers if n in HEADERS and v}
        if not carrier or len(found) > LINKS:
            continue
        context = propagator.extract(carrier)
        of = get_current_span(context).get_span_context()
        if of.is_valid and of.trace_flags.sampled:
            found.setdefault(of.span_id, context)
    parent, *others = found.values() if found else (None,)
    return parent, [Link(get_current_span(one).get_span_context()) for one in others if one]
