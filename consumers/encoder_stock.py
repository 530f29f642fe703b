"""What the encoder's job knows of the items: their texts, and their vectors by one encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.card import ItemCard, text_of
from features.catalogue import Catalogue
from features.reader import StoreReader
from features.text import TextEncoder
from features.vectors import item_vectors
from stream.settings import Settings
from stream.store import Store

__all__ = ["Stock"]


@dataclass(frozen=True, slots=True)
class Stock:
    """A catalogue, and beside its rows the texts and their vectors.

    Attributes
    ----------
    catalogue
        In the vectors of an encoder.
    cards
        Of the first items, by row; later ones have none.
    texts
        (N,) text of each item, "" for none.
    vectors
        (N, dim) vectors of the texts alone, without items' own ones.
    """

    catalogue: Catalogue
    cards: list[ItemCard]
    texts: list[str]
    vectors: NDArray[np.float32]

    @classmethod
    def of(cls, settings: Settings, store: Store, encoder: TextEncoder) -> Self:
        """Read the cards that lie in a store; texts without a vector are encoded."""
        reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
        cards = [card for (some, _), _ in reader.scan() for card in some]
        texts = [text_of(card, settings.encoder.fields) for card in cards]
        vectors = item_vectors(settings, store, encoder).vectors(texts)
        catalogue = Catalogue(encoder.dim, settings.items)
        catalogue.apply(cards, vectors)
        return cls(catalogue, cards, texts, vectors)

    def grown(self) -> Self:
        """Return it with the items that the catalogue has got since, which have no text."""
        more = len(self.catalogue) - len(self.texts)
        none = np.zeros((more, self.catalogue.dim), np.float32)
        return replace(
            self,
            texts=[*self.texts, *[""] * more],
            vectors=np.concatenate([self.vectors, none]),
        )

    def by(self, vectors: NDArray[np.float32]) -> Catalogue:
        """Return the catalogue in the vectors of another encoder (cards, dim), row by row."""
        catalogue = Catalogue(self.catalogue.dim, self.catalogue.items)
        catalogue.apply(self.cards, vectors)
        catalogue.rows_of(self.catalogue.ids)
        return catalogue

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) which items have a text."""
        return np.array([bool(text) for text in self.texts], dtype=np.bool_)
