"""Strategies for what one user does."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from stream.events import Event, Field, Interaction, Millis, Ranking, Search, ShownItem, User
from tests.builders import NOON, forget, identify

ITEMS = st.sampled_from(["a", "b", "c", "d", "e"])
TYPES = st.sampled_from(["click", "view", "purchase", "dislike", "rating", "odd"])
TIMES = st.integers(NOON, NOON + 3 * 86_400_000)
WORDS = st.sampled_from(["tea", "coffee", ""])


def _common() -> dict[str, Any]:
    return {
        "timestamp": TIMES.map(Millis),
        "user": st.just("u"),
        "session": st.sampled_from([None, None, "s", "t"]),
        "id": st.sampled_from([None, None, "1", "2", "3"]),
        "fields": st.lists(
            st.builds(Field, st.sampled_from(["device", "query"]), WORDS), max_size=2
        ),
    }


def _values() -> st.SearchStrategy[list[Field]]:
    value = st.one_of(st.none(), st.floats(-9, 9), st.text(max_size=3))
    return st.lists(st.builds(Field, st.sampled_from(["age", "sex"]), value), max_size=2)


interactions = st.builds(
    Interaction,
    type=TYPES,
    item=ITEMS,
    value=st.one_of(st.none(), st.floats(0, 5)),
    **_common(),
)
rankings = st.builds(Ranking, items=st.lists(st.builds(ShownItem, ITEMS), max_size=4), **_common())
searches = st.builds(Search, query=WORDS, **_common())
profiles = st.builds(User, timestamp=TIMES.map(Millis), user=st.just("u"), fields=_values())
endings = st.one_of(
    st.builds(lambda at: forget("u", at), TIMES),
    st.builds(lambda at: identify("u", "someone", at), TIMES),
)
events: st.SearchStrategy[list[Event]] = st.lists(
    st.one_of(interactions, interactions, rankings, searches, profiles, endings), max_size=20
)
