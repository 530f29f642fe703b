"""The engine as the running consumers have it, for who only reads: loaded once, then followed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from consumers.served import ServedModel
from consumers.view import LiveView
from features.card import ItemCard, text_of
from features.reader import read_card
from features.text import TextEncoder
from features.tokens import words_of_text
from models.beside import in_a_thread
from models.engine import Engine
from models.lexical import LexicalIndex
from rillet.serving.heard import HeardLearners
from rillet.serving.recent import Recent
from rillet.serving.unwritten import Reads, unwritten_queries
from stream.errors import StoreError
from stream.settings import Settings
from stream.store import Store

__all__ = ["Mirror"]

CARDS: Final = 20_000
"""Cards that are kept, those that were asked for last: some 40 MB."""


class Mirror:
    """Catalogue, words, statistics, weights and models of a live engine.

    What reads or changes the engine holds :attr:`lock`; a request that waits for Redis does not.
    :meth:`follow` does: it reads what has changed with the lock held, and where Redis hangs,
    requests wait as long as the store has patience.

    Parameters
    ----------
    settings, store
        Where everything lies.
    encoder
        Encodes queries, and says whose vectors are read.

    Attributes
    ----------
    lock
        Held by one thread at a time.
    view, engine
        As of :class:`consumers.personalize.Personalize`.
    heard
        What the running consumers have learned.
    catalogue, words
        The items, and the words of their texts by catalogue row.
    keys
        Builds keys.
    """

    def __init__(self, settings: Settings, store: Store, encoder: TextEncoder) -> None:
        self.lock = threading.RLock()
        self._settings, self.keys = settings, store.keys
        self._reads = Reads(store)
        # partitions matter to who folds events; how often it is read, who follows it says
        self.view = LiveView(settings, store, encoder, transition_partitions=1, every_ms=1)
        self.view.take_queries_from(unwritten_queries(settings, self._reads, encoder))
        self.catalogue = self.view.world.catalogue
        self.catalogue.told = self._told
        self.words = LexicalIndex(in_a_thread)
        self.engine = Engine(settings, self.view.world)
        self.heard = HeardLearners(settings, store, self.engine)
        self._served = ServedModel(settings, store, self.engine, encoder.version)
        self._cards = Recent[ItemCard](CARDS)

    @property
    def version(self) -> str:
        """What answers are made with: the blend, and the Transformer where there is one."""
        served = self._served.version
        return f"{self.heard.version}+{served}" if served else self.heard.version

    def load(self) -> None:
        """Read everything there is; nobody asks before this has returned."""
        self.view.begin()
        self.words.settle()
        self.heard.apply(self.heard.read())
        self._served.begin()
        self.engine.near.vectors()

    def follow(self) -> None:
        """Take over what has changed.

        Raises
        ------
        StoreError
            Redis cannot be reached; what is known stays.
        """
        try:
            models = self.heard.read()
            with self.lock:
                self.heard.apply(models)
                self.view.refresh()
                self._served.look()
        except StoreError:
            self._reads.away = True
            raise
        self._reads.away = False

    def close(self) -> None:
        """End what is done beside."""
        self._served.close()

    def encode(self, query: str) -> None:
        """See that the vector of a query is known.

        To be asked without the lock: to encode takes some milliseconds, to find it again none.
        """
        if query:
            self.view.world.queries.vectors([query])

    def cards(self, items: Sequence[str]) -> dict[str, ItemCard]:
        """Return the cards of several items; those without one are left out.

        Raises
        ------
        StoreError
            Redis is away, and some of them are not in memory.
        """
        found = self._cards.find(items)
        asked = [item for item in dict.fromkeys(items) if item not in found]
        if not asked:
            return found
        raws = self._reads.get_many([self.keys.item(item) for item in asked])
        read = {
            i: card for i, raw in zip(asked, raws, strict=True) if raw and (card := read_card(raw))
        }
        self._cards.put(read)
        return found | read

    def read(self, key: str) -> bytes | None:
        """Return what lies under a key; None where nothing does.

        Raises
        ------
        StoreError
            Redis is away.
        """
        return self._reads.get_many([key])[0]

    def _told(self, rows: NDArray[np.int64], cards: Sequence[ItemCard]) -> None:
        """Take the words of cards that are new or have changed."""
        fields = self._settings.encoder.fields
        self.words.put(rows, [_words(card, fields) for card in cards])
        self._cards.drop(card.item for card in cards)


def _words(card: ItemCard, fields: tuple[str, ...]) -> list[str]:
    """Return the words by which an item is found: of its title twice, which says most."""
    if card.withdrawn:
        return []
    return words_of_text(f"{card.title} {text_of(card, fields)} {card.brand}")
