"""What is remembered of shown lists, and how it reads as arrays."""

import numpy as np

from features.catalogue import Catalogue
from features.parts.base import Rules
from features.parts.impressions import MAX_LISTS, MAX_SHOWN
from features.session import Session, decode_session, encode_session, fold, new_session
from features.shown import shown_before
from stream.events import Event, Interaction, Millis, Ranking, Search, ShownItem
from stream.settings import Settings

SETTINGS = Settings()
RULES = Rules(session=SETTINGS.session, types=SETTINGS.interactions)


def show(name: str | None, *items: str, time: int = 1) -> Ranking:
    shown = [ShownItem(item) for item in items]
    return Ranking(id=name, timestamp=Millis(time), user="u", items=shown)


def take(item: str, ranking: str | None, kind: str = "click") -> Interaction:
    return Interaction(timestamp=Millis(9), user="u", type=kind, item=item, ranking=ranking)


def folded(*events: Event) -> Session:
    session = new_session("u")
    for offset, event in enumerate(events):
        fold(session, event, (0, offset), RULES)
    return session


def test_a_list_is_kept_with_what_was_taken_of_it() -> None:
    session = folded(show("a", "x", "y", "z", time=5), take("z", "a"), take("x", "a"))
    kept = session.impressions
    assert (kept.lists, kept.times, kept.items) == (["a"], [5], [["x", "y", "z"]])
    assert kept.taken == [[2, 0]]


def test_only_positives_that_name_a_kept_list_count() -> None:
    session = folded(
        show("a", "x", "y"),
        take("x", None),
        take("x", "other"),
        take("y", "a", "dislike"),
        take("elsewhere", "a"),
    )
    assert session.impressions.taken == [[]]


def test_taking_twice_counts_once() -> None:
    session = folded(show("a", "x"), take("x", "a"), take("x", "a"))
    assert session.impressions.taken == [[0]]


def test_a_list_without_an_id_is_not_kept() -> None:
    assert folded(show(None, "x")).impressions.lists == []


def test_a_list_published_again_much_later_changes_nothing() -> None:
    others = [Search(id=f"s{k}", timestamp=Millis(3), user="u", query="q") for k in range(99)]
    session = folded(show("a", "x"), take("x", "a"), *others, show("a", "p", "q"))
    assert (session.impressions.items, session.impressions.taken) == ([["x"]], [[0]])


def test_the_oldest_lists_leave_whole() -> None:
    names = [f"item{k}" for k in range(50)]
    session = folded(*[show(f"list{k}", *names) for k in range(4)])
    assert session.impressions.lists == ["list2", "list3"]
    assert [len(items) for items in session.impressions.items] == [50, 50]


def test_the_number_of_lists_and_the_length_of_one_are_bounded() -> None:
    session = folded(*[show(f"list{k}", "x") for k in range(MAX_LISTS + 5)])
    assert session.impressions.lists == [f"list{k}" for k in range(5, MAX_LISTS + 5)]
    session = folded(show("long", *[f"item{k}" for k in range(MAX_SHOWN + 9)]))
    assert len(session.impressions.items[0]) == MAX_SHOWN


def test_the_state_reads_back_as_it_was_written() -> None:
    session = folded(show("a", "x", "y"), take("y", "a"))
    assert decode_session(encode_session(session)).impressions == session.impressions


def test_absorbing_orders_by_time_and_keeps_what_was_known() -> None:
    mine = folded(show("b", "x", time=20), take("x", "b")).impressions
    other = folded(show("a", "y", time=10), show("b", "x", time=20), show("c", "z", time=30))
    mine.absorb(other.impressions)
    assert (mine.lists, mine.times) == (["a", "b", "c"], [10, 20, 30])
    assert mine.taken == [[], [0], []]


def test_lists_read_as_arrays() -> None:
    session = folded(
        show("a", "x", "y", time=1),
        show("b", "y", "z", "w", time=2),
        take("w", "b"),
        take("x", "a"),
    )
    catalogue = Catalogue(dim=2)
    before = shown_before(session, catalogue)
    assert [catalogue.ids[row] for row in before.rows] == ["x", "y", "y", "z", "w"]
    assert before.positions.tolist() == [0, 1, 0, 1, 2]
    assert before.lists.tolist() == [0, 0, 1, 1, 1]
    assert np.flatnonzero(before.taken).tolist() == [0, 4]


def test_what_is_not_yet_shown_is_hidden() -> None:
    session = folded(show("a", "x", time=1), show("b", "y", "z", time=2), take("z", "b"))
    before = shown_before(session, Catalogue(dim=2), before=2)
    assert (len(before), before.lists.tolist(), before.taken.tolist()) == (1, [0], [False])


def test_a_new_user_has_empty_arrays() -> None:
    before = shown_before(new_session("u"), Catalogue(dim=2))
    assert len(before) == 0
    assert before.rows.dtype == np.int32
