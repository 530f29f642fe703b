"""What the service has done, as Prometheus reads it."""

from __future__ import annotations

from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Figures"]

disable_created_metrics()  # type: ignore[no-untyped-call]  # when a counter began is of no use to anybody here

BUCKETS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Figures:
    """Counters of one application, in a registry of its own.

    Attributes
    ----------
    media_type
        Of :meth:`text`.
    in_flight
        Requests that are being answered.
    degraded
        Answers made without a server that was away, by its name.
    published, refused
        Events that Kafka has, and those it was not to be had for.
    """

    media_type: Final = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: Any = {"registry": self.registry}
        by = ("method", "route", "status")
        self._requests = Counter("rillet_http_requests", "Requests answered.", by, **own)
        self._seconds = Histogram(
            "rillet_http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            ("method", "route"),
            buckets=BUCKETS_S,
            **own,
        )
        self.in_flight = Gauge("rillet_http_requests_in_flight", "Being answered now.", **own)
        self.degraded = Counter(
            "rillet_http_degraded", "Answered without a server that was away.", ("away",), **own
        )
        self.published = Counter("rillet_http_events_published", "Events that Kafka has.", **own)
        self.refused = Counter(
            "rillet_http_events_refused", "Events that Kafka was not to be had for.", **own
        )
        self._children: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[tuple[str, str], Histogram] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note an answered request; ``route`` is the pattern of its path, never the path."""
        key = (method, route, status)
        # Finding a labelled child takes longer than counting in it.
        counter = self._children.get(key)
        if counter is None:
            counter = self._children[key] = self._requests.labels(method, route, str(status))
        timer = self._timers.get((method, route))
        if timer is None:
            timer = self._timers[method, route] = self._seconds.labels(method, route)
        counter.inc()
        timer.observe(seconds)

    def text(self) -> bytes:
        """Return all figures in Prometheus' text format."""
        return generate_latest(self.registry)
