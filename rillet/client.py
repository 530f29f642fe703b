"""The application's side: publish what users do, read what to show them.

Nothing is connected before it is needed: a program that only reads needs no
Kafka, one that only publishes no Redis.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeVar

import msgspec

from stream.errors import BadEventError, NothingYetError, RilletError
from stream.events import BadRecord, Event, decode, encode
from stream.keys import DEFAULT_USER
from stream.pseudonyms import pseudonyms_of
from stream.routing import outgoing
from stream.settings import Settings, load_settings
from stream.tracing import headers_of_span

if TYPE_CHECKING:
    from features.card import ItemCard
    from features.session import Session
    from models.answer import Answer, Listed
    from stream.kafka import KafkaSink
    from stream.store import Store

__all__ = ["BadEventError", "Client", "NothingYetError", "Similar"]

PATIENCE_S: Final = 1.0
"""An application's request does not wait out a Redis that went away: it falls back."""

T = TypeVar("T")


class Similar(NamedTuple):
    """An item that follows another one, and how strongly beside the others."""

    item: str
    weight: float


class Client:
    """Publishes events and reads recommendations; may be shared by threads.

    Parameters
    ----------
    settings
        Settings, or the path of a settings file; None reads what
        :func:`stream.settings.load_settings` finds.

    Raises
    ------
    SettingsError
        The settings file is missing or wrong.
    StoreError, BrokerError
        From any method that needs them: Redis or Kafka cannot be reached.

    Examples
    --------
    ::

        with Client() as client:
            client.publish({"event": "interaction", "type": "view", "user": "u", "item": "i"})
            for listed in client.recommend("u", 5).items:
                print(listed.item, listed.score)
    """

    def __init__(self, settings: Settings | Path | str | None = None) -> None:
        if settings is None or isinstance(settings, (str, Path)):
            settings = load_settings(Path(settings) if settings is not None else None)
        self.settings = settings
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._sink: KafkaSink | None = None

    def publish(self, events: Event | Mapping[str, Any] | Sequence[Any]) -> None:
        """Send one event or several; they are sure to be stored only after :meth:`flush`.

        Parameters
        ----------
        events
            Typed events, or dicts in the wire format. A dict without a
            ``timestamp`` happened now.

        Raises
        ------
        BadEventError
            One of them is no event; then none of them is sent.

        Notes
        -----
        Where an OpenTelemetry span is active, its trace goes along in the records' headers.
        """
        several = [events] if isinstance(events, (Mapping, msgspec.Struct)) else list(events)
        records = [outgoing(*_checked(one, self.settings), self.settings) for one in several]
        if headers := headers_of_span():
            records = [msgspec.structs.replace(record, headers=headers) for record in records]
        sink = self._writing()
        for record in records:
            sink.send(record)

    def flush(self) -> None:
        """Wait until everything published so far is stored by Kafka."""
        if self._sink is not None:
            self._sink.flush()

    def forget(self, user: str) -> None:
        """Have everything about a user dropped, and wait until Kafka has the order."""
        self.publish([{"event": "delete", "user": name} for name in self._names(user)])
        self.flush()

    def _names(self, user: str) -> list[str]:
        """Return under which names a user may lie in Redis, the present one first."""
        return pseudonyms_of(self.settings.privacy).all_of(user) if user != DEFAULT_USER else [user]

    def recommend(self, user: str, n: int = 10) -> Answer:
        """Return the user's list, cut to ``n`` items.

        A user nobody knows yet gets the list for everybody:
        ``answer.user`` is then ``"*default*"``.

        Raises
        ------
        NothingYetError
            There is neither: no event was consumed so far.
        """
        from models.answer import decode_answer

        keys, names = self.store.keys, [*self._names(user), DEFAULT_USER]
        raw = next(filter(None, self.store.get_many([keys.recs(one) for one in names])), None)
        if raw is None:
            raise NothingYetError(
                f"there are no recommendations in {self.store.url} yet",
                "publish events and run `rillet up`; `rillet doctor` says what is missing",
            )
        answer = self._decoded("recommendations", decode_answer, raw)
        whose = DEFAULT_USER if answer.user == DEFAULT_USER else user
        return msgspec.structs.replace(answer, user=whose, items=answer.items[:n])

    def trending(self, n: int = 10) -> list[Listed]:
        """Return what everybody is shown of whom nothing is known, best first."""
        return self.recommend(DEFAULT_USER, n).items

    def session(self, user: str) -> Session | None:
        """Return what is known of a user, None where that is nothing."""
        from features.session import decode_session

        keys = [self.store.keys.session(name) for name in self._names(user)]
        raw = next(filter(None, self.store.get_many(keys)), None)
        if raw is None:
            return None
        session = self._decoded("session", decode_session, raw)
        session.user = user
        return session

    def item(self, item: str) -> ItemCard | None:
        """Return an item's card, None where there is none."""
        return self.items([item]).get(item)

    def items(self, items: Sequence[str]) -> dict[str, ItemCard]:
        """Return the cards of several items in one round trip; unknown ones are left out."""
        from features.card import decode_card

        wanted = list(dict.fromkeys(items))
        raws = self.store.get_many([self.store.keys.item(item) for item in wanted])
        return {
            item: self._decoded("card", decode_card, raw)
            for item, raw in zip(wanted, raws, strict=True)
            if raw
        }

    def similar(self, item: str, n: int = 10) -> list[Similar]:
        """Return what users take after an item, strongest first; [] where nobody knows."""
        raw = self.store.get(self.store.keys.neighbours(item))
        if raw is None:
            return []
        view = self._decoded("neighbours", _FOLLOWERS.decode, raw)
        return [Similar(*pair) for pair in view.next[:n]]

    def _decoded(self, what: str, decode: Callable[[bytes], T], raw: bytes) -> T:
        try:
            return decode(raw)
        except msgspec.MsgspecError as error:
            message = f"the {what} in {self.store.url} cannot be read: {error}"
            raise RilletError(message, "was it written by another version of Rillet?") from error

    @property
    def store(self) -> Store:
        """Where it reads, for those who read what it has no method for; it ends with the client."""
        with self._lock:
            if self._store is None:
                from stream.store import Store

                patience = min(PATIENCE_S, self.settings.redis.retry_s)
                self._store = Store(self.settings.redis, retry_s=patience, make=False)
            return self._store

    def _writing(self) -> KafkaSink:
        with self._lock:
            if self._sink is None:
                from stream.kafka import KafkaSink

                self._sink = KafkaSink(self.settings.kafka)
            return self._sink

    def close(self) -> None:
        """Wait for what was published, and disconnect; the client may be used again."""
        with self._lock:
            sink, self._sink = self._sink, None
            store, self._store = self._store, None
        try:
            if sink is not None:
                try:
                    sink.flush()
                finally:
                    sink.close()
        finally:
            if store is not None:
                store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Followers(msgspec.Struct):
    next: list[tuple[str, float]] = []


_FOLLOWERS: Final = msgspec.json.Decoder(_Followers)


def _checked(event: Any, settings: Settings) -> tuple[bytes, Event]:
    """Return an event's bytes, and the event as the consumers will read it."""
    try:
        if isinstance(event, Mapping):
            raw = msgspec.json.encode({"timestamp": time.time_ns() // 1_000_000, **event})
        else:
            raw = encode(event)
    except (TypeError, ValueError) as error:
        message = f"this cannot be written as JSON: {error}"
        raise BadEventError(message, "see docs/events.md") from error
    found = decode(raw, max_bytes=settings.batch.max_bytes)
    if isinstance(found, BadRecord):
        where = f"{found.field}: " if found.field else ""
        raise BadEventError(f"this is no event: {where}{found.message}", "see docs/events.md")
    return raw, found
