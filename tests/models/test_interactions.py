"""What is noted of a stream, and how it is cut into windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import Catalogue
from features.contexts import QUERY_LIFE_MS
from features.parts.base import Rules
from models.interactions import Interactions, Recorder, recorder_for, windows
from stream.events import Event
from stream.settings import Settings
from tests.builders import (
    DAY,
    MINUTE,
    NOON,
    RULES,
    fields,
    forget,
    identify,
    interaction,
    item,
    profile,
    ranking,
    search,
    withdraw,
)
from tests.models.planted import columns

# --- the recorder


def noted(events: Sequence[Event], rules: Rules = RULES) -> tuple[Interactions, Catalogue]:
    catalogue = Catalogue(dim=2)
    recorder = Recorder(catalogue.ensure, rules)
    for event in events:
        recorder.add(event)
    return recorder.columns(), catalogue


def test_what_a_robot_does_beyond_the_limit_of_a_minute_is_left_out() -> None:
    recorder = Recorder(Catalogue(dim=2).ensure, RULES, most=3)
    assert len(recorder.columns()) == 0
    for user, many in {"robot": 5, "person": 3}.items():
        for minute in (0, 1):
            for k in range(many - minute):
                recorder.add(interaction(f"{k}", NOON + minute * MINUTE + k * 10, user))
    recorder.add(interaction("late", NOON + 5, "robot"))
    data = recorder.columns()
    robot = data.user == data.user[data.time == NOON + 5][0]
    assert [(time - NOON) // 5 for time in data.time[robot]] == [0, 1, 2, 12000, 12002, 12004]
    assert robot.sum() == 6
    assert (~robot).sum() == 3 + 2


def test_the_settings_say_what_a_robot_is() -> None:
    for most, kept in ((2, 2), (0, 5)):
        settings = Settings.model_validate({"limits": {"user_events_per_minute": most}})
        recorder = recorder_for(settings, Catalogue(dim=2).ensure)
        for event in (interaction("a", NOON + k, "u") for k in range(5)):
            recorder.add(event)
        assert len(recorder.columns()) == kept


def by_user(events: Sequence[Event]) -> list[str]:
    """Return the items of each user in their order, joined, the users sorted by these."""
    data, catalogue = noted(events)
    return sorted(
        "".join(catalogue.ids[row] for row in data.item[data.user == user])
        for user in np.unique(data.user)
    )


def clicks(items: str, user: str = "u", begin: int = NOON) -> list[Event]:
    return [interaction(one, begin + k * MINUTE, user) for k, one in enumerate(items)]


def test_nothing_is_noted_of_nothing() -> None:
    data, _ = noted([])
    assert len(data) == 0
    other: list[Event] = [
        item("a", NOON, title="A"),
        profile(NOON, "u", age=3.0),
        ranking("ab"),
        withdraw("a"),
    ]
    data, catalogue = noted(other)
    assert len(data) == len(catalogue) == 0


def test_roles_purchases_and_values_are_noted_by_the_rules() -> None:
    kinds = ["click", "purchase", "dislike", "unheard-of", "first-purchase"]
    events = [interaction("a", NOON + k, type=kind) for k, kind in enumerate(kinds)]
    events += [interaction("b", NOON + 9, type="dwell", value=v) for v in (9.0, 10.0)]
    data, _ = noted(events)
    assert data.weight.tolist() == [1.0, 3.0, -1.0, 0.0, 0.0, -1.0, 1.0]
    assert data.bought.tolist() == [False, True, False, False, True, False, False]
    assert np.isnan(data.value[:5]).all()
    assert data.value[5:].tolist() == [9.0, 10.0]
    assert data.query.tolist() == [-1] * 7
    assert data.item.tolist() == [0] * 5 + [1] * 2


def test_roles_are_those_of_the_settings() -> None:
    settings = Settings.model_validate({"interactions": {"gaze": {"weight": 0.25}}})
    rules = Rules(settings.session, settings.interactions)
    data, _ = noted([interaction("a", type="gaze"), interaction("a", type="click")], rules)
    assert data.weight.tolist() == [0.25, 0.0]


def test_users_are_ordered_each_by_time_late_events_too() -> None:
    events = [
        interaction("b", NOON + MINUTE, "u"),
        interaction("x", NOON, "v"),
        interaction("c", NOON + MINUTE, "u"),
        interaction("a", NOON, "u"),
        interaction("y", NOON - DAY, "v"),
    ]
    assert by_user(events) == ["abc", "yx"]
    data, _ = noted(events)
    assert data.user.tolist() == sorted(data.user.tolist())
    for user in np.unique(data.user):
        assert (np.diff(data.time[data.user == user]) >= 0).all()


def test_who_has_no_user_goes_by_his_session() -> None:
    events = [interaction("a", NOON, None, session="s"), interaction("b", NOON, "s")]
    assert by_user(events) == ["ab"]


def test_identify_makes_one_user_of_two_before_and_after() -> None:
    events = [
        *clicks("ab", "visitor"),
        *clicks("c", "u", NOON - DAY),
        identify("visitor", "u", NOON + 9 * MINUTE),
        *clicks("d", "visitor", NOON + DAY),
        *clicks("e", "u", NOON + 2 * DAY),
    ]
    assert by_user(events) == ["cabde"]


def test_identify_goes_over_several_steps() -> None:
    events = [
        *clicks("a", "first"),
        identify("first", "second", NOON + MINUTE),
        *clicks("b", "second", NOON + 2 * MINUTE),
        identify("second", "u", NOON + 3 * MINUTE),
        *clicks("c", "first", NOON + 4 * MINUTE),
        identify("u", "first", NOON + 5 * MINUTE),
        *clicks("d", "u", NOON + 6 * MINUTE),
        *clicks("x", "stranger"),
    ]
    assert by_user(events) == ["abcd", "x"]


def test_delete_forgets_what_was_and_not_what_comes() -> None:
    events = [*clicks("ab"), *clicks("x", "v"), forget("u", NOON + DAY), withdraw("a")]
    assert by_user(events) == ["x"]
    assert by_user([*events, *clicks("c", begin=NOON + 2 * DAY)]) == ["c", "x"]
    late = interaction("z", NOON + DAY)
    assert by_user([*events, late]) == ["x"]


def test_delete_forgets_also_what_a_user_did_before_he_was_known() -> None:
    before: list[Event] = [*clicks("ab", "visitor"), identify("visitor", "u", NOON + DAY)]
    assert by_user([*before, forget("u", NOON + 2 * DAY)]) == []
    early = [*clicks("c"), forget("u", NOON + MINUTE), *before]
    assert by_user(early) == ["ab"]


def queries(events: Sequence[Event]) -> list[str]:
    """Return the query in force at each interaction, in the order of the columns."""
    data, _ = noted(events)
    return [data.queries[k] if k >= 0 else "" for k in data.query]


def test_a_query_is_in_force_for_half_an_hour_and_for_its_user() -> None:
    events: list[Event] = [
        interaction("a", NOON - 1),
        search("tea", NOON),
        interaction("a", NOON),
        interaction("a", NOON + QUERY_LIFE_MS),
        interaction("a", NOON + QUERY_LIFE_MS + 1),
        interaction("a", NOON + MINUTE, "v"),
    ]
    assert queries(events) == ["", "tea", "tea", "", ""]


def test_the_latest_query_counts_and_texts_are_kept_once() -> None:
    events: list[Event] = [
        search("tea", NOON),
        interaction("a", NOON + 1),
        search("hats", NOON + 2),
        search("older", NOON + 1),
        interaction("a", NOON + 3),
        interaction("a", NOON),  # late: asked before the hats
        search("tea", NOON + 4),
        interaction("a", NOON + 5),
    ]
    assert queries(events) == ["", "tea", "hats", "tea"]
    assert noted(events)[0].queries == ["tea", "hats", "older"]


def test_a_list_tells_a_query_and_an_interaction_for_those_after_it() -> None:
    asked = fields({"query": "hats"})
    events: list[Event] = [
        ranking("ab", NOON, fields=fields({"query": "tea"})),
        interaction("a", NOON + 1, fields=asked),
        interaction("b", NOON + 2),
    ]
    assert queries(events) == ["tea", "hats"]


def test_identify_brings_the_later_query_along() -> None:
    begin: list[Event] = [search("tea", NOON, "visitor"), search("hats", NOON - 1, "u")]
    known: list[Event] = [identify("visitor", "u", NOON + 1), interaction("a", NOON + 2)]
    assert queries([*begin, *known]) == ["tea"]
    assert queries([search("tea", NOON - 2, "visitor"), begin[1], *known]) == ["hats"]
    assert queries([begin[1], *known]) == ["hats"]
    assert queries([begin[1], forget("u", NOON), *known]) == [""]


def test_interactions_up_to_a_time_are_as_if_no_later_had_come() -> None:
    events = [*clicks("abc"), search("tea", NOON), *clicks("xyz", "v", NOON + MINUTE)]
    data, _ = noted(events)
    cut = data.until(NOON + MINUTE)
    assert cut.time.tolist() == [NOON, NOON + MINUTE, NOON + MINUTE]
    assert cut.user.tolist() == [0, 0, 1]


# --- windows

Histories = list[list[int]]
histories: st.SearchStrategy[Histories] = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=12), min_size=1, max_size=5
)
lengths = st.integers(1, 7)
draws = st.one_of(st.none(), st.integers(0, 99))


def generator(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


def spread(gaps: Histories) -> Interactions:
    """Return a user of each list, whose interactions lie so many minutes apart."""
    times = [[NOON + int(t) * MINUTE for t in np.cumsum(user)] for user in gaps]
    return columns([[k % 4 for k in range(len(user))] for user in gaps], times=times)


@given(gaps=histories, length=lengths, seed=draws, data=st.data())
def test_every_wanted_interaction_is_predicted_once_from_what_was_before(
    gaps: Histories, length: int, seed: int | None, data: st.DataObject
) -> None:
    """Where no two are of one time; a user's first has nothing before it."""
    known = spread([[1 + gap for gap in user] for user in gaps])
    n = len(known)
    wanted = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    cut = windows(known, length, wanted, generator(seed))
    assert cut.at.shape == cut.after.shape == cut.share.shape == (len(cut), length)
    assert (cut.share.any(axis=1)).all()
    first = np.r_[True, known.user[1:] != known.user[:-1]]
    asked = cut.share > 0
    assert Counter(cut.after[asked].tolist()) == Counter(np.flatnonzero(wanted & ~first).tolist())
    assert set(cut.share[asked].tolist()) <= {1.0}
    there = cut.at >= 0
    assert (cut.after[there] == cut.at[there] + 1).all()
    assert (there[:, :-1] >= there[:, 1:]).all()  # padding comes last
    assert (cut.after[~there] == -1).all() and not cut.share[~there].any()
    for row, mine in zip(cut.at, there, strict=True):
        assert len(set(known.user[row[mine]].tolist())) == 1
        assert (np.diff(row[mine]) == 1).all()


@given(gaps=histories, length=lengths, seed=draws, counted=st.sampled_from([1, 2, 10]))
def test_one_of_several_of_one_time_stands_for_all(
    gaps: Histories, length: int, seed: int | None, counted: int
) -> None:
    known = spread(gaps)
    cut = windows(known, length, np.ones(len(known), np.bool_), generator(seed), counted)
    there = cut.at >= 0
    for at, after, share in zip(cut.at[there], cut.after[there], cut.share[there], strict=True):
        followed = at + 1
        alike = np.flatnonzero(
            (known.user == known.user[followed]) & (known.time == known.time[followed])
        )
        if followed == alike[0]:
            assert share == min(len(alike), counted)
            assert after in alike
            assert seed is not None or after == followed
        else:
            assert share == 1
            assert after == followed


@given(gaps=histories, length=lengths, seed=draws)
def test_windows_of_one_seed_are_the_same(gaps: Histories, length: int, seed: int | None) -> None:
    known = spread(gaps)
    wanted = np.ones(len(known), np.bool_)
    one, other = (windows(known, length, wanted, generator(seed)) for _ in range(2))
    for name in ("at", "after", "share"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_fixed_windows_end_with_the_last_prediction() -> None:
    cut = windows(columns([[0] * 6]), 3, np.ones(6, np.bool_))
    assert cut.at.tolist() == [[0, 1, -1], [2, 3, 4]]
    assert cut.after.tolist() == [[1, 2, -1], [3, 4, 5]]
    assert cut.share.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_the_one_that_stands_for_all_is_drawn_evenly() -> None:
    known = columns([[0, 1, 2, 3]], times=[[NOON, NOON + 1, NOON + 1, NOON + 1]])
    wanted, rng = np.ones(4, np.bool_), np.random.default_rng(0)
    firsts = Counter[int]()
    for _ in range(300):
        cut = windows(known, 4, wanted, rng)
        firsts[int(cut.after[cut.at == 0][0])] += 1
    assert set(firsts) == {1, 2, 3}
    assert min(firsts.values()) > 60


def test_a_share_has_a_bound() -> None:
    known = columns([[0] * 31], times=[[NOON, *[NOON + 1] * 30]])
    wanted = np.ones(31, np.bool_)
    assert windows(known, 50, wanted).share.max() == 1
    assert windows(known, 50, wanted, alike=10).share.max() == 10


def test_users_of_one_interaction_give_no_window() -> None:
    for known in (columns([[0], [1]]), noted([])[0]):
        assert len(windows(known, 3, np.ones(len(known), np.bool_))) == 0
