"""The events Rillet reads: typed, frozen, and one decoder that never raises.

The wire format is one JSON object a record. ``item``, ``user``, ``ranking``
and ``interaction`` are metarank's events, accepted as they are; ``search``,
``delete`` and ``identify`` are Rillet's own. ``timestamp`` is epoch
milliseconds (a number or a numeric string) or ISO 8601 (UTC where no zone is
given); it is kept as whole milliseconds.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final, get_args

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stream.limits import (
    MAX_DEPTH,
    MAX_ID,
    MAX_SHOWN,
    MAX_TYPE,
    cut_fields,
    cut_list,
    cut_text,
    is_too_deep,
)

__all__ = [
    "MAX_TIME_MS",
    "BadRecord",
    "Delete",
    "Event",
    "Field",
    "Identify",
    "Interaction",
    "Item",
    "Merge",
    "Millis",
    "Ranking",
    "Search",
    "ShownItem",
    "User",
    "decode",
    "encode",
    "malformed",
    "partition_key",
]

MAX_TIME_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999; later times are malformed."""

RESERVED_USER: Final = "*default*"
"""The name under which the list for unknown users is stored."""

_IDS: Final = ("user", "item", "session", "anonymous", "id", "ranking")
"""Whatever names something, by which it is found again."""

_NUMERIC: Final = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")
_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_MISSING: Final = re.compile(r"missing required field `(\w+)`")


class Millis(int):
    """Epoch milliseconds, normalised from any of the accepted spellings.

    Examples
    --------
    >>> Millis.parse("1636995045000") == Millis.parse(1636995045000.0)
    True
    >>> Millis.parse("2021-11-15T16:50:45Z") - Millis.parse("1636995045000")
    0
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Millis:
        """Read a number, a numeric string or an ISO 8601 date.

        Raises
        ------
        ValueError
            The value is none of these, or lies outside the years 1970-9999.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError("expected epoch milliseconds or ISO 8601")
        if isinstance(value, str):
            value = _parse_text(value.strip())
        if not 0 <= value <= MAX_TIME_MS:  # NaN and infinity fail here too
            raise ValueError(f"time {value} is not within the years 1970 to 9999")
        return cls(value)


def _parse_text(text: str) -> float:
    if _NUMERIC.fullmatch(text):
        return float(text)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is neither epoch milliseconds nor ISO 8601") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * 1000)


class _Frozen(Struct, frozen=True, gc=False, omit_defaults=True):
    pass


class Field(_Frozen, frozen=True):
    """One named value of an item, a user, a list or an interaction."""

    name: str
    value: bool | float | str | list[str | float] | None = None


class ShownItem(_Frozen, frozen=True):
    """One item of a ``ranking``, with the chance it had of being shown there."""

    id: str
    fields: list[Field] = []
    propensity: float | None = None


class _Event(_Frozen, tag_field="event", kw_only=True, frozen=True):
    timestamp: Millis
    id: str | None = None
    tenant: str | None = None
    fields: list[Field] = []


class Item(_Event, tag="item", kw_only=True, frozen=True):
    """What is known about an item; a later event replaces an earlier one."""

    item: str


class User(_Event, tag="user", kw_only=True, frozen=True):
    """What is known about a user besides his deeds."""

    user: str


class _ByUser(_Event, kw_only=True, frozen=True):
    user: str | None = None
    session: str | None = None

    @property
    def actor(self) -> str:
        """The user, or where nobody is logged in the session's id."""
        return self.user or self.session or ""


class Ranking(_ByUser, tag="ranking", kw_only=True, frozen=True):
    """A list that was shown to a user (an impression), best first."""

    items: list[ShownItem]


class Interaction(_ByUser, tag="interaction", kw_only=True, frozen=True):
    """What a user did with an item; ``ranking`` names the list it came from."""

    type: str
    item: str
    ranking: str | None = None
    value: float | None = None


class Search(_ByUser, tag="search", kw_only=True, frozen=True):
    """A query without a list."""

    query: str


class Delete(_Event, tag="delete", kw_only=True, frozen=True):
    """Forget a user, or withdraw an item: exactly one of the two is named."""

    user: str | None = None
    item: str | None = None

    def __post_init__(self) -> None:
        if (self.user is None) == (self.item is None):
            raise ValueError("name either `user` or `item`")


class Identify(_Event, tag="identify", kw_only=True, frozen=True):
    """The visitor called ``anonymous`` until now is ``user``."""

    user: str
    anonymous: str

    def __post_init__(self) -> None:
        if self.user == self.anonymous:
            raise ValueError("`user` and `anonymous` are the same")


class Merge(_Event, tag="merge", kw_only=True, frozen=True):
    """An anonymous session, re-published under the user's key by Rillet itself."""

    user: str
    anonymous: str
    state: msgspec.Raw | UnsetType = UNSET


Event = Item | User | Ranking | Interaction | Search | Delete | Identify | Merge


class BadRecord(Struct, frozen=True):
    """A record that is not an event, with what is wrong and where.

    Attributes
    ----------
    reason
        A short word for counting: ``malformed``, ``oversize``, ``future``, ``reserved``.
    field
        The path of the offending field (``items[2].id``), empty for the whole record.
    message
        What is wrong, for a person.
    raw
        The record as it came.
    """

    reason: str
    field: str
    message: str
    raw: bytes


def _dec_hook(kind: type, value: Any) -> Any:
    if kind is Millis:
        if type(value) is int and 0 <= value <= MAX_TIME_MS:  # as nearly all are
            return Millis(value)
        return Millis.parse(value)
    raise TypeError(f"no decoder for {kind}")  # pragma: no cover - no other custom type


def _enc_hook(value: Any) -> Any:
    if isinstance(value, Millis):
        return int(value)
    raise TypeError(f"no encoder for {type(value)}")  # pragma: no cover


_NAMING: Final = {
    kind: tuple(name for name in ("user", "item", "anonymous") if name in kind.__struct_fields__)
    for kind in get_args(Event)
}
"""Which fields of each kind of event name somebody or something."""

_DECODER: Final = msgspec.json.Decoder(Event, dec_hook=_dec_hook)
_ENCODER: Final = msgspec.json.Encoder(enc_hook=_enc_hook)


def decode(raw: bytes, *, max_bytes: int = 1_048_576) -> Event | BadRecord:
    """Read one record; whatever the bytes are, return and never raise.

    Parameters
    ----------
    raw
        One JSON object in UTF-8.
    max_bytes
        Longer records are refused unread.

    Examples
    --------
    >>> decode(b'{"event":"search","timestamp":0,"user":"u","query":"tea"}').query
    'tea'
    >>> bad = decode(b'{"event":"search","timestamp":"noon","user":"u","query":"tea"}')
    >>> bad.field, bad.reason
    ('timestamp', 'malformed')
    """
    if len(raw) > max_bytes:
        return BadRecord("oversize", "", f"{len(raw)} bytes, {max_bytes} are allowed", raw)
    if is_too_deep(raw):
        return BadRecord("oversize", "", f"nested deeper than {MAX_DEPTH}", raw)
    try:
        event: Event = _DECODER.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return malformed(str(error), raw)
    bad = _check(event, raw) or _oversize(event, raw)
    return bad or _cut(event)


def malformed(message: str, raw: bytes, under: str = "") -> BadRecord:
    """Return a bad record for what msgspec says is wrong.

    Parameters
    ----------
    message
        The text of its error, which names the path.
    raw
        The record as it came.
    under
        The field of the record that was being read; none where it was the record itself.

    Examples
    --------
    >>> malformed("Expected `int`, got `str` - at `$.history.times[0]`", b"", "state").field
    'state.history.times[0]'
    """
    missing, path = _MISSING.search(message), _PATH.search(message)
    field = under
    for step in (path and path.group(1), missing and missing.group(1)):
        if step:
            field = f"{field}.{step}" if field and step[0] != "[" else f"{field}{step}"
    return BadRecord("malformed", field, message, raw)


def _check(event: Event, raw: bytes) -> BadRecord | None:
    """Refuse what the types cannot say: nameless and reserved ids."""
    if isinstance(event, _ByUser) and not (event.user or event.session):
        return BadRecord("malformed", "user", "neither `user` nor `session` is given", raw)
    for field in _NAMING[type(event)]:
        name = getattr(event, field)
        if name == "" and not (field == "user" and isinstance(event, _ByUser)):
            return BadRecord("malformed", field, "an id may not be empty", raw)
        if name == RESERVED_USER:
            return BadRecord("reserved", field, f"{RESERVED_USER!r} is a reserved name", raw)
    return None


def _oversize(event: Event, raw: bytes) -> BadRecord | None:
    """Refuse ids that are too long: cut, two of them could become one."""
    if isinstance(event, Interaction) and len(event.type) > MAX_TYPE:
        return BadRecord("oversize", "type", f"a type of {len(event.type)} characters", raw)
    if len(raw) <= MAX_ID:
        return None  # nothing in it can be too long
    for field in _IDS:
        name = getattr(event, field, None)
        if name is not None and len(name) > MAX_ID:
            return BadRecord("oversize", field, f"an id of {len(name)} characters", raw)
    if isinstance(event, Ranking):
        for at, shown in enumerate(event.items):
            if len(shown.id) > MAX_ID:
                message = f"an id of {len(shown.id)} characters"
                return BadRecord("oversize", f"items[{at}].id", message, raw)
    return None


def _cut(event: Event) -> Event:
    """Cut what is too long; an item's fields are cut by its card, as the settings say."""
    if isinstance(event, Item):
        return event
    if event.fields and (fields := cut_fields(event.fields)) != event.fields:
        event = msgspec.structs.replace(event, fields=fields)
    if isinstance(event, Ranking) and len(event.items) > MAX_SHOWN:
        return msgspec.structs.replace(event, items=cut_list(event.items, MAX_SHOWN, "items"))
    if isinstance(event, Search) and (query := cut_text(event.query, "query")) != event.query:
        return msgspec.structs.replace(event, query=query)
    return event


def encode(event: Event) -> bytes:
    """Write an event in the wire format; the mirror of :func:`decode`."""
    return _ENCODER.encode(event)


def partition_key(event: Event) -> str:
    """Return what the event is keyed by in Kafka: its item, or its user.

    ``identify`` is keyed by the anonymous visitor, whose state it moves.
    """
    if isinstance(event, _ByUser):
        return event.actor
    if isinstance(event, Item):
        return event.item
    if isinstance(event, Identify):
        return event.anonymous
    if isinstance(event, Delete):
        return event.item if event.item is not None else str(event.user)
    return event.user
