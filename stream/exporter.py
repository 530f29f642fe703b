"""A consumer's metrics for Prometheus: ``GET /metrics`` over HTTP, off by default.

Everything is read at the moment of a scrape, in the server's thread, from what
:mod:`stream.metrics` and :mod:`stream.gauges` have anyway: the hot path does nothing for it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from stream import gauges, metrics
from stream.errors import SettingsError
from stream.export_settings import MetricsSettings
from stream.families import AGE, BUILD, COUNTERS, FRESHNESS, GAUGES, INFO, STEPS, Counted, Family

__all__ = ["exported"]

log = logging.getLogger(__name__)

STEP_SIZES: Final = range(15, 36)
"""Bounds of steps' buckets: 2**15 ns is 33 microseconds, 2**35 ns 34 seconds."""

FRESH_SIZES: Final = range(20, 43)
"""Bounds of freshness' buckets: a millisecond to 73 minutes."""

SLOW_S: Final = 10.0
"""A client that says nothing for so long is left alone."""


class _Figures(Collector):
    """What this process has counted, under the names of :mod:`stream.families`."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer

    def collect(self) -> Iterator[Metric]:
        counters = metrics.counters()
        for one in COUNTERS:
            yield self._counter(one, counters)
        yield self._steps()
        fresh = self._histogram(FRESHNESS)
        _add(fresh, [self._consumer], metrics.freshness(), FRESH_SIZES)
        yield fresh
        for family in GAUGES:
            yield self._gauge(family, gauges.known(family.source).items())
        made, now = gauges.known(INFO.source), time.time()
        yield self._gauge(INFO, ((labels, 1) for labels in made))
        ages = (((kind,), now - at) for (kind, _), at in made.items() if at)
        yield self._gauge(AGE, ages)
        yield self._gauge(BUILD, [((_version(),), 1)])

    def _counter(self, one: Counted, counters: dict[str, int]) -> Metric:
        labels = ["consumer", *one.family.labels]
        shown = CounterMetricFamily(one.family.name, one.family.help, labels=labels)
        if not one.family.labels:
            shown.add_metric([self._consumer], counters.get(one.counter, 0))
            return shown
        found = dict.fromkeys(one.known, 0)
        for name, count in counters.items():
            if name.startswith(one.counter):
                found[name.removeprefix(one.counter)] = count
        for value, count in sorted(found.items()):
            shown.add_metric([self._consumer, value], count)
        return shown

    def _steps(self) -> Metric:
        shown = self._histogram(STEPS)
        for name, one in sorted(metrics.steps().items()):
            _add(shown, [self._consumer, name], one, STEP_SIZES)
        return shown

    def _histogram(self, family: Family) -> HistogramMetricFamily:
        labels = ["consumer", *family.labels]
        return HistogramMetricFamily(family.name, family.help, labels=labels)

    def _gauge(self, family: Family, values: Iterable[tuple[Sequence[str], float]]) -> Metric:
        labels = ["consumer", *family.labels]
        shown = GaugeMetricFamily(family.name, family.help, labels=labels)
        for mine, value in values:
            shown.add_metric([self._consumer, *mine], value)
        return shown


def _add(
    shown: HistogramMetricFamily, labels: list[str], one: metrics.Histogram, sizes: range
) -> None:
    below, count = one.below(sizes)
    bounds = [repr(2**size / 1e9) for size in sizes]
    buckets = [*zip(bounds, below, strict=True), ("+Inf", count)]
    shown.add_metric(labels, buckets, sum_value=one.wall_ns / 1e9)


def _version() -> str:
    try:
        return version("rillet")
    except PackageNotFoundError:  # it runs from a checkout
        return ""


class _Request(WSGIRequestHandler):
    timeout = SLOW_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Log nothing: a scrape is no news."""


class _Server(ThreadingWSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        # the first address decides whether it is IPv4 or IPv6
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, address = found[0]
        super().__init__(address[:2], _Request)  # type: ignore[arg-type]


@contextmanager
def exported(consumer: str, settings: MetricsSettings) -> Iterator[None]:
    """Serve this process' metrics while the context lasts, unless ``metrics.port`` is 0.

    Parameters
    ----------
    consumer
        The consumer's name, which becomes a label.
    settings
        Where to listen.

    Raises
    ------
    SettingsError
        It cannot listen there.
    """
    if not settings.port:
        yield
        return
    registry = CollectorRegistry()
    registry.register(_Figures(consumer))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server = _Server(settings.host, settings.port)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise SettingsError(
            f"metrics cannot be served on {where}: {error.strerror}",
            "each process on a host needs a port of its own: metrics.port, or --metrics-port",
        ) from error
    server.set_app(make_wsgi_app(registry))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics of %s: http://%s:%d/metrics", consumer, settings.host, settings.port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
