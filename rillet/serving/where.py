"""Which items an answer may have, by what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from features.card import ItemCard

__all__ = ["Where"]


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions that all hold; an item of which what is asked is not known does not pass.

    Attributes
    ----------
    category
        One of the item's categories; letters' case does not matter.
    price_min, price_max
        Bounds of the price, both included.
    fields
        Fields that are equal to a value, or lists that hold it.

    Examples
    --------
    >>> from features.card import AsOf
    >>> kilim = ItemCard(AsOf(0, 0, 0), "kilim", categories=["Rugs"], price=80.0)
    >>> Where(category="rugs", price_max=100).admits(kilim), Where(price_min=90).admits(kilim)
    (True, False)
    """

    category: str | None = None
    price_min: float | None = None
    price_max: float | None = None
    fields: Mapping[str, str | float | bool] = field(default_factory=dict)

    def admits(self, card: ItemCard) -> bool:
        """Tell whether an item passes; a withdrawn one never does."""
        if card.withdrawn or not self._price_fits(card.price):
            return False
        if self.category is not None:
            wanted = self.category.casefold()
            if all(wanted != one.casefold() for one in card.categories):
                return False
        return all(_equals(card, name, value) for name, value in self.fields.items())

    def _price_fits(self, price: float | None) -> bool:
        if self.price_min is None and self.price_max is None:
            return True
        if price is None or (self.price_min is not None and price < self.price_min):
            return False
        return self.price_max is None or price <= self.price_max


def _equals(card: ItemCard, name: str, value: str | float | bool) -> bool:
    """Tell whether a field has a value: numbers and booleans lie together, texts by length."""
    if not isinstance(value, str):
        if name in card.numbers:
            return card.numbers[name] == float(value)
        return f"{value:g}" in card.lists.get(name, ())
    return value in card.lists.get(name, ()) or card.texts.get(name) == value
