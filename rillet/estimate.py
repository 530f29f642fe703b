"""What an engine of some size will take: Redis by kind of key, Kafka and the archive on disk.

Values are made by the real folds and codecs, and weighed as Redis 7 with
jemalloc keeps them: rounded up to the allocator's sizes, with the entries of
two hash tables (keys, and times to live) for every key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from features.card import AsOf
from features.session import Session
from features.tombstone import encode_tombstone
from rillet.sample_values import Values, sample_values
from rillet.sizes import Shape
from stream.cluster import TAGS
from stream.events import BadRecord, decode
from stream.keys import Keys
from stream.records import Record, TopicPartition
from stream.settings import Settings

__all__ = ["Estimate", "Kind", "Load", "allocated", "entry_bytes", "estimate", "table_bytes"]

DIMENSIONS: Final = 384
"""Numbers of a content vector by the builtin encoder."""

NOON_MS: Final = 43_200_000
NOW_MS: Final = 1_795_000_000_000
DAY_S: Final = 86_400
ENTRY: Final = 24
"""Bytes of an entry of a hash table: key, value, next."""

OBJECT: Final = 16
BASE: Final = 1_000_000
"""Bytes that an empty Redis takes."""

LISTS_OPEN: Final = 20_000
"""Shown lists of a partition that wait for clicks, at the most."""

OPEN_BYTES: Final = 1_500
"""Of an open list, and so many more for each of its items."""
OPEN_ITEM_BYTES: Final = 220

MODELS_BYTES: Final = 117_000
MODELS_ITEM_BYTES: Final = 306
"""What the sources of a process have learned: its size, and what each item adds."""

GROUPS: Final = 3
"""Consumers that keep positions in Redis, one for each partition of the topic they read."""

POSITION_BYTES: Final = 8

LEARNER_BYTES: Final = 44_000
TAUGHT_BYTES: Final = 30_000

BATCH_S: Final = 0.1
"""How long a batch takes when there is much to do: its events change items together."""

TOUCHED: Final = 4
"""Items that an event changes the statistics of."""

RECORD_BYTES: Final = 24
"""What Kafka adds to a record: its own head, and its part of the batch's."""


@dataclass(frozen=True, slots=True)
class Load:
    """What flows through: for disk, and for what is kept of it in Redis.

    Attributes
    ----------
    per_s
        Events a second over the day.
    event_bytes
        Of an event as JSON; 0: as the sample's are.
    keep_days, replicas
        How long Kafka keeps records, and how often.
    partitions, processes
        Of the events topic, and of `personalize`.
    """

    per_s: float = 0.0
    event_bytes: float = 0.0
    keep_days: float = 7.0
    replicas: int = 1
    partitions: int = 4
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """Keys of one kind: how many, their mean value, and what all of them take with overhead."""

    name: str
    keys: int
    value_bytes: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """The whole estimate.

    Attributes
    ----------
    kinds
        Redis, by kind of key.
    tables
        Bytes of Redis' hash tables of all keys, and of an empty Redis.
    redis_bytes, per_user, per_item
        All of it; what one more user and one more item take.
    kafka_bytes_a_day, kafka_bytes, archive_bytes_a_day
        On disk, without compression by Kafka; 0 where no rate is given.
    """

    kinds: list[Kind]
    tables: int
    redis_bytes: int
    per_user: float
    per_item: float
    kafka_bytes_a_day: float
    kafka_bytes: float
    archive_bytes_a_day: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def allocated(size: int) -> int:
    """Return what jemalloc gives for so many bytes: 8, 16, then four sizes a doubling.

    Examples
    --------
    >>> [allocated(size) for size in (1, 17, 49, 65, 129, 3000)]
    [8, 32, 64, 80, 160, 3072]
    """
    if size <= 16:
        return 8 if size <= 8 else 16
    step = max(16, 2 ** ((size - 1).bit_length() - 3))
    return int(math.ceil(size / step) * step)


def string_bytes(length: int) -> int:
    """Return what a string of this length takes: a head by its length, and a closing zero."""
    head = 1 if length < 32 else 3 if length < 256 else 5 if length < 65_536 else 9
    return allocated(length + head + 1)


def entry_bytes(key: int, value: int) -> int:
    """Return what a key with a time to live takes beside the tables themselves.

    Parameters
    ----------
    key, value
        Their lengths in bytes.
    """
    return 2 * allocated(ENTRY) + string_bytes(key) + OBJECT + string_bytes(value)


def table_bytes(keys: int) -> int:
    """Return what the tables of keys and of times to live take: powers of two, 8 bytes a place."""
    return 16 << max(2, math.ceil(math.log2(max(1, keys))))


def estimate(shape: Shape, load: Load, settings: Settings) -> Estimate:
    """Return what an engine of this size takes.

    Parameters
    ----------
    shape, load
        How large it is, and what flows through.
    settings
        Key prefix, length of lists, how much is remembered.
    """
    values = sample_values(shape, settings)
    kinds = _kinds(values, shape, load, settings)
    tables = table_bytes(sum(kind.keys for kind in kinds)) + BASE
    each = {kind.name: kind.bytes / max(1, kind.keys) + 32 for kind in kinds}
    stones = _tombstones(shape, settings) / shape.users
    a_day = _kafka(values, load) * load.per_s * DAY_S
    return Estimate(
        kinds=kinds,
        tables=tables,
        redis_bytes=sum(kind.bytes for kind in kinds) + tables,
        per_user=each["session"] + each["recs"] + stones * each["forgotten"],
        per_item=sum(each[name] for name in ("item", "vector", "itemstate", "neighbours")),
        kafka_bytes_a_day=a_day,
        kafka_bytes=a_day * load.keep_days * load.replicas,
        archive_bytes_a_day=_archived(values, load) * load.per_s * DAY_S if load.per_s else 0.0,
    )


def _kinds(values: Values, shape: Shape, load: Load, settings: Settings) -> list[Kind]:
    keys, user, item = Keys(settings.redis.prefix), "u" * shape.user_chars, "i" * shape.item_chars
    named = {
        "session": (keys.session(user), shape.users),
        "recs": (keys.recs(user), shape.users + 1),
        "item": (keys.item(item), shape.items),
        "itemstate": (keys.item_state(item), shape.items),
        "neighbours": (keys.neighbours(item), shape.items),
    }
    found = [
        _kind(name, len(key), count, [len(value) for value in values.by_kind[name]])
        for name, (key, count) in named.items()
    ]
    vector = keys.vector("e" * 49, "h" * 64)
    found.append(_kind("vector", len(vector), shape.items, [2 * DIMENSIONS]))
    waiting = load.per_s * shape.lists / max(1.0, shape.lists + shape.history + shape.searches)
    waiting = min(waiting * settings.blend.join_s, LISTS_OPEN * load.partitions)
    length = round(OPEN_BYTES + OPEN_ITEM_BYTES * shape.shown)
    found.append(
        _kind("open", len(keys.open_list(0, user)) + shape.id_chars, int(waiting), [length])
    )
    length = round(MODELS_BYTES + MODELS_ITEM_BYTES * shape.items)
    found.append(_kind("models", len(keys.models(0)), load.processes, [length]))
    found.append(_kind("learner", len(keys.learner(0)), load.partitions, [LEARNER_BYTES]))
    found.append(_kind("taught", len(keys.taught(0)), load.partitions, [TAUGHT_BYTES]))
    stone = Session(as_of=AsOf(0, 10**7, NOW_MS), user="", forgotten=NOW_MS)
    stones, raw = _tombstones(shape, settings), encode_tombstone(stone)
    found.append(_kind("forgotten", len(keys.forgotten(user)), round(stones), [len(raw)]))
    return [*found, _positions(keys, load, settings), _feed(keys, shape, load, settings)]


def _tombstones(shape: Shape, settings: Settings) -> float:
    """Return how many there are in the end: they live longer than users' states."""
    return shape.users * shape.gone * settings.privacy.tombstone_days / settings.redis.ttl_days


def _positions(keys: Keys, load: Load, settings: Settings) -> Kind:
    """Return the positions; on a cluster there are copies, so that each node has one."""
    url, kafka = settings.redis.url.get_secret_value(), settings.kafka
    tags = TAGS if url.partition("://")[0].endswith("+cluster") else 0
    key = keys.position(f"{kafka.group}.personalize", kafka.events, 0, "0000" if tags else "")
    return _kind("position", len(key), GROUPS * load.partitions * (1 + tags), [POSITION_BYTES])


def _kind(name: str, key: int, count: int, lengths: Sequence[int]) -> Kind:
    each = sum(entry_bytes(key, length) for length in lengths) / len(lengths)
    return Kind(name, count, round(sum(lengths) / len(lengths), 1), round(each * count))


def _feed(keys: Keys, shape: Shape, load: Load, settings: Settings) -> Kind:
    """Return the feed of changes, full: an entry names the items that one batch changed."""
    batch = min(settings.batch.max_records, max(4.0, load.per_s / load.processes * BATCH_S))
    items = min(shape.items, round(batch * TOUCHED))
    length = 12 + items * (shape.item_chars + 3)
    return Kind("changes", 1, length, settings.redis.changes * (length + ENTRY))


def _kafka(values: Values, load: Load) -> float:
    """Return bytes an event on disk: its own record, and what it tells `neighbours`."""
    events = len(values.events)
    own = load.event_bytes or sum(map(len, values.events)) / events
    told = sum(map(len, values.transitions)) / events
    return own + told + 2 * RECORD_BYTES


def _archived(values: Values, load: Load) -> float:
    """Return bytes an event in the archive: the sample, written by the archive's own code."""
    from stream.archive.table import row_of
    from stream.archive.writer import ArchiveWriter

    rows = []
    for offset, raw in enumerate(values.events):
        event = decode(raw)
        if not isinstance(event, BadRecord):
            row = row_of(Record("events", 0, offset, b"u", raw), event)
            rows.append(row._replace(timestamp=NOON_MS))  # one file, as of a busy partition
    writer = ArchiveWriter("memory://rillet-estimate")
    span = writer.write(TopicPartition("events", 0), 0, len(rows), rows)
    size = sum(file.bytes for file in span.files) / max(1, len(rows))
    share = load.event_bytes / (sum(map(len, values.events)) / len(rows)) if load.event_bytes else 1
    return size * share
