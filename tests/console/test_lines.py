"""What the console makes of lists, histories and figures, without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from features.card import AsOf, ItemCard
from features.session import new_session
from models.answer import Answer, Listed, Reason
from rillet.console.curves import Curve, curves
from rillet.console.lines import SHOWN, by_source, lines_of, parts_of
from rillet.console.operations_page import _letters
from rillet.console.quality_page import QualityPage, read_report
from rillet.console.shelf import Shelf
from rillet.console.tables import table
from rillet.console.tastes import deeds_by_day, tastes, tastes_over_time
from rillet.console.watch import Seen
from rillet.serving.answer import Ranked
from rillet.serving.service import Service
from rillet.state import State
from stream.metrics import Pulse
from stream.settings import Settings

AT = AsOf(0, 1, 1_000_000)


def shelf(**titles: str) -> Shelf:
    made = Shelf(Service(Settings(), None))
    made.cards = {item: ItemCard(AT, item, title=title) for item, title in titles.items()}
    return made


def answer(*items: Listed) -> Answer:
    return Answer(AT, "ann", list(items), "blend-1", ["content", "new"], 1)


def test_moves_are_told_from_the_list_before() -> None:
    found = lines_of(
        answer(*(Listed(name, 0.5) for name in "abcd")), shelf(), None, ["b", "a", "x", "d"]
    )
    assert [one["moved"] for one in found] == ["▲ 1", "▼ 1", "new", ""]
    assert [one["place"] for one in found] == [1, 2, 3, 4]


def test_what_was_not_shown_before_is_new_though_it_was_listed() -> None:
    before = [f"i{n}" for n in range(SHOWN)] + ["a"]
    assert lines_of(answer(Listed("a", 0.5)), shelf(), None, before)[0]["move"] == "new"


def test_a_first_list_has_no_moves() -> None:
    assert lines_of(answer(Listed("a", 0.5)), shelf(), None, None)[0]["moved"] == ""


def test_reasons_name_what_was_clicked() -> None:
    session = new_session("ann")
    session.as_of = AT
    session.history.items, session.history.times = ["k"], [1_000_000]
    listed = Listed("a", 0.5, [Reason("content", 0.7, "k"), Reason("new", 0.1)])
    why = lines_of(answer(listed), shelf(k="Wool kilim"), session, None)[0]["why"]
    assert why == ["you took Wool kilim just now", "new here"]


def test_shares_are_by_source_and_silent_ones_are_named() -> None:
    one = Listed("a", 0.5, [Reason("content", 0.8)])
    two = Listed("b", 0.4, [Reason("content", 0.4), Reason("neighbours", 0.2)])
    assert by_source(answer(one, two, Listed("c", 0.1))) == pytest.approx(
        {"content": 0.6, "neighbours": 0.1, "new": 0.0}
    )


def test_tastes_follow_what_was_taken_lately() -> None:
    session = new_session("ann")
    session.history.items = ["k", "k", "t", "t"]
    session.history.signs = [1, 1, 1, -1]
    cards = {
        "k": ItemCard(AT, "k", categories=["rugs"]),
        "t": ItemCard(AT, "t", categories=["tea"]),
    }
    shares = tastes(session, cards)
    assert list(shares) == ["rugs", "tea"]
    assert sum(shares.values()) == pytest.approx(1)
    grown = tastes_over_time(session, cards)["tea"].values
    assert grown[1] == 0 < grown[2] == grown[3]  # what was negative is no taste
    assert tastes(new_session("bob"), {}) == {}
    assert tastes_over_time(new_session("bob"), {}) == {}


def test_texts_of_the_shop_are_no_html() -> None:
    evil = "<script>alert(1)</script>"
    assert "<script" not in table(("name",), [(evil,)], evil)
    assert "<script" not in curves({evil: Curve([0, 1], [1, 2])}, evil)


def test_curves_without_points_say_so() -> None:
    assert "Nothing to draw" in curves({"a": Curve([], [])}, "nothing")


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "cannot be read"), ("[]", "no report"), (json.dumps({"next": 1}), "no report")],
)
def test_a_report_that_is_none_is_told(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    assert told in read_report(str(path))[1]
    assert "cannot be read" in read_report(str(tmp_path / "missing"))[1]
    assert "serve.report" in read_report("")[1]


def test_a_single_day_is_a_dot_and_not_nothing() -> None:
    session = new_session("ann")
    session.windows.days = {"view": {"20000": 3}, "shown": {"20000": 9}}
    drawn = curves(deeds_by_day(session), "days")
    points = re.search(r'points="(\S+) (\S+)"', drawn)
    assert points is not None
    assert points[1] == points[2]
    assert "shown" not in drawn
    assert deeds_by_day(new_session("bob")) == {}


def test_items_are_shown_by_what_is_known_of_them() -> None:
    made = Shelf(Service(Settings(), None))
    card = ItemCard(AT, "k", title="kilim", price=1250.0, categories=["home", "rugs", "wool"])
    made.cards, made._hues = {"k": card}, {"home": 0}
    shown = {"title": "kilim", "category": "home / rugs", "price": "1,250.00", "letter": "K"}
    assert made.plain("k") == {"item": "k", "hue": 0} | shown
    unknown = made.plain("sku-7")
    assert (unknown["title"], unknown["letter"], unknown["price"]) == ("sku-7", "S", "")
    assert 0 <= unknown["hue"] < 360


def test_the_parts_of_a_score_are_the_largest_first_for_and_against() -> None:
    parts = {"bias": 3.0, "trending_day": 0.5, "content": -2.0, "new": 0.0}
    found = parts_of(Ranked("a", 0.5, parts))
    assert [(one["name"], one["value"]) for one in found] == [
        ("content", "-2.00"),
        ("trending day", "+0.50"),
    ]
    assert [(one["width"], one["against"]) for one in found] == [(100.0, True), (25.0, False)]


def test_dead_letters_and_drift_are_told_with_their_counts() -> None:
    counters = {"drift": 1234, "dead.future": 77}
    said: dict[str, Any] = {"name": "personalize", "host": "h", "pid": 1, "group": "g"}
    said |= {"started_at": 0, "at": 0, "events": 1, "events_per_s": 1.0, "lag": 0, "steps": {}}
    alive = [Pulse(**said, partitions=[], counters=counters)]
    told = _letters(Seen(State(0, alive, {}, 56, None, None, "", [], ""), []))
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd.*?>(.*?)</dd>", told))
    assert facts == {
        "drift: times the loss rose": "1,234",
        "letters on the topic": "56",
        "dead since the start: future": "77",
    }


def test_popularity_is_that_of_the_report() -> None:
    listed, taken = [0.55, 0.18, *[0.03] * 9], [0.37, 0.2, *[0.05] * 9]
    popular = {"blend": {"deciles": listed[:10]}, "taken": {"deciles": taken[:10]}}
    report = {"next": {"strict": {"blend": {"n": 1}}}, "popularity": {"strict": popular}}
    page = QualityPage(report, "")
    words = re.findall(r'<span>([^<]*)</span>.*?<span class="val">(.*?)</span>', page._deciles())
    assert words[:2] == [("most popular", "55%"), ("2.", "18%")]
    assert words[-1] == ("least popular", "3%")
    first = re.findall("<td.*?>(.*?)</td>", page._biases())[:8]
    assert first == ["most popular", "55.0%", "37.0%", "+18.0%", "2.", "18.0%", "20.0%", "-2.0%"]
