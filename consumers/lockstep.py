"""For tests: `personalize` and `neighbours` take turns, as they do in a replay.

A live run and a replay of one log agree byte for byte only where every batch
sees the same statistics. With ``batch.lockstep`` personalize waits after each
batch until `neighbours` has worked off what that batch sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from stream.errors import CheckpointError
from stream.loop import Handler
from stream.records import Record, Source, TopicPartition
from stream.store import Store
from stream.writes import Writes

__all__ = ["CatchUp", "Lockstep"]

PATIENCE_S: Final = 60.0
"""Within this time a member that does not poll is still counted in by its group."""

POLL_S: Final = 0.002


class CatchUp:
    """Waits until a group's positions in Redis have reached the ends of a topic.

    Positions in Redis are written after the state they stand for, so whoever
    sees them sees the state.

    Parameters
    ----------
    source
        Asked for the topic's ends; it need not read the topic.
    store
        Where the group's positions lie.
    group
        Who is waited for.
    places
        All partitions of the topic.
    patience_s
        How long.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        group: str,
        places: Sequence[TopicPartition],
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._source, self._places = source, list(places)
        self._store, self._group, self._patience_s = store, group, patience_s

    def __call__(self) -> None:
        """Wait.

        Raises
        ------
        CheckpointError
            The group does not get there in time.
        """
        ends = {place: self._source.end(place) for place in self._places}
        deadline = time.monotonic() + self._patience_s
        while behind := self._behind(ends):
            if time.monotonic() > deadline:
                raise CheckpointError(
                    f"{self._group} did not catch up within {self._patience_s:g} s: {behind}",
                    "run `rillet consume neighbours` too; batch.lockstep is for tests only",
                )
            time.sleep(POLL_S)

    def _behind(self, ends: Mapping[TopicPartition, int]) -> str:
        """Return which partitions are behind, for a person; "" where none is."""
        waiting = [place for place, end in ends.items() if end > 0]
        keys = [self._store.keys.position(self._group, p.topic, p.partition) for p in waiting]
        found = [int(raw or 0) for raw in self._store.get_many(keys)] if keys else []
        return ", ".join(
            f"{place} at {at} of {ends[place]}"
            for place, at in zip(waiting, found, strict=True)
            if at < ends[place]
        )


class Lockstep:
    """A handler that waits after each batch.

    Parameters
    ----------
    inner
        Does the work.
    catch_up
        Waits for the others.
    """

    def __init__(self, inner: Handler, catch_up: Callable[[], None]) -> None:
        self.inner, self._catch_up = inner, catch_up
        self.name, self.topics = inner.name, inner.topics

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Pass on."""
        self.inner.assigned(partitions)

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Pass on."""
        self.inner.revoked(partitions)

    def handle(self, records: Sequence[Record]) -> Writes:
        """Pass on."""
        return self.inner.handle(records)

    def committed(self) -> None:
        """Pass on, then wait."""
        self.inner.committed()
        self._catch_up()
