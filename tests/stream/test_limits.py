"""What of an event is too large: refused where it names something, else cut and counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stream import metrics
from stream.events import BadRecord, Event, Interaction, Item, Ranking, Search, User, decode, encode
from stream.limits import (
    MAX_CHARS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_ID,
    MAX_NAME,
    MAX_SHOWN,
    MAX_TYPE,
    MAX_VALUES,
    MAX_WORD,
    is_too_deep,
)

VIEW = {"event": "interaction", "timestamp": 1, "user": "u", "item": "i", "type": "view"}
LIST = {"event": "ranking", "timestamp": 1, "user": "u", "items": [{"id": "i"}]}


def read(record: dict[str, Any], **more: Any) -> Event | BadRecord:
    metrics.reset()
    return decode(msgspec.json.encode(record | more))


@pytest.mark.parametrize(
    ("record", "field"),
    [
        *((VIEW, name) for name in ("user", "session", "item", "ranking", "id")),
        ({"event": "identify", "timestamp": 1, "user": "u", "anonymous": "a"}, "anonymous"),
        ({"event": "delete", "timestamp": 1, "user": "u"}, "user"),
        ({"event": "item", "timestamp": 1, "item": "i"}, "item"),
    ],
)
def test_an_id_is_refused_beyond_its_length_and_only_then(
    record: dict[str, Any], field: str
) -> None:
    assert not isinstance(read(record, **{field: "é" * MAX_ID}), BadRecord)
    bad = read(record, **{field: "é" * (MAX_ID + 1)})
    assert isinstance(bad, BadRecord)
    assert (bad.reason, bad.field) == ("oversize", field)


def test_a_type_is_refused_beyond_its_length() -> None:
    assert isinstance(read(VIEW, type="x" * MAX_TYPE), Interaction)
    bad = read(VIEW, type="x" * (MAX_TYPE + 1))
    assert isinstance(bad, BadRecord)
    assert (bad.reason, bad.field) == ("oversize", "type")


def test_the_id_of_a_shown_item_is_refused_with_its_place() -> None:
    bad = read(LIST, items=[{"id": "i"}, {"id": "x" * (MAX_ID + 1)}])
    assert isinstance(bad, BadRecord)
    assert (bad.reason, bad.field) == ("oversize", "items[1].id")


def test_of_a_long_list_the_first_items_stay() -> None:
    event = read(LIST, items=[{"id": f"i{n}"} for n in range(MAX_SHOWN + 5)])
    assert isinstance(event, Ranking)
    assert [one.id for one in event.items] == [f"i{n}" for n in range(MAX_SHOWN)]
    assert metrics.counters() == {"cut.items": 1}


def test_fields_are_cut_in_number_name_text_and_list() -> None:
    fields = [
        {"name": "long", "value": "x" * (MAX_CHARS + 1)},
        {"name": "n" * (MAX_NAME + 1), "value": 1},
        {"name": "many", "value": ["y" * (MAX_WORD + 1), *range(MAX_VALUES)]},
        *({"name": f"f{n}", "value": True} for n in range(MAX_FIELDS)),
    ]
    event = read({"event": "user", "timestamp": 1, "user": "u"}, fields=fields)
    assert isinstance(event, User)
    kept = {one.name: one.value for one in event.fields}
    assert len(kept) == MAX_FIELDS - 1  # the one without a name it could have
    assert kept["long"] == "x" * MAX_CHARS
    assert kept["many"] == ["y" * MAX_WORD, *map(float, range(MAX_VALUES - 1))]
    assert kept["f0"] is True
    # too many fields, a name, and of values: two texts and a list
    assert metrics.counters() == {"cut.fields": 2, "cut.values": 3}


def test_what_fits_is_left_as_it_is() -> None:
    fields = [{"name": "n" * MAX_NAME, "value": "x" * MAX_CHARS}] * MAX_FIELDS
    event = read(VIEW, fields=fields)
    assert isinstance(event, Interaction)
    assert msgspec.to_builtins(event.fields) == fields
    assert metrics.counters() == {}


def test_an_items_fields_are_left_to_its_card() -> None:
    fields = [{"name": f"f{n}", "value": "x" * (MAX_CHARS + 1)} for n in range(MAX_FIELDS + 1)]
    event = read({"event": "item", "timestamp": 1, "item": "i"}, fields=fields)
    assert isinstance(event, Item)
    assert msgspec.to_builtins(event.fields) == fields


def test_a_query_is_cut() -> None:
    query = {"event": "search", "timestamp": 1, "user": "u", "query": "q" * (MAX_CHARS + 9)}
    event = read(query)
    assert isinstance(event, Search)
    assert event.query == "q" * MAX_CHARS


def test_what_was_cut_reads_alike_again() -> None:
    event = read(LIST, items=[{"id": f"i{n}"} for n in range(MAX_SHOWN + 5)])
    assert not isinstance(event, BadRecord)
    assert decode(encode(event)) == event


def nested(depth: int, inner: str = "") -> bytes:
    """Return an event of so many levels, the inner ones in a key that nobody knows."""
    deep = "[" * (depth - 1) + inner + "]" * (depth - 1)
    return msgspec.json.encode(VIEW)[:-1] + f',"other":{deep}}}'.encode()


def test_depth_is_refused_beyond_its_bound_and_only_then() -> None:
    assert isinstance(decode(nested(MAX_DEPTH)), Interaction)
    bad = decode(nested(MAX_DEPTH + 1))
    assert isinstance(bad, BadRecord)
    assert (bad.reason, bad.field) == ("oversize", "")


@pytest.mark.parametrize("text", ['"[[{{"', r'"\"["', '"' + "[" * 100 + '"'])
def test_brackets_in_a_text_are_no_depth(text: str) -> None:
    assert isinstance(decode(nested(MAX_DEPTH, text)), Interaction)


ENDLESS = b"[" * 40 + b'"' + b'\\"' * 10**5


@pytest.mark.parametrize(
    "raw",
    [b"[" * 10**5, b'{"a":' * 10**5, b'"[[' * 10**4, b"\x00[" * 99, ENDLESS, ENDLESS + b"\\"],
)
def test_depth_of_what_is_no_json_is_told_too(raw: bytes) -> None:
    assert isinstance(decode(raw), BadRecord)


def test_many_lists_side_by_side_are_not_deep() -> None:
    assert not is_too_deep(b"[" + b"[{}]," * 1000 + b"[]]")
