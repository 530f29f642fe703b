"""Small events and states with everything that a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.parts.base import Rules
from features.session import Session, fold, new_session
from stream.events import (
    Delete,
    Event,
    Field,
    Identify,
    Interaction,
    Item,
    Merge,
    Millis,
    Ranking,
    Search,
    ShownItem,
    User,
    encode,
)
from stream.log import LogWriter
from stream.settings import Settings

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOON = 19_700 * DAY + 12 * HOUR
"""Some noon; the tests' events happen around it."""


def rules(**session: Any) -> Rules:
    settings = Settings.model_validate({"session": session})
    return Rules(settings.session, settings.interactions)


RULES = rules()


def fields(values: dict[str, Any]) -> list[Field]:
    return [Field(name, value) for name, value in values.items()]


def interaction(
    item: str, at: int = NOON, user: str | None = "u", type: str = "click", **more: Any
) -> Interaction:
    return Interaction(timestamp=Millis(at), user=user, item=item, type=type, **more)


def ranking(items: Iterable[str], at: int = NOON, user: str | None = "u", **more: Any) -> Ranking:
    return Ranking(timestamp=Millis(at), user=user, items=[ShownItem(i) for i in items], **more)


def search(query: str, at: int = NOON, user: str | None = "u", **more: Any) -> Search:
    return Search(timestamp=Millis(at), user=user, query=query, **more)


def profile(at: int = NOON, user: str = "u", /, **values: Any) -> User:
    return User(timestamp=Millis(at), user=user, fields=fields(values))


def item(name: str, at: int = NOON, /, **values: Any) -> Item:
    return Item(timestamp=Millis(at), item=name, fields=fields(values))


def forget(user: str = "u", at: int = NOON, **more: Any) -> Delete:
    return Delete(timestamp=Millis(at), user=user, **more)


def withdraw(item: str, at: int = NOON) -> Delete:
    return Delete(timestamp=Millis(at), item=item)


def identify(anonymous: str, user: str = "u", at: int = NOON) -> Identify:
    return Identify(timestamp=Millis(at), user=user, anonymous=anonymous)


def merge(anonymous: str, state: bytes, user: str = "u", at: int = NOON) -> Merge:
    return Merge(timestamp=Millis(at), user=user, anonymous=anonymous, state=msgspec.Raw(state))


def folded(
    events: Sequence[Any],
    *,
    state: Session | None = None,
    by: Rules = RULES,
    partition: int = 0,
    first: int = 0,
) -> Session:
    """Fold events that lie one after another in a partition."""
    session = state or new_session("u")
    for offset, event in enumerate(events, first):
        fold(session, event, (partition, offset), by)
    return session


def write_log(path: Path, events: Iterable[Event]) -> Path:
    with LogWriter(path) as log:
        for event in events:
            log.write(encode(event))
    return path


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.array(values, np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
