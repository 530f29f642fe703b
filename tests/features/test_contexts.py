from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import Catalogue
from features.contexts import QUERY_LIFE_MS, Question, Ragged, ask, build_contexts, meaning_of
from features.session import Session, encode_session, new_session
from stream.events import Event, Interaction
from stream.settings import Settings
from tests.builders import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    RULES,
    folded,
    interaction,
    ranking,
    rules,
    search,
)

SIGNED = meaning_of(Settings())


def question(session: Session, now: int = NOON, **more: Any) -> tuple[Question, Catalogue]:
    index = Catalogue(dim=1)
    return ask(session, now, index, SIGNED, **more), index


def owned(index: Catalogue, asked: Question) -> dict[str, tuple[Any, ...]]:
    """Return count, age and visits since of what was taken before."""
    return named(index, build_contexts([asked]).owned)


def ignored(index: Catalogue, asked: Question) -> dict[str, tuple[Any, ...]]:
    """Return count, age and visits since of what was left alone."""
    return named(index, build_contexts([asked]).ignored)


def named(index: Catalogue, found: Ragged) -> dict[str, tuple[Any, ...]]:
    facts = zip(found.count.tolist(), found.age.tolist(), found.back.tolist(), strict=True)
    return dict(zip([index.ids[row] for row in found.item], facts, strict=True))


def test_weights_are_those_of_the_types_whatever_their_role() -> None:
    settings = Settings.model_validate(
        {"interactions": {"a": {"weight": 2}, "b": {"role": "negative"}, "c": {"role": "neutral"}}}
    )
    assert meaning_of(settings).weights == {"a": 2.0, "b": 1.0, "c": 1.0}


def test_a_value_may_turn_the_sign_of_what_was_done() -> None:
    short = interaction("a", NOON - 1, type="dwell", value=1.0)
    session = folded([short, interaction("b", NOON, type="dwell", value=60.0)])
    asked, index = question(session)
    assert [index.ids[row] for row in asked.items] == ["b", "a"]
    assert asked.signed == [1.0, -1.0]


def test_the_last_list_is_not_ignored_yet() -> None:
    session = folded([ranking(["x", "y"], NOON - 2), ranking(["y", "z"], NOON - 1)])
    asked, index = question(session)
    assert {item: count for item, (count, _, _) in ignored(index, asked).items()} == {
        "x": 1,
        "y": 1,
    }


def test_history_comes_latest_first() -> None:
    session = folded(
        [
            interaction("a", NOON - DAY),
            interaction("b", NOON - 2, type="dislike"),
            interaction("c", NOON - 1, type="odd"),
        ]
    )
    asked, index = question(session)
    assert [index.ids[row] for row in asked.items] == ["c", "b", "a"]
    assert asked.times == [NOON - 1, NOON - 2, NOON - DAY]
    assert asked.signed == [0.0, -1.0, 1.0]
    assert asked.visits == [2, 2, 1]


def test_before_hides_what_has_the_same_time_or_is_later() -> None:
    session = folded(
        [
            ranking(["x"], NOON - 2),
            interaction("a", NOON - 1),
            ranking(["z"], NOON - 1),
            interaction("b", NOON),
            ranking(["y"], NOON),
            search("tea", NOON),
            interaction("c", NOON + 1),
        ]
    )
    hidden, index = question(session, before=NOON)
    assert [index.ids[row] for row in hidden.items] == ["a"]
    assert owned(index, hidden).keys() == {"a"}
    assert ignored(index, hidden).keys() == {"x"}
    assert hidden.query == ""
    everything, _ = question(session, now=NOON + 1)
    assert len(everything.items) == 3
    assert everything.query == "tea"


def test_asking_changes_no_state_and_is_not_changed_by_it_later() -> None:
    session = folded([interaction("a"), ranking(["b"])])
    raw = encode_session(session)
    asked, _ = question(session)
    assert encode_session(session) == raw
    folded([interaction("c", NOON + 1)], state=session, first=2)
    assert len(asked.items) == 1


def test_owned_tells_how_often_and_how_many_visits_ago() -> None:
    session = folded([interaction("a", NOON - at * DAY) for at in (9, 5, 4)])
    asked, index = question(session, visit=5)
    assert owned(index, asked) == {"a": (3, 4.0, 2)}


def test_what_was_taken_again_in_this_visit_counts_as_it_did_before() -> None:
    session = folded([interaction("a", NOON - at * DAY) for at in (9, 5)])
    folded([interaction("a", NOON), interaction("b", NOON)], state=session, first=2)
    asked, index = question(session)
    assert owned(index, asked) == {"a": (2, 5.0, 1), "b": (1, 0.0, 0)}


def test_hiding_the_last_time_shows_the_time_before() -> None:
    session = folded([interaction("a", NOON - at * DAY) for at in (9, 5)])
    folded([interaction("a", NOON)], state=session, first=2)
    asked, index = question(session, before=NOON)
    assert owned(index, asked) == {"a": (2, 5.0, 1)}
    once = folded([interaction("a", NOON)])
    asked, index = question(once, before=NOON)
    assert owned(index, asked) == {}


def test_hiding_the_last_time_of_a_visit_shows_the_one_before_in_it() -> None:
    session = folded([interaction("a", NOON - at * MINUTE) for at in (7, 5, 0)])
    asked, index = question(session, before=NOON)
    assert owned(index, asked) == {"a": (1, pytest.approx(5 / 1440), 0)}
    asked, index = question(session, before=NOON - 5 * MINUTE)
    assert owned(index, asked) == {"a": (1, pytest.approx(7 / 1440), 0)}
    asked, index = question(session, before=NOON - 7 * MINUTE)
    assert owned(index, asked) == {}


def test_beyond_the_history_the_first_time_is_known() -> None:
    first = interaction("a", NOON - 24 * MINUTE)
    others = [interaction(f"i{n}", NOON - 9 * MINUTE) for n in range(4)]
    session = folded([first, *others, interaction("a", NOON)], by=rules(history=3))
    asked, index = question(session, before=NOON)
    assert owned(index, asked)["a"] == (1, pytest.approx(1 / 60), 0)


def test_hiding_a_list_shows_what_was_ignored_before_it() -> None:
    lists = [
        ranking(["x", "y"], NOON - 3, id="1"),
        ranking(["x", "z"], NOON - 2, id="2"),
        ranking(["x"], NOON, id="3"),
    ]
    asked, index = question(folded(lists), before=NOON)
    assert {item: count for item, (count, _, _) in ignored(index, asked).items()} == {
        "x": 1,
        "y": 1,
    }


def test_hiding_a_deed_shows_that_the_item_was_ignored_until_then() -> None:
    events = [
        ranking(["x"], NOON - 5, id="1"),
        interaction("x", NOON - 4),
        ranking(["x"], NOON - 3, id="2"),
        ranking(["x"], NOON - 2, id="3"),
        ranking(["y"], NOON - 1, id="4"),
        interaction("x", NOON),
    ]
    asked, index = question(folded(events), before=NOON)
    assert ignored(index, asked) == {"x": (2, pytest.approx(2 / DAY), 0)}
    asked, index = question(folded(events))
    assert ignored(index, asked) == {}


NAMES = st.sampled_from("abc")
PAGES = st.lists(
    st.tuples(
        st.sampled_from([1, MINUTE, HOUR]),
        st.sampled_from([None, "s", "t"]),
        st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=2),
        st.lists(st.tuples(NAMES, st.sampled_from(["click", "dislike", "odd"])), max_size=3),
    ),
    min_size=1,
    max_size=6,
)


def visited(pages: list[Any]) -> list[Event]:
    """Return the events of pages: gap, session, lists shown, what was done; one time a page."""
    events, at = list[Event](), NOON
    for gap, visit, lists, deeds in pages:
        at += gap
        for items in lists:
            events.append(ranking(items, at, session=visit, id=f"list{len(events)}"))
        events += [interaction(item, at, type=kind, session=visit) for item, kind in deeds]
    return events


@given(PAGES, st.data())
def test_what_is_hidden_is_as_if_it_had_not_happened(pages: list[Any], data: st.DataObject) -> None:
    events = visited(pages)
    whole = folded(events)
    before = data.draw(st.sampled_from([NOON, *(int(event.timestamp) + 1 for event in events)]))
    before -= data.draw(st.integers(0, 1))
    visit = data.draw(st.integers(1, 4))
    early = folded([event for event in events if event.timestamp < before])
    now = whole.as_of.event_time
    asked, index = question(whole, now, visit=visit, before=before)
    expected, other = question(early, now, visit=visit)
    assert owned(index, asked) == owned(other, expected)
    assert ignored(index, asked) == ignored(other, expected)
    assert asked.visit == expected.visit
    assert asked.times == expected.times


@given(PAGES, st.randoms(use_true_random=False), st.integers(0, 9))
def test_what_was_owned_is_known_whatever_the_order(pages: list[Any], order: Any, at: int) -> None:
    events = visited(pages)
    order.shuffle(events)
    session, before = folded(events), NOON + at * 20 * MINUTE
    asked, index = question(session, NOON + DAY, before=before)
    deeds = [event for event in events if isinstance(event, Interaction)]
    taken = {e.item for e in deeds if e.timestamp < before and RULES.role(e)[0] > 0}
    assert owned(index, asked).keys() == taken


def test_a_query_goes_stale() -> None:
    session = folded([search("tea", NOON)])
    assert question(session, now=NOON + QUERY_LIFE_MS)[0].query == "tea"
    assert question(session, now=NOON + QUERY_LIFE_MS + 1)[0].query == ""


def test_contexts_are_padded_rows() -> None:
    index = Catalogue(dim=1)
    busy = folded([interaction("a", NOON - DAY), interaction("b", NOON - HOUR, type="dislike")])
    asked = [ask(one, NOON, index, SIGNED) for one in (new_session("n"), busy)]
    contexts = build_contexts(asked)
    assert len(contexts) == 2
    assert index.ids == ["b", "a"]
    assert contexts.items.tolist() == [[-1, -1], [0, 1]]
    assert contexts.weight.tolist() == [[0, 0], [-1, 1]]
    assert contexts.back.tolist()[1] == [0, 1]
    assert contexts.age[1] == pytest.approx([1 / 24, 1])
    assert contexts.length.tolist() == [0, 2]
    assert contexts.owned.row.tolist() == [1]
    assert contexts.owned.item.tolist() == [1]


def test_no_questions_make_empty_contexts() -> None:
    contexts = build_contexts([])
    assert len(contexts) == 0
    assert contexts.items.shape == (0, 1)
    assert len(contexts.owned.row) == 0


def test_questions_do_not_disturb_each_other() -> None:
    index = Catalogue(dim=1)
    states = [
        folded([interaction(f"i{n}", NOON - n * MINUTE) for n in range(length)])
        for length in (3, 0, 1, 5)
    ]
    asked = [ask(state, NOON, index, SIGNED) for state in states]
    together = build_contexts(asked)
    for row, one in enumerate(asked):
        alone = build_contexts([one])
        width = alone.items.shape[1]
        for name in ("items", "age", "weight"):
            assert np.array_equal(getattr(together, name)[row, :width], getattr(alone, name)[0])
        assert together.length[row] == alone.length[0]


@pytest.mark.parametrize(
    ("events", "asking"),
    [
        ([search("tea", NOON)], True),
        ([interaction("a", NOON - 1), search("tea", NOON)], True),
        ([search("tea", NOON - 1), interaction("a", NOON)], False),
        ([search("tea", NOON - 2), interaction("a", NOON - 1), search("cup", NOON)], True),
        ([search("tea", NOON - 2 * QUERY_LIFE_MS)], False),
        ([interaction("a", NOON)], False),
        ([], False),
    ],
)
def test_who_has_done_nothing_since_his_query_is_asking(events: list[Event], asking: bool) -> None:
    asked, _ = question(folded(events))
    assert asked.asking is asking
    assert build_contexts([asked]).asking.tolist() == [asking]


def test_a_query_that_is_hidden_asks_nothing() -> None:
    session = folded([interaction("a", NOON - 1), search("tea", NOON)])
    assert not question(session, before=NOON)[0].asking
