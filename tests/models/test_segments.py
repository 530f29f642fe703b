"""Users' segments: whose weights count for a question."""

from __future__ import annotations

import pytest

from features.catalogue import Catalogue
from features.contexts import ask, build_contexts
from models.signals import SEGMENTS, segment_of
from stream.events import Event
from tests.builders import DAY, MINUTE, NOON, folded, interaction, search
from tests.models.sources.shop import SIGNED


def past(n: int, at: int = NOON) -> list[Event]:
    return [interaction(f"i{k}", at - (n - k) * MINUTE) for k in range(n)]


@pytest.mark.parametrize(
    ("events", "visit", "segment"),
    [
        ([], 1, "none"),
        (past(1), 1, "within few"),
        (past(1, NOON - DAY), 2, "start of few"),
        (past(5), 1, "within some"),
        (past(30, NOON - DAY), 2, "start of many"),
        ([search("tea")], 1, "asking"),
        ([*past(5, NOON - MINUTE), search("tea")], 1, "asking"),
        ([search("tea", NOON - 2 * MINUTE), *past(1)], 1, "within few"),
    ],
)
def test_a_question_has_the_segment_of_its_moment(
    events: list[Event], visit: int, segment: str
) -> None:
    asked = ask(folded(events), NOON, Catalogue(dim=1), SIGNED, visit=visit)
    assert SEGMENTS[segment_of(build_contexts([asked]))[0]] == segment
