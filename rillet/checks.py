"""What ``rillet doctor`` looks at, one function an area; nothing here changes anything."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, NamedTuple

from stream.errors import NotReadyError, RilletError
from stream.settings import Settings

if TYPE_CHECKING:
    from stream.store import Store

__all__ = ["AREAS", "FAIL", "OK", "WARN", "Finding", "examine", "topics_of"]

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"

PATIENCE_S: Final = 5.0
"""How long a server that does not answer is waited for."""

PACKAGES: Final = (
    *("kafka-python", "redis", "msgspec", "pydantic", "numpy", "river", "onnxruntime"),
    *("pyarrow", "fsspec"),
    *("tokenizers", "transformers", "torch", "typer", "rich", "matplotlib"),
)

ONLY_FOR_EXPORT: Final = ("torch", "transformers", "matplotlib")
"""Packages without which consumers run all the same, once the encoder is exported."""

OLDEST_REDIS: Final = (6, 2)
SLOW_PING_MS: Final = 5.0
FULL: Final = 0.9
LAGGING: Final = 10_000


class Finding(NamedTuple):
    """One line of the doctor's report; ``mend`` says what to do, where there is anything."""

    area: str
    level: str
    message: str
    mend: str = ""


def examine(settings: Settings, area: str) -> list[Finding]:
    """Look at one area; an error of ours becomes a finding."""
    found = []
    try:
        for level, message, mend in AREAS[area](settings):
            found.append(Finding(area, level, message, mend))
    except RilletError as error:
        found.append(Finding(area, FAIL, str(error), error.mend))
    return found


Line = tuple[str, str, str]


def _settings(settings: Settings) -> Iterator[Line]:
    from models.sources.registry import check_names

    check_names(settings.sources.enabled)
    yield OK, f"settings are valid, keys begin with {settings.redis.prefix}:", ""
    if settings.batch.lockstep or settings.batch.cut:
        mend = "set batch.lockstep and batch.cut back"
        yield WARN, "settings meant for tests are on: batch.lockstep or batch.cut", mend
    if settings.kafka.max_record_bytes > settings.batch.max_bytes:
        mend = "raise batch.max_bytes, or lower kafka.max_record_bytes"
        yield WARN, "records that Kafka takes would be dead letters for their length", mend


def _packages(settings: Settings) -> Iterator[Line]:
    here = ".".join(map(str, sys.version_info[:3]))
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield OK, f"Python {here}, {', '.join(found)}", ""
    for name in missing:
        level = WARN if name in ONLY_FOR_EXPORT else FAIL
        yield level, f"the package {name} is not installed", f"pip install {name}"


def _encoder(settings: Settings) -> Iterator[Line]:
    from consumers.encoders import promoted_encoder

    encoder = promoted_encoder(settings).encoder
    began = time.perf_counter()
    encoder.encode(["a cup of tea"])
    took = (time.perf_counter() - began) * 1000
    yield OK, f"{encoder.version}, {encoder.dim} numbers, {took:.0f} ms a text", ""
    if "-torch-" in encoder.version:
        mend = "see the log of `rillet consume catalogue -v` for why the export fails"
        yield WARN, "it runs in torch, slowly: its ONNX export failed", mend


def _impatient(settings: Settings) -> Settings:
    timeout = min(PATIENCE_S, settings.kafka.timeout_s)
    kafka = settings.kafka.model_copy(update={"timeout_s": timeout})
    return settings.model_copy(update={"kafka": kafka})


def _kafka(settings: Settings) -> Iterator[Line]:
    from stream.topics import describe

    brokers = describe(_impatient(settings).kafka).brokers
    yield OK, f"{len(brokers)} broker{'s' * (len(brokers) > 1)}: {', '.join(sorted(brokers))}", ""
    if len(brokers) < settings.kafka.replication:
        mend = "lower kafka.replication, or start more brokers"
        yield FAIL, f"{settings.kafka.replication} replicas are set, there are fewer brokers", mend


def _topics(settings: Settings) -> Iterator[Line]:
    from stream.topics import HIDDEN, describe

    for topic in describe(_impatient(settings).kafka).topics:
        if topic.note == HIDDEN:
            mend = "grant Describe on it, if this role needs it; see docs/security-kafka.md"
            yield FAIL, f"{topic.name} is {topic.note}", mend
        elif not topic.partitions:
            yield FAIL, f"there is no topic {topic.name}", "rillet init --topics"
        else:
            yield OK, f"{topic.name}: {topic.partitions} partitions", ""


def _opened(settings: Settings) -> Store:
    from stream.store import Store

    return Store(settings.redis, retry_s=0.0)


def _redis(settings: Settings) -> Iterator[Line]:
    store = _opened(settings)
    try:
        health = store.health()
        used = f"{health.used_bytes / 1e6:,.1f} MB in {health.keys:,} keys"
        masters = f"{health.servers} masters, " if health.servers > 1 else ""
        ping = f"ping {health.ping_ms:.2f} ms"
        yield OK, f"{store.url}: {masters}{health.version}, {ping}, {used}", ""
        number = tuple(int(part) for part in health.version.split(".")[:2])
        if number < OLDEST_REDIS:
            yield FAIL, f"Redis {health.version} is too old", "6.2 or newer is needed"
        if health.ping_ms > SLOW_PING_MS:
            mend = "put Redis nearer to the consumers: every batch waits for it twice"
            yield WARN, f"Redis is {health.ping_ms:.1f} ms away", mend
        if health.policy not in ("", "noeviction"):
            mend = "set maxmemory-policy to noeviction; every key has a TTL of its own"
            yield WARN, f"maxmemory-policy {health.policy} may evict users' states", mend
        if health.full > FULL:
            mend = "raise maxmemory, or lower redis.ttl_days"
            yield WARN, f"Redis is {health.full:.0%} full", mend
        lives = f"users and statistics {settings.redis.ttl_days:g} days"
        yield OK, f"keys live: {lives}, items {settings.items.ttl_days:g} days after a write", ""
    finally:
        store.close()


def _catalogue(settings: Settings) -> Iterator[Line]:
    store = _opened(settings)
    try:
        items = sum(1 for _ in store.scan("item"))
        if not items:
            mend = "publish `item` events with `rillet consume catalogue` running"
            yield WARN, "there are no items: lists stay empty", mend
        else:
            yield OK, f"{items:,} items", ""
        if store.get(store.keys.recs("*default*")) is None:
            mend = "publish interactions with `rillet consume personalize` running"
            yield WARN, "there is no list for unknown users yet", mend
    finally:
        store.close()


def topics_of(settings: Settings, alive: Iterable[str] = ()) -> dict[str, list[str]]:
    """Return what each consumer reads: of those without which there are no lists, and others.

    Parameters
    ----------
    settings
        Say which others are meant to run.
    alive
        Names of consumers that do run.

    Examples
    --------
    >>> sorted(topics_of(Settings())), sorted(topics_of(Settings(), ["archive"]))
    (['catalogue', 'neighbours', 'personalize'],
     ['archive', 'catalogue', 'neighbours', 'personalize'])
    """
    kafka = settings.kafka
    found = {
        "catalogue": [kafka.catalogue],
        "personalize": [kafka.events],
        "neighbours": [kafka.transitions],
    }
    if settings.archive.enabled or "archive" in set(alive):
        found["archive"] = [kafka.events, kafka.catalogue]
    return found


def _consumers(settings: Settings) -> Iterator[Line]:
    from rillet.heartbeats import Heartbeats

    store = _opened(settings)
    try:
        alive = Heartbeats().read(store)
    finally:
        store.close()
    for name in topics_of(settings, [pulse.name for pulse in alive]):
        mine = [pulse for pulse in alive if pulse.name == name]
        if not mine:
            yield WARN, f"no {name} is running", f"rillet consume {name}, or rillet up"
        else:
            where = ", ".join(f"{pulse.host}:{pulse.pid}" for pulse in mine)
            events = sum(pulse.events_per_s for pulse in mine)
            yield OK, f"{name}: {len(mine)} running ({where}), {events:,.0f} records/s", ""


def _lag(settings: Settings) -> Iterator[Line]:
    from stream.topics import group_lag

    kafka = _impatient(settings).kafka
    for name, topics in topics_of(settings).items():
        try:
            lags = group_lag(kafka, f"{kafka.group}.{name}", topics)
        except NotReadyError as error:
            yield WARN, f"how far {name} is behind is not known yet: {error}", error.mend
            continue
        behind = sum(lag.lag for lag in lags)
        if behind > LAGGING:
            mend = f"wait, or start more of `rillet consume {name}`"
            yield WARN, f"{name} is {behind:,} records behind", mend
        else:
            yield OK, f"{name} is {behind:,} records behind", ""


AREAS: Final[dict[str, Callable[[Settings], Iterator[Line]]]] = {
    "settings": _settings,
    "packages": _packages,
    "encoder": _encoder,
    "kafka": _kafka,
    "topics": _topics,
    "redis": _redis,
    "catalogue": _catalogue,
    "consumers": _consumers,
    "lag": _lag,
}
"""Everything the doctor looks at, in this order."""

NEEDS: Final = {
    **dict.fromkeys(("topics", "lag"), "kafka"),
    **dict.fromkeys(("catalogue", "consumers"), "redis"),
}
"""Areas that can only be looked at when another one is well."""
