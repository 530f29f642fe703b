"""The dead-letter topic as it is read: letters, which of them are meant, what may go out again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from stream.errors import SettingsError
from stream.events import BadRecord, Millis, decode
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import Settings

__all__ = ["Letter", "Where", "concerns", "letter_of", "parse_where", "still_bad", "without"]

WORDS: Final = ("reason", "topic", "partition", "offset", "since", "until")
CLIPPED: Final = 300


class Letter(Struct, frozen=True):
    """One dead letter.

    Attributes
    ----------
    at
        Where it lies in the dead-letter topic.
    time
        When it was set aside, epoch milliseconds.
    reason, field, message
        What is wrong.
    source, offset
        Where the record came from. A copy of a letter has the same.
    length
        How long the record was, where its value was cut; else 0.
    record
        The letter as it was read.
    """

    at: str
    time: int
    reason: str
    field: str
    message: str
    source: TopicPartition
    offset: int
    length: int
    record: Record

    @property
    def name(self) -> str:
        """What it is known by, wherever it lies: ``topic:partition:offset`` of its source."""
        return f"{self.source.topic}:{self.source.partition}:{self.offset}"

    def as_dict(self, *, whole: bool = False) -> dict[str, Any]:
        """Return it as plain values, for JSON; the record's text only where ``whole``."""
        plain: dict[str, Any] = {
            "at": self.at,
            "time": self.time,
            "reason": self.reason,
            "field": self.field,
            "message": self.message,
            "topic": self.source.topic,
            "partition": self.source.partition,
            "offset": self.offset,
        }
        if self.length:
            plain["length"] = self.length
        if whole:
            key = self.record.key
            plain["key"] = None if key is None else key.decode("utf-8", "replace")
            plain["record"] = self.record.value.decode("utf-8", "replace")
        return plain


def letter_of(record: Record) -> Letter:
    """Read a dead letter; whatever lies in that topic, return and never raise."""
    headers = {name: raw.decode("utf-8", "replace") for name, raw in record.headers}

    def number(name: str, missing: int) -> int:
        text = headers.get(name, "")
        return int(text) if re.fullmatch(r"\d{1,18}", text) else missing

    source = TopicPartition(headers.get("topic", ""), number("partition", -1))
    return Letter(
        at=f"{record.partition}:{record.offset}",
        time=record.timestamp,
        reason=headers.get("reason", "unknown"),
        field=headers.get("field", ""),
        message=headers.get("message", ""),
        source=source,
        offset=number("offset", -1),
        length=number("length", 0),
        record=record,
    )


class Where(Struct, frozen=True):
    """Which letters are meant; from :func:`parse_where`. Empty bounds mean all."""

    reasons: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    offsets: tuple[tuple[int, int], ...] = ()
    since: int = 0
    until: int = 1 << 62

    def meets(self, letter: Letter) -> bool:
        """Tell whether a letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or letter.source.topic in self.topics)
            and (not self.partitions or letter.source.partition in self.partitions)
            and (not self.offsets or any(a <= letter.offset <= b for a, b in self.offsets))
            and self.since <= letter.time < self.until
        )


def parse_where(words: Sequence[str]) -> Where:
    """Read conditions; those of one name are alternatives, those of several names all hold.

    Raises
    ------
    SettingsError
        One of them is none.

    Examples
    --------
    >>> parse_where(["reason=future", "offset=7..9"]).offsets
    ((7, 9),)
    """
    found: dict[str, list[str]] = {name: [] for name in WORDS}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in found or not value:
            mend = f"the names are {', '.join(WORDS)}: --where reason=future --where offset=7..9"
            raise SettingsError(f"{word!r} says nothing of dead letters", mend)
        found[name].append(value)
    try:
        return Where(
            tuple(found["reason"]),
            tuple(found["topic"]),
            tuple(int(one) for one in found["partition"]),
            tuple(_span(one) for one in found["offset"]),
            max((int(Millis.parse(one)) for one in found["since"]), default=0),
            min((int(Millis.parse(one)) for one in found["until"]), default=1 << 62),
        )
    except ValueError as error:
        mend = "offsets are 7 or 7..9, times 2026-11-28 or epoch milliseconds"
        raise SettingsError(f"--where: {error}", mend) from error


def _span(text: str) -> tuple[int, int]:
    first, dots, last = text.partition("..")
    return (int(first), int(last)) if dots else (int(first), int(first))


def still_bad(letter: Letter, settings: Settings, now_ms: int) -> str:
    """Return why a letter would be set aside again, or cannot be sent; "" where it would not."""
    if letter.length:
        return f"cut: {len(letter.record.value)} of {letter.length} bytes are left"
    if not letter.source.topic:
        return "nothing says where it came from"
    event = decode(letter.record.value, max_bytes=settings.batch.max_bytes)
    if isinstance(event, BadRecord):
        return f"{event.reason}: {event.message}"[:CLIPPED]
    if letter.reason == "misplaced":
        return "misplaced: publish it to the other topic"
    if event.timestamp > now_ms + settings.batch.future_s * 1000:
        return "future: its time has not come yet"
    return ""


def concerns(record: Record, users: Collection[str]) -> bool:
    """Tell whether a dead letter's record is one of these users'.

    By its key and by its fields ``user``, ``session`` and ``anonymous``; where these
    name nobody, or it is no JSON, by the ids standing anywhere in it as words.
    """
    names = set(users)
    if record.key is not None and record.key.decode("utf-8", "replace") in names:
        return True
    try:
        fields = msgspec.json.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        fields = None
    named: list[str] = []
    if isinstance(fields, dict):
        given = [fields.get(name) for name in ("user", "session", "anonymous")]
        named = [str(one) for one in given if isinstance(one, str | int | float) and one != ""]
        names.discard(str(fields.get("item")))  # an item that is called like him
    if named:
        return not set(users).isdisjoint(named)
    return any(_stands_in(name, record.value) for name in names)


def _stands_in(name: str, raw: bytes) -> bool:
    word = re.escape(name.encode("utf-8", "surrogatepass"))
    return re.search(rb"(?<![\w.-])" + word + rb"(?![\w.-])", raw) is not None


def without(records: Iterable[Record], users: Collection[str]) -> Iterator[Outgoing]:
    """Yield copies of the dead letters that are none of these users', one of each."""
    seen: set[str] = set()
    for record in records:
        name = letter_of(record).name
        known = name in seen and not name.startswith(":")
        seen.add(name)
        if not known and not concerns(record, users):
            yield Outgoing(
                record.topic, record.value, record.key, record.partition, tuple(record.headers)
            )
