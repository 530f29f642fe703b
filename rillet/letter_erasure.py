"""Erasing a user's dead letters: Kafka deletes no single record, so the others are written anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stream.kafka import KafkaSink
from stream.letters import concerns, without
from stream.records import Record, TopicPartition
from stream.settings import KafkaSettings
from stream.topics import delete_below, read_topic

__all__ = ["erase_letters"]


def erase_letters(settings: KafkaSettings, users: Sequence[str]) -> int:
    """Take a user's records out of the dead-letter topic; return how many there were.

    Where there is one, all other letters are published again behind it, with
    their headers, and waited for; then everything before them is deleted. A
    crash between the two leaves letters twice, which the next time makes one
    again. Nothing is written where no letter is his.

    Raises
    ------
    BrokerError
        Kafka cannot be reached, lacks the topic, or refuses.
    """
    his = sum(concerns(record, users) for record in read_topic(settings, settings.deadletters))
    if not his:
        return 0
    ends: dict[TopicPartition, int] = {}

    def noted() -> Iterator[Record]:
        for record in read_topic(settings, settings.deadletters):
            ends[record.place] = record.offset + 1
            yield record

    sink = KafkaSink(settings)
    try:
        # Read to the end first: of what is sent meanwhile nothing may be read again.
        for copy in list(without(noted(), users)):
            sink.send(copy)
        sink.flush()
    finally:
        sink.close()
    delete_below(settings, ends)
    return his
