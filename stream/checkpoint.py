"""When a batch counts as done: one order of writing, and where to begin again.

A crash between any two steps repeats records and loses none; the stamps in
the state (:class:`stream.writes.Stamped`) keep the repetition harmless.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from stream import metrics
from stream.errors import CheckpointError
from stream.faults import reach
from stream.records import Sink, Source, TopicPartition
from stream.store import DAY_MS, Store
from stream.writes import Plain, Refused, Writes

__all__ = ["Checkpoint", "Outcome", "start_position"]

log = logging.getLogger(__name__)

POSITION_TTL_MS: Final = 400 * DAY_MS
"""Longer than any state lives: a forgotten position means reading everything again."""


class Outcome(NamedTuple):
    """What became of a checkpoint.

    ``kept`` is False where Kafka did not take the positions: the group is
    being shared out anew, or has gone on without this member. It is True
    where Kafka is told later.
    """

    refused: list[Refused]
    kept: bool


class Checkpoint:
    """Writes batches in the order that loses nothing; see :meth:`commit`.

    Parameters
    ----------
    source, sink, store
        Where positions, records and values go.
    every_s
        How often Kafka is told the positions at the most; 0 tells it after each batch. A
        start from the older of two positions handles again what lies between them, and
        finds it known.
    """

    def __init__(self, source: Source, sink: Sink, store: Store, every_s: float = 0.0) -> None:
        self._source, self._sink, self._store = source, sink, store
        self._at: dict[TopicPartition, int] = {}
        self._owed: dict[TopicPartition, int] = {}
        self._every_s, self._told_at, self._refused = every_s, -math.inf, False

    def begin(self, place: TopicPartition, start: int) -> None:
        """Begin a partition at its next-to-read offset."""
        self._at[place] = start

    def forget(self, places: Iterable[TopicPartition]) -> None:
        """End partitions that were lost."""
        for place in places:
            self._at.pop(place, None)
            self._owed.pop(place, None)

    @property
    def positions(self) -> Mapping[TopicPartition, int]:
        """Partition -> next-to-read offset, as of the last checkpoint."""
        return self._at

    def commit(self, writes: Writes, positions: Mapping[TopicPartition, int]) -> Outcome:
        """Write a batch, then say that it was read.

        1. produced records, waited for;
        2. state (stamped writes);
        3. recommendations and whatever else follows from state; the changes feed;
        4. positions in Redis, so that they are lost together with the state they stand for;
        5. positions in Kafka, synchronously, unless it was told a moment ago.

        Records go out before the state: once the state is stamped, a redelivered
        event is skipped, and what it was to tell others would never be told. Told
        twice it is harmless, for each row carries the offset of its event.

        Parameters
        ----------
        writes
            What the batch changes.
        positions
            Next-to-read offset of every partition in the batch.

        Raises
        ------
        CheckpointError
            A position does not grow; nothing was written.
        StoreError
            Redis refuses, or stays away too long.
        BrokerError
            Kafka refuses a record or the positions.
        """
        self._check_growth(positions)
        with metrics.step("checkpoint.produce"):  # 1
            self._produce(writes)
        reach("produced")
        with metrics.step("checkpoint.state"):  # 2
            refused = self._store.write_stamped(writes.stamped)
        reach("states")
        with metrics.step("checkpoint.recommendations"):  # 3
            self._store.write_plain(writes.plain)
            reach("plain")
            self._store.add_changes(writes.changes)
        reach("changes")
        with metrics.step("checkpoint.positions"):  # 4
            self._write(positions)
        reach("positions")
        self._at.update(positions)
        self._owed.update(positions)
        with metrics.step("checkpoint.commit"):  # 5
            due = self._refused or time.monotonic() - self._told_at >= self._every_s
            kept = self.repay() if due else True
        reach("committed")
        return Outcome(refused, kept)

    @property
    def owes(self) -> bool:
        """Whether there are positions that Kafka was not told, or has refused."""
        return bool(self._owed)

    @property
    def refused(self) -> bool:
        """Whether Kafka has refused the last positions it was told."""
        return self._refused

    def repay(self) -> bool:
        """Commit to Kafka what is owed; False where it refuses, as amid a rebalance.

        The records are written; should the positions never be taken, they
        are read again, and found to be known.
        """
        self._told_at = time.monotonic()
        kept = self._source.commit(self._owed)
        self._refused = not kept
        if kept:
            self._owed.clear()
        return kept

    def confirm(self) -> None:
        """Write the positions in Redis again, unless Kafka has refused them so far.

        A consumer that slept while its partitions went to this one may have put older ones
        there since: harmless, but whoever begins there handles for nothing what is known.
        """
        if not self._refused:
            self._write(self._at)

    def _write(self, positions: Mapping[TopicPartition, int]) -> None:
        self._store.write_plain([one for at in positions.items() for one in self._copies(*at)])

    def _check_growth(self, positions: Mapping[TopicPartition, int]) -> None:
        for place, position in positions.items():
            if position <= self._at.get(place, -1):
                raise CheckpointError(
                    f"{place} would go from {self._at[place]} to {position}",
                    "report this: a batch was handled twice or out of order",
                )

    def _produce(self, writes: Writes) -> None:
        if writes.produced:
            for record in writes.produced[writes.ahead :]:
                self._sink.send(record)
            self._sink.flush()

    def _copies(self, place: TopicPartition, offset: int) -> list[Plain]:
        keys = self._store.position_keys(self._source.group, place.topic, place.partition)
        return [Plain(key, b"%d" % offset, POSITION_TTL_MS) for key in keys]


def start_position(source: Source, store: Store, place: TopicPartition) -> int:
    """Return the offset to read first: the older of what Kafka and Redis know.

    Redis may have lost its last seconds (a restart without persistence, a
    failover); its position went with them. Where it knows none at all but
    Kafka does, the state is gone, and everything is read again.

    Examples
    --------
    Kafka committed 120, Redis was restored from a snapshot at 90: 90.
    """
    group = source.group
    committed = source.committed(place)
    raws = store.get_many(store.position_keys(group, place.topic, place.partition))
    # A cluster's node without its copy has lost the states that lay beside it.
    written = min((int(raw) for raw in raws if raw is not None), default=None)
    written = None if None in raws else written
    beginning, end = source.beginning(place), source.end(place)
    if written is None:
        if committed is not None and committed > beginning:
            log.warning(
                "%s of %s: Redis knows no position though Kafka does (%d); its state is rebuilt "
                "from the beginning of the log (%d)",
                *(place, group, committed, beginning),
            )
        return beginning
    start = written if committed is None else min(committed, written)
    if start > end:
        log.warning(
            "%s of %s: the position %d lies past the log's end (%d); was the topic created anew? "
            "It is read from its beginning (%d), and older state in Redis may shadow it",
            *(place, group, start, end, beginning),
        )
        return beginning
    if start < beginning:
        log.warning(
            "%s of %s: the records %d to %d were deleted before they were read",
            *(place, group, start, beginning - 1),
        )
        return beginning
    return start
