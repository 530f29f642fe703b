"""Bad records, set aside with what is wrong and where they came from."""

from __future__ import annotations

from typing import Final

from stream import metrics
from stream.events import BadRecord
from stream.records import Outgoing, Record

__all__ = ["dead_letter"]

MAX_MESSAGE: Final = 500
MAX_KEY: Final = 1_000
MAX_VALUE: Final = 750_000
"""A broker takes 1 MiB a record by default. A longer one can have come in (compressed), but a
dead letter that is refused would stop the consumer for good, so it is cut."""


def dead_letter(bad: BadRecord, record: Record, topic: str) -> Outgoing:
    """Return the record for the dead-letter topic, and count it.

    The value is the raw bytes, the key is kept. Headers (UTF-8): ``reason``,
    ``field``, ``message``, ``topic``, ``partition``, ``offset``, and
    ``length`` where the value was cut to its first 750,000 bytes.

    Examples
    --------
    >>> bad = BadRecord("malformed", "user", "empty", b"{}")
    >>> letter = dead_letter(bad, Record("events", 2, 7, b"k", b"{}"), "dead")
    >>> dict(letter.headers)["offset"], letter.value
    (b'7', b'{}')
    """
    metrics.count(f"dead.{bad.reason}")
    headers = [
        ("reason", bad.reason.encode()),
        ("field", _text(bad.field)),
        ("message", _text(bad.message)),
        ("topic", record.topic.encode()),
        ("partition", b"%d" % record.partition),
        ("offset", b"%d" % record.offset),
    ]
    if len(record.value) > MAX_VALUE:
        headers.append(("length", b"%d" % len(record.value)))
    key = record.key[:MAX_KEY] if record.key is not None else None
    return Outgoing(topic, record.value[:MAX_VALUE], key, None, tuple(headers))


def _text(text: str) -> bytes:
    # What is wrong may quote the record, whose text need not be valid Unicode.
    return text[:MAX_MESSAGE].encode("utf-8", "replace")
