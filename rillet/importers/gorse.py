"""gorse's objects: feedback, and beside it items and users, as JSON arrays or JSONL.

``FeedbackType`` becomes the interaction's type and ``Value`` its value; an
item's ``Comment`` becomes its title, ``Labels`` become fields, and a hidden
item is withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from rillet.importers.base import Importer, Meter, Options, Row, lines_of
from stream.errors import LogError
from stream.events import Delete, Event, Field, Interaction, Item, Millis, User
from stream.log import log_size, read_log

__all__ = ["IMPORTER"]


class _Feedback(Struct, rename="pascal"):
    feedback_type: str
    user_id: str
    item_id: str
    timestamp: str | int | float
    value: float | None = None
    comment: str | None = None


class _Item(Struct, rename="pascal"):
    item_id: str
    is_hidden: bool = False
    labels: Any = None
    categories: list[str] | None = None
    timestamp: str | int | float | None = None
    comment: str | None = None


class _User(Struct, rename="pascal"):
    user_id: str
    labels: Any = None
    comment: str | None = None


def _read(source: Path, options: Options, meter: Meter) -> Iterator[Row]:
    feedback, items, users = _locate(source, options)
    parts: list[tuple[Path | None, Any, Callable[[Any, int], Iterator[tuple[Event, bool]]]]] = [
        (items, _Item, _item_events),
        (users, _User, _user_events),
        (feedback, _Feedback, _feedback_events),
    ]
    for path, _, _ in parts:
        meter.expect(log_size(path) if path else 0)
    for path, kind, convert in parts:
        if path is not None:
            yield from _rows(path, kind, convert, meter)


def _locate(source: Path, options: Options) -> tuple[Path, Path | None, Path | None]:
    """Return the files of feedback, items and users; a folder is searched for them."""
    if not source.is_dir():
        return source, options.items, options.users
    found: dict[str, Path] = {}
    for path in sorted(source.iterdir()):
        if path.name.endswith((".json", ".jsonl", ".json.gz", ".jsonl.gz")):
            found.setdefault(path.name.partition(".")[0], path)
    if "feedback" not in found:
        raise LogError(f"{source} holds no feedback.json", "name the file of feedback itself")
    users = options.users or found.get("users")
    return found["feedback"], options.items or found.get("items"), users


def _rows(
    path: Path,
    kind: Any,
    convert: Callable[[Any, int], Iterator[tuple[Event, bool]]],
    meter: Meter,
) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(kind)
    for line, raw in _objects(path, meter):
        try:
            for event, dated in convert(decoder.decode(raw), line):
                yield Row(str(path), line, raw, event, dated=dated)
        except (msgspec.MsgspecError, ValueError) as error:
            yield Row(str(path), line, raw, None, str(error))


def _objects(path: Path, meter: Meter) -> Iterator[tuple[int, bytes]]:
    """Yield line and bytes of each object of a JSONL file or of a JSON array."""
    first = next(iter(read_log(path)), (0, b""))[1]
    if not first.startswith(b"["):
        yield from lines_of(path, meter)
        return
    text = b"\n".join(_with_blanks(lines_of(path, meter)))  # an array has to be held whole
    try:
        objects = msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.MsgspecError as error:
        mend = "mend it, or export one object a line (JSONL), where one bad line spoils no other"
        raise LogError(f"{path} is no JSON array: {error}", mend) from error
    line, position = 1, 0
    for one in objects:
        raw = bytes(one)
        start = text.index(raw, position)
        line += text.count(b"\n", position, start)
        yield line, raw
        position = start + len(raw)
        line += raw.count(b"\n")


def _with_blanks(lines: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Put back the blank lines, so that line numbers stay those of the file."""
    expected = 1
    for line, raw in lines:
        yield from [b""] * (line - expected)
        yield raw
        expected = line + 1


def _feedback_events(row: _Feedback, line: int) -> Iterator[tuple[Event, bool]]:
    fields = [Field("comment", row.comment)] if row.comment else []
    event = Interaction(
        timestamp=Millis.parse(row.timestamp),
        id=f"{row.feedback_type}-{line}",
        user=row.user_id,
        type=row.feedback_type,
        item=row.item_id,
        value=row.value,
        fields=fields,
    )
    yield event, True


def _item_events(row: _Item, line: int) -> Iterator[tuple[Event, bool]]:
    time = _time_or_none(row.timestamp)
    stamp = Millis(time or 0)
    fields = [Field("title", row.comment)] if row.comment else []
    if row.categories:
        fields.append(Field("categories", list(row.categories)))
    fields += _label_fields(row.labels)
    name = f"item-{row.item_id}"
    yield Item(timestamp=stamp, id=name, item=row.item_id, fields=fields), time is not None
    if row.is_hidden:
        yield Delete(timestamp=stamp, id=f"hide-{row.item_id}", item=row.item_id), time is not None


def _user_events(row: _User, line: int) -> Iterator[tuple[Event, bool]]:
    fields = _label_fields(row.labels)
    yield (
        User(timestamp=Millis(0), id=f"user-{row.user_id}", user=row.user_id, fields=fields),
        False,
    )


def _time_or_none(value: str | int | float | None) -> int | None:
    """Return epoch milliseconds; None for gorse's zero time and for no time."""
    if value in (None, "") or str(value).startswith("0001-"):
        return None
    return Millis.parse(value)


def _label_fields(labels: Any, prefix: str = "") -> list[Field]:
    """Flatten labels: nested names are joined by points, a bare list becomes ``labels``."""
    if isinstance(labels, dict):
        return [
            one
            for name, value in labels.items()
            for one in _label_fields(value, prefix + name + ".")
        ]
    name = prefix.rstrip(".") or "labels"
    if isinstance(labels, list):
        plain = [one for one in labels if isinstance(one, str | int | float)]
        return [Field(name, plain)] if plain else []
    if isinstance(labels, bool | str | int | float):
        return [Field(name, labels)]
    return []


IMPORTER = Importer(
    "gorse",
    "gorse's feedback JSON or JSONL, or a folder with feedback, items and users",
    _read,
    accepts=("items", "users"),
)
