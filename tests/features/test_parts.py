from __future__ import annotations

import msgspec
import pytest

from features.parts.base import Moment, Rules
from features.parts.situation import MAX_PROFILE
from features.parts.windows import KEPT_DAYS, MAX_NAMES
from features.session import PARTS
from stream.events import Event, Field
from stream.settings import Settings
from tests.builders import (
    DAY,
    HOUR,
    NOON,
    RULES,
    fields,
    folded,
    interaction,
    profile,
    ranking,
    search,
)


def with_types(**types: dict[str, object]) -> Rules:
    settings = Settings.model_validate({"interactions": types})
    return Rules(settings.session, settings.interactions)


def test_history_keeps_all_interactions_with_time_and_type() -> None:
    events = [interaction("a"), interaction("b", NOON + 1, type="dislike"), ranking(["c"])]
    history = folded(events).history
    assert history.items == ["a", "b"]
    assert history.times == [NOON, NOON + 1]
    assert history.types == ["click", "dislike"]


@pytest.mark.parametrize(
    ("kind", "sign", "weight"),
    [("click", 1, 1.0), ("purchase", 1, 3.0), ("dislike", -1, 1.0), ("unheard-of", 0, 0.0)],
)
def test_a_type_has_its_role_and_weight(kind: str, sign: int, weight: float) -> None:
    assert RULES.role(interaction("a", type=kind)) == (sign, weight)


@pytest.mark.parametrize(("value", "sign"), [(3.9, -1), (4.0, 1), (5.0, 1), (None, 1)])
def test_positive_from_decides_by_the_value(value: float | None, sign: int) -> None:
    stars = with_types(rating={"positive_from": 4.0})
    assert stars.role(interaction("a", type="rating", value=value))[0] == sign


def test_positive_from_lets_a_neutral_type_be_neutral() -> None:
    neutral = with_types(dwell={"role": "neutral", "positive_from": 4.0})
    assert neutral.role(interaction("a", type="dwell", value=9.0))[0] == 0


def test_low_ratings_are_neither_owned_nor_positive() -> None:
    stars = with_types(rating={"positive_from": 4.0})
    rated: list[Event] = [
        interaction("good", type="rating", value=5.0),
        interaction("bad", type="rating", value=1.0),
    ]
    session = folded(rated, by=stars)
    assert session.positives == 1
    assert list(session.owned.items) == ["good"]
    assert session.history.items == ["good", "bad"]


def test_an_item_is_owned_once_a_visit() -> None:
    times = [NOON, NOON + 1, NOON + DAY, NOON + DAY + 1, NOON + 3 * DAY]
    session = folded([interaction("a", at) for at in times])
    assert session.owned.items == {"a": (3, NOON, NOON + DAY + 1, 2, NOON + 3 * DAY, 3)}


def test_the_item_taken_longest_ago_is_forgotten_first() -> None:
    events = [interaction(name, NOON + n) for n, name in enumerate("abca")]
    assert list(folded(events).owned.items) == ["b", "c", "a"]


def test_what_is_shown_and_left_alone_is_counted() -> None:
    session = folded([ranking(["a", "b"]), ranking(["b", "c"], NOON + HOUR)])
    assert session.ignored.items == {"a": (1, NOON), "b": (2, NOON + HOUR), "c": (1, NOON + HOUR)}


def test_what_is_touched_is_ignored_no_more() -> None:
    events = [ranking(["a", "b"]), interaction("a", NOON + 1, type="dislike")]
    assert list(folded(events).ignored.items) == ["b"]


def test_a_late_list_does_not_make_fatigue_older() -> None:
    session = folded([ranking(["a"], NOON), ranking(["a"], NOON - HOUR)])
    assert session.ignored.items == {"a": (2, NOON)}


def test_windows_count_by_type_and_day() -> None:
    events = [
        interaction("a", NOON - 8 * DAY),
        interaction("a", NOON - 2 * DAY),
        interaction("b", NOON, type="purchase"),
        interaction("c", NOON, type="dislike"),
        search("tea", NOON),
        ranking(["x", "y", "z"], NOON),
    ]
    windows = folded(events).windows
    counts = {name: windows.count(name, days=7, now_ms=NOON) for name in windows.totals}
    assert counts == {
        "click": 1,
        "taken": 2,
        "purchase": 1,
        "dislike": 1,
        "search": 1,
        "shown": 3,
    }
    assert windows.count("click", days=9, now_ms=NOON) == 2
    assert windows.count("nothing", days=9, now_ms=NOON) == 0
    assert windows.totals["taken"] == 3


def test_windows_keep_the_latest_days() -> None:
    windows = folded([interaction("a", NOON + n * DAY) for n in range(KEPT_DAYS + 5)]).windows
    kept = sorted(map(int, windows.days["click"]))
    assert kept == list(range(NOON // DAY + 5, NOON // DAY + 5 + KEPT_DAYS))
    assert windows.totals["click"] == KEPT_DAYS + 5


def test_rate_is_drawn_to_its_prior() -> None:
    shown = [ranking(["a"] * 30)]
    taken = [interaction("a") for _ in range(6)]
    windows = folded([*shown, *taken]).windows
    assert windows.rate(prior=0.1, strength=20) == pytest.approx((6 + 2) / (30 + 20))
    assert folded([]).windows.rate(prior=0.1, strength=20) == pytest.approx(0.1)


def test_rate_never_exceeds_one_without_lists() -> None:
    windows = folded([interaction("a") for _ in range(100)]).windows
    assert windows.rate(prior=0.1, strength=20) == pytest.approx(0.1)


def test_query_comes_from_a_search_or_from_a_list() -> None:
    query = [Field("query", "coffee")]
    assert folded([search("tea")]).situation.query == "tea"
    assert folded([search("tea"), ranking(["a"], fields=query)]).situation.query == "coffee"
    assert folded([interaction("a", fields=query)]).situation.query == "coffee"
    assert folded([search("tea"), ranking(["a"])]).situation.query == "tea"


def test_a_late_query_does_not_replace_a_newer_one() -> None:
    situation = folded([search("tea", NOON), search("old", NOON - 1)]).situation
    assert (situation.query, situation.query_time) == ("tea", NOON)


def test_long_queries_are_cut() -> None:
    assert folded([search("x" * 10_000)]).situation.query == "x" * 512


def test_context_is_the_latest_text_of_known_fields() -> None:
    events = [
        interaction("a", fields=fields({"device": "phone", "country": "FI", "weather": "rain"})),
        search("tea", fields=fields({"device": "tablet", "city": 7.0})),
    ]
    assert folded(events).situation.context == {"device": "tablet", "country": "FI"}


def test_profile_keeps_known_fields_up_to_date_when_it_is_full() -> None:
    full = {f"f{n}": float(n) for n in range(MAX_PROFILE)}
    session = folded([profile(**full), profile(f0=99.0, extra=1.0), profile(f1=None)])
    found = session.situation.profile
    assert found["f0"] == 99.0
    assert "extra" not in found
    assert "f1" not in found
    assert len(found) == MAX_PROFILE - 1


def test_windows_count_no_more_names_than_they_have_room_for() -> None:
    events = [interaction("a", type=f"type{n}") for n in range(3 * MAX_NAMES)]
    windows = folded([*events, interaction("a", type="type0")]).windows
    assert len(windows.totals) == len(windows.days) == MAX_NAMES
    assert windows.totals["type0"] == 2


def test_pace_counts_within_a_minute_and_late_events_with_it() -> None:
    first = folded([interaction("a", NOON + n) for n in range(5)])
    assert (first.pace.at(NOON + 59_999), first.pace.at(NOON + 60_000)) == (5, 0)
    late = folded([interaction("a", NOON - 10**8)], state=first, first=5)
    assert (late.pace.minute, late.pace.events) == (NOON // 60_000, 6)
    fresh = folded([search("tea", NOON + 60_000)], state=late, first=6)
    assert (fresh.pace.minute, fresh.pace.events) == (NOON // 60_000 + 1, 1)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_told_of_whatever_changes_it(part: str) -> None:
    before = [ranking(["a", "b"], id="list"), interaction("a", ranking="list"), search("tea")]
    kinds: list[Event] = [
        ranking(["a", "c"], NOON + DAY, id="other", fields=fields({"query": "tea"})),
        interaction("b", NOON + DAY, ranking="list", fields=fields({"device": "phone"})),
        search("coffee", NOON + DAY),
        profile(NOON + DAY, age=30.0),
    ]
    heeded = set()
    for event in kinds:
        one = getattr(folded(before), part)
        known = msgspec.json.encode(one)
        one.fold(event, Moment(NOON + DAY, 2, sign=1, weight=1.0), RULES)
        if msgspec.json.encode(one) != known:
            heeded.add(type(event))
    assert heeded == set(one.heeds)
