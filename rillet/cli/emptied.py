"""A Redis for the state of a replay: it must hold none, or lose it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stream.errors import StoreError
from stream.settings import Settings

if TYPE_CHECKING:
    from stream.store import Store

__all__ = ["STATE_KINDS", "emptied"]

STATE_KINDS: Final = (
    *("position", "session", "recs", "item", "neighbours", "itemstate", "learner"),
    *("taught", "models", "open", "process"),
)
"""Kinds of keys that hold state: not a text's vector, nor which trained model is current."""


@contextmanager
def emptied(settings: Settings, fresh: bool) -> Iterator[Store]:
    """Open the Redis for the state; it must hold none, or lose it.

    Raises
    ------
    StoreError
        It holds state that is not to be lost.
    SettingsError
        It lies in a folder that an engine works on.
    """
    from stream.store import Store

    store = Store(settings.redis, retry_s=5)
    try:
        store.claim()
        held = [kind for kind in STATE_KINDS if next(store.scan(kind), None) is not None]
        if held and not fresh:
            raise StoreError(
                f"{store.url} holds state under the prefix {settings.redis.prefix!r} already",
                "name an empty --state folder, or drop that state with --fresh",
            )
        if held:
            _drop(store)
        _begin_anew(settings, store)
        yield store
    finally:
        store.close()


def _drop(store: Store) -> None:
    from stream.writes import Plain

    for kind in STATE_KINDS:
        keys = [f"{store.keys.pattern(kind)[:-1]}{name}" for name, _ in store.scan(kind)]
        store.write_plain([Plain(key, None) for key in keys])
    store.write_plain([Plain(store.keys.changes(), None)])


def _begin_anew(settings: Settings, store: Store) -> None:
    """Keep who was forgotten forgotten; offsets begin anew with the log, and so do their stamps."""
    from features.tombstone import unstamped
    from stream.writes import Plain

    life = int(settings.privacy.tombstone_days * 86_400_000)
    stones = [(f"forgotten:{name}", unstamped(raw)) for name, raw in store.scan("forgotten")]
    store.write_plain([Plain(store.keys.forgotten(token), raw, life) for token, raw in stones])
