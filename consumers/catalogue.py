"""The consumer that keeps the catalogue: item events in, cards and content vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from consumers.follower import Follower
from features.card import ItemCard, encode_card, fold_item, text_of
from features.reader import read_card
from features.text import TextEncoder, text_hash
from features.vectors import VectorCache
from stream import metrics
from stream.clock import Clock
from stream.deadletters import dead_letter
from stream.events import BadRecord, Delete, Item, decode
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Stamped, Writes

__all__ = ["CatalogueConsumer"]

DAY_MS: Final = 86_400_000


class CatalogueConsumer:
    """Folds the catalogue topic into item cards, and encodes only texts that changed.

    It holds nothing in memory between batches: cards are read, folded and
    written back with the offset of the last event folded in, so a redelivered
    batch changes no card. Their vectors, and the entry in the feed, are written
    again: where the process died right after the cards, they are not there yet.

    Parameters
    ----------
    settings
        All settings.
    store
        Where cards and vectors are read from; writes go through the checkpoint.
    encoder
        The text encoder.
    clock
        Refuses events from the future; None refuses none.

    Attributes
    ----------
    follower
        Keeps the encoder the one that was promoted last; None leaves it.
    """

    name = "catalogue"

    def __init__(
        self, settings: Settings, store: Store, encoder: TextEncoder, clock: Clock | None = None
    ) -> None:
        self.topics = (settings.kafka.catalogue,)
        self._settings, self._store, self._encoder = settings, store, encoder
        self._clock = clock
        self._ttl_ms = int(settings.items.ttl_days * DAY_MS)
        self.vectors = VectorCache(store, store.keys, encoder, ttl_ms=self._ttl_ms)
        self.follower: Follower | None = None

    def exchange(self, encoder: TextEncoder) -> None:
        """Encode by another encoder from here on; vectors of before stay where they are."""
        self._encoder = encoder
        self.vectors.exchange(encoder)

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Load nothing: cards are read as they are needed."""

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Drop nothing: nothing is held."""

    def committed(self) -> None:
        """Do nothing: nothing is held."""

    def handle(self, records: Sequence[Record]) -> Writes:
        """Fold a batch; return cards, vectors and one entry for the feed of changes."""
        writes = Writes()
        if self.follower is not None:
            self.follower.look()
        with metrics.step("decode"):
            events = [pair for r in records if (pair := self._decode(r, writes.produced))]
        with metrics.step("read"):
            cards = self._load(list(dict.fromkeys(str(event.item) for _, event in events)))
        with metrics.step("fold"):
            told = self._fold(events, cards)
        with metrics.step("encode"):
            self._encode(told, writes)
        for card in told:
            key, at = self._store.keys.item(card.item), card.as_of
            stamped = Stamped(key, encode_card(card), at.partition, at.offset, self._ttl_ms)
            writes.stamped.append(stamped)
        if told:
            writes.changes.append(msgspec.json.encode({"items": [card.item for card in told]}))
        return writes

    def _decode(
        self, record: Record, produced: list[Outgoing]
    ) -> tuple[Record, Item | Delete] | None:
        """Return the event if it is one of an item; set aside what is not."""
        batch, clock = self._settings.batch, self._clock
        event = decode(record.value, max_bytes=batch.max_bytes)
        if isinstance(event, BadRecord):
            bad = event
        elif clock and event.timestamp > clock.now_ms() + batch.future_s * 1000:
            bad = BadRecord("future", "timestamp", "too far ahead of the clock", record.value)
        elif isinstance(event, Item) or (isinstance(event, Delete) and event.item is not None):
            return record, event
        else:
            kind = type(event).__name__.lower()
            message = f"`{kind}` does not belong on the catalogue topic"
            bad = BadRecord("misplaced", "event", message, record.value)
        produced.append(dead_letter(bad, record, self._settings.kafka.deadletters))
        return None

    def _load(self, items: Sequence[str]) -> dict[str, ItemCard | None]:
        raws = self._store.get_many([self._store.keys.item(item) for item in items])
        return {i: read_card(raw) if raw else None for i, raw in zip(items, raws, strict=True)}

    def _fold(
        self, events: Sequence[tuple[Record, Item | Delete]], cards: dict[str, ItemCard | None]
    ) -> list[ItemCard]:
        """Return the cards the events tell of, each once, in the order of their first events."""
        for record, event in events:
            card = cards[str(event.item)]
            folded = fold_item(
                card, event, self._settings, partition=record.partition, offset=record.offset
            )
            if folded is not card and folded.cut:
                metrics.count("items.cut", folded.cut)
            cards[folded.item] = folded
        return [card for card in cards.values() if card]

    def _encode(self, cards: list[ItemCard], writes: Writes) -> None:
        """Name each card's vector in it; write old ones anew, to live as long as the card."""
        misses = self.vectors.misses
        texts = [text_of(card, self._settings.encoder.fields) for card in cards]
        writes.plain += self.vectors.lookup(texts, renew=True).writes
        metrics.count("items.encoded", self.vectors.misses - misses)
        for at, (card, text) in enumerate(zip(cards, texts, strict=True)):
            version, mark = self._encoder.version, text_hash(text)
            cards[at] = msgspec.structs.replace(card, encoder=version, text_hash=mark)
