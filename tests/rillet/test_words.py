"""Reasons as a person would say them."""

from __future__ import annotations

import pytest

from features.card import AsOf, ItemCard
from models.answer import Reason
from rillet.words import in_words

AT = AsOf(0, 1, 1_000_000)


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        (["Comedy"], "trending in Comedy"),
        (["{title}"], "trending in {title}"),
        (["Adventure", "Comedy"], "trending in one of its categories"),
        ([], "trending in one of its categories"),
    ],
)
def test_what_is_trending_is_said_with_the_items_category(
    categories: list[str], words: str
) -> None:
    cards = {"film": ItemCard(AT, "film", categories=categories)}
    assert in_words(Reason("trending_category", 0.5), cards, None, "film") == words
    assert in_words(Reason("trending_category", 0.5), {}, None, "film") == (
        "trending in one of its categories"
    )


def test_a_source_without_words_is_called_by_its_name() -> None:
    assert in_words(Reason("no_such", 0.5), {}, None, "film") == "no such"
