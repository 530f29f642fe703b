"""Settings in, a running consumer out: the only chooser of concrete things for a live run."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from consumers.catalogue import CatalogueConsumer
from consumers.encoders import Promoted, promoted_encoder
from consumers.lockstep import CatchUp, Lockstep
from consumers.neighbours import Neighbours
from consumers.observed import observe
from consumers.personalize import Personalize
from consumers.served import ServedModel
from consumers.served_encoder import FollowedEncoder, Serving, ViewedEncoder
from consumers.view import LiveView
from features.text import TextEncoder, load_encoder
from stream.clock import Clock, SystemClock
from stream.errors import BrokerError, SettingsError
from stream.exporter import exported
from stream.kafka import KafkaSink, KafkaSource
from stream.loop import Handler, Loop
from stream.records import TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.topics import describe
from stream.tracing import tracer_for
from stream.writes import Writes

if TYPE_CHECKING:  # Parquet is for those who archive, torch for those who train
    from consumers.archive import Archive

__all__ = [
    "CONSUMERS",
    "OPTIONAL",
    "build_archive",
    "build_loop",
    "configure_logs",
    "end_beside",
    "group_of",
    "handler_of",
    "partitions_of",
    "run_consumer",
    "save_learners",
]

log = logging.getLogger(__name__)

CONSUMERS: Final = ("catalogue", "personalize", "neighbours")
"""Those without which there are no lists."""

OPTIONAL: Final = ("archive", "finetune")
"""Those that may run beside them."""

OURS: Final = ("stream", "features", "models", "consumers", "rillet")
"""Packages whose news are of interest; of others only warnings are."""

MAKE_TOPICS: Final = "`rillet init --topics` makes the topics"


def group_of(name: str, settings: Settings) -> str:
    """Return the consumer group of a consumer.

    Examples
    --------
    >>> group_of("neighbours", Settings())
    'rillet.neighbours'
    """
    return f"{settings.kafka.group}.{name}"


def build_loop(
    name: str, settings: Settings, store: Store, *, encoder: TextEncoder | None = None
) -> Loop:
    """Return the loop of a consumer over Kafka; nothing is read before it runs.

    Parameters
    ----------
    name
        One of :data:`CONSUMERS`.
    settings
        All settings.
    store
        Opened by the caller, who also closes it.
    encoder
        The text encoder; None loads the promoted one where it is needed, and follows it.

    Raises
    ------
    SettingsError
        There is no such consumer.
    BrokerError
        Kafka cannot be reached, or lacks a topic.
    EncoderError
        The text encoder cannot be loaded.
    """
    if name not in CONSUMERS:
        mend = f"the consumers are {', '.join((*CONSUMERS, *OPTIONAL))}"
        raise SettingsError(f"there is no consumer {name!r}", mend)
    partitions = partitions_of(settings)
    handler = handler_of(name, settings, store, partitions, encoder, SystemClock())
    source = KafkaSource(settings.kafka, handler.topics, group_of(name, settings))
    try:
        sink = KafkaSink(settings.kafka)
        if isinstance(handler, Personalize):
            handler.sink = sink
        if settings.batch.lockstep and name == "personalize":
            handler = Lockstep(handler, _catch_up(settings, source, store, partitions))
        return Loop(handler, source, sink, store, settings.batch)
    except BaseException:
        source.close()
        raise


def build_archive(settings: Settings, store: Store | None) -> Archive:
    """Return the consumer `archive` over Kafka; nothing is read before it runs.

    Parameters
    ----------
    settings
        All settings.
    store
        Takes its heartbeats; opened by the caller, who also closes it.

    Raises
    ------
    FolderError
        ``archive.url`` cannot be used.
    BrokerError
        Kafka cannot be reached, or lacks a topic.
    """
    from consumers.archive import Archive

    source = KafkaSource(settings.kafka, Archive.topics(settings), group_of("archive", settings))
    try:
        return Archive(settings, source, store)
    except BaseException:
        source.close()
        raise


def partitions_of(settings: Settings) -> Mapping[str, int]:
    """Return the number of partitions of each of our topics.

    Raises
    ------
    BrokerError
        Kafka cannot be reached, or lacks a topic.
    """
    states = describe(settings.kafka).topics
    missing = [f"{state.name} ({state.note})" for state in states if not state.partitions]
    if missing:
        where = f"Kafka at {settings.kafka.bootstrap}"
        raise BrokerError(f"{where} lacks a topic: {', '.join(missing)}", MAKE_TOPICS)
    return {state.name: state.partitions for state in states}


def handler_of(
    name: str,
    settings: Settings,
    store: Store,
    partitions: Mapping[str, int],
    encoder: TextEncoder | None,
    wall: Clock,
) -> Handler:
    """Return what does a consumer's work, by a clock; see :func:`build_loop`."""
    if name == "neighbours":
        return Neighbours(settings, store)
    lockstep = settings.batch.lockstep
    follows = encoder is None and not lockstep  # what such a run is compared with follows nothing
    begun = promoted_encoder(settings) if follows else _given(settings, encoder)
    encoder = begun.encoder
    # Without a clock answers carry the events' time, as those of a replay do.
    clock = None if lockstep else wall
    if name == "catalogue":
        keeper = CatalogueConsumer(settings, store, encoder, clock)
        if follows:
            keeper.follower = FollowedEncoder(settings, store, begun.version, keeper.exchange)
        return keeper
    pace = {"every_ms": 0} if lockstep else {}
    view = LiveView(
        settings,
        store,
        encoder,
        transition_partitions=partitions[settings.kafka.transitions],
        event_partitions=partitions[settings.kafka.events],
        **pace,
    )
    consumer = Personalize(settings, store, view, clock=clock)
    if not lockstep:  # what a lockstep run is compared with trains on its own way, or not at all
        model = ServedModel(settings, store, consumer.engine, encoder.version)
        viewed = ViewedEncoder(settings, store, begun.version, view, model.follow)
        consumer.served = Serving(viewed, model) if follows else model
    return consumer


def _given(settings: Settings, encoder: TextEncoder | None) -> Promoted:
    return Promoted(encoder or load_encoder(settings.encoder), "")


def _catch_up(
    settings: Settings, source: KafkaSource, store: Store, partitions: Mapping[str, int]
) -> Callable[[], None]:
    topic = settings.kafka.transitions
    places = [TopicPartition(topic, number) for number in range(partitions[topic])]
    return CatchUp(source, store, group_of("neighbours", settings), places)


def run_consumer(
    name: str, settings: Settings, stop: threading.Event, ready: Callable[[], None] | None = None
) -> None:
    """Run a consumer until ``stop`` is set; the batch at hand is finished.

    Parameters
    ----------
    name
        One of :data:`CONSUMERS` or :data:`OPTIONAL`.
    settings
        All settings.
    stop
        Ends it.
    ready
        Called once when everything is built, before the first record is read.

    Raises
    ------
    RilletError
        It could not be built, or could not go on.
    """
    others = {"archive": _run_archive, "finetune": _run_finetune}
    with exported(name, settings.metrics):
        if name in others:
            others[name](settings, stop, ready)
        else:
            _run_loop(name, settings, stop, ready)


def _run_loop(
    name: str, settings: Settings, stop: threading.Event, ready: Callable[[], None] | None
) -> None:
    tracer = tracer_for(name, settings.tracing)
    store = Store(settings.redis)
    store.restarts.watching = True
    try:
        loop = build_loop(name, settings, store)
        loop.tracer = tracer
        observe(inner_of(loop.handler))
        if ready is not None:
            ready()
        log.info("%s runs on Kafka %s and %s", name, settings.kafka.bootstrap, store.url)
        try:
            loop.run(stop, lambda: save_learners(loop.handler, store))
        finally:
            end_beside(loop.handler)
        log.info("%s ended after %d records", name, loop.events)
    finally:
        store.close()
        if tracer is not None:
            tracer.close()


def _run_archive(
    settings: Settings, stop: threading.Event, ready: Callable[[], None] | None
) -> None:
    # It needs Redis for its heartbeats alone, and does not wait for it.
    store = Store(settings.redis, retry_s=0.0)
    try:
        archive = build_archive(settings, store)
        if ready is not None:
            ready()
        where = archive.writer.files.url
        log.info("archive runs on Kafka %s and %s", settings.kafka.bootstrap, where)
        archive.run(stop)
        log.info("archive ended after %d records", archive.events)
    finally:
        store.close()


def _run_finetune(
    settings: Settings, stop: threading.Event, ready: Callable[[], None] | None
) -> None:
    store = Store(settings.redis)
    try:
        from consumers.finetune import Finetune

        job = Finetune(settings, store)
        if ready is not None:
            ready()
        log.info("finetune reads %s, models go to %s", settings.archive.url, job.registry.url)
        job.run(stop)
        log.info("finetune ended after %d runs", job.runs)
    finally:
        store.close()


def inner_of(handler: Handler) -> Handler:
    """Return the consumer itself, of one that takes turns with another."""
    return handler.inner if isinstance(handler, Lockstep) else handler


def save_learners(handler: Handler, store: Store) -> None:
    """Write what a personalize consumer has learned since its last checkpoints.

    Only after a run that ended well: after an error memory may be ahead of
    what was committed. And while the partitions are still held: their next
    owner reads it.
    """
    inner = inner_of(handler)
    if isinstance(inner, Personalize):
        writes = Writes()
        inner.learners.checkpoint(writes, models=True)
        store.write(writes)


def end_beside(handler: Handler) -> None:
    """End what a consumer does in threads; it is done with when the process ends."""
    inner = inner_of(handler)
    if isinstance(inner, Personalize) and inner.served is not None:
        inner.served.close()
    elif isinstance(inner, CatalogueConsumer) and inner.follower is not None:
        inner.follower.close()


class _OneLine(logging.Formatter):
    """One line an event, tracebacks too, so that collectors of logs keep them together."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def configure_logs(verbosity: int = 0) -> None:
    """Log to standard error: -1 warnings only, 0 what happens, 1 more, 2 the libraries too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    foreign = logging.DEBUG if verbosity > 1 else logging.WARNING
    logging.basicConfig(level=foreign, handlers=[handler], force=True)
    if verbosity < 1:
        # A broker that is away is reported once by us, not a hundred times by the client.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    ours = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    for name in OURS:
        logging.getLogger(name).setLevel(ours)
