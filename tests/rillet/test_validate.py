"""Each planted problem is found, on its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rillet.validate import Report, validate
from stream.clock import HandClock
from stream.settings import InteractionType, Settings

HOUR = 3_600_000
NOW = 10_000 * HOUR
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def item(name: str, hour: float = 1, **more: Any) -> dict[str, Any]:
    fields = more.pop("fields", [{"name": "title", "value": name}])
    return {"event": "item", "timestamp": int(hour * HOUR), "item": name, "fields": fields} | more


def click(user: str, what: str, hour: float = 1, **more: Any) -> dict[str, Any]:
    kind = more.pop("type", "click")
    return {"event": "interaction", "timestamp": int(hour * HOUR), "user": user, "type": kind,
            "item": what} | more  # fmt: skip


def ranking(name: str, user: str, *items: str, hour: float = 1) -> dict[str, Any]:
    shown = [{"id": one} for one in items]
    return {"event": "ranking", "timestamp": int(hour * HOUR), "id": name, "user": user,
            "items": shown}  # fmt: skip


def report(tmp_path: Path, *records: dict[str, Any] | bytes) -> Report:
    log = tmp_path / "log.jsonl"
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    log.write_bytes(b"\n".join(lines))
    return validate(log, clock=HandClock(NOW))


def lines(found: Report) -> dict[str, list[int]]:
    return {problem.code: problem.lines for problem in found.problems}


def test_a_clean_log_has_no_problem(tmp_path: Path) -> None:
    clean = report(
        tmp_path,
        item("a", id="1"),
        item("b", id="2"),
        ranking("r", "u", "a", "b"),
        click("u", "b", ranking="r", id="3"),
    )
    assert clean.ok
    assert clean.problems == []
    assert clean.kinds == {"item": 2, "ranking": 1, "interaction": 1}


def test_bad_records_are_named_by_line_reason_and_field(tmp_path: Path) -> None:
    found = report(tmp_path, item("a"), b"{", b'{"event":"item","timestamp":0}', click("", "a"))
    assert not found.ok
    assert [(line, field) for line, _, field, _ in found.bad] == [(2, ""), (3, "item"), (4, "user")]
    assert found.problems[0].code == "bad-records"
    assert found.problems[0].lines == [2, 3, 4]
    assert found.problems[0].details["malformed: item"] == 1


def test_only_the_first_bad_lines_are_kept_but_all_are_counted(tmp_path: Path) -> None:
    found = report(tmp_path, *[b"{"] * 50)
    assert found.problems[0].count == 50
    assert len(found.bad) == len(found.problems[0].lines) == 20


def test_time(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        item("a", hour=5),
        click("u", "a", hour=5),
        click("v", "a", hour=2),
        click("u", "a", hour=NOW / HOUR + 2),
        click("u", "a", hour=6),
        item("a", hour=4),
    )
    at = lines(found)
    assert at["out-of-order"] == [3]
    assert at["future"] == [4]
    assert at["stale-items"] == [6]
    late = next(p for p in found.problems if p.code == "out-of-order")
    assert "3 h" in late.message


def test_ids(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        item("a", id="x"),
        click("u", "a", id="x"),
        click("u", "a", id="x"),
        click("u", "a"),
    )
    assert lines(found)["duplicates"] == [3]  # an item may share its id with a click
    assert next(p for p in found.problems if p.code == "no-id").count == 1


def test_items(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        item("a"),
        item("bare", fields=[]),
        item("empty", fields=[{"name": "title", "value": ""}]),
        click("u", "unknown"),
        click("u", "a"),
        ranking("r", "u", "a", "unknown", "other"),
    )
    unknown = next(p for p in found.problems if p.code == "unknown-items")
    assert unknown.lines == [4, 6]
    assert unknown.details == {"unknown": 2, "other": 1}
    assert lines(found)["no-text"] == [2, 3]


def test_rankings(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        item("a"),
        item("b"),
        click("u", "a", ranking="nowhere"),
        click("u", "a", ranking="soon"),
        ranking("soon", "u", "a"),
        ranking("passed", "u", "a"),
        ranking("taken", "u", "a"),
        click("u", "a", ranking="taken"),
        click("other", "a", ranking="taken"),
        click("u", "b", ranking="taken"),
        ranking("void", "u"),
    )
    at = lines(found)
    assert at["unknown-rankings"] == [3]
    assert at["early-clicks"] == [4]
    assert at["wrong-user"] == [9]
    assert at["not-shown"] == [10]
    assert at["empty-rankings"] == [11]
    assert next(p for p in found.problems if p.code == "never-clicked").count == 3


def test_types(tmp_path: Path) -> None:
    found = report(tmp_path, item("a"), click("u", "a", type="wink"), click("u", "a", type="wink"))
    codes = {problem.code: problem for problem in found.problems}
    assert codes["unlisted-types"].details == {"wink": 2}
    assert "no-positives" in codes


def test_types_may_be_listed(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps(click("u", "a", type="wink")))
    settings = Settings(interactions={"wink": InteractionType()})
    codes = [p.code for p in validate(log, settings, clock=HandClock(NOW)).problems]
    assert "unlisted-types" not in codes
    assert "no-items" in codes


def test_statistics(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        item("a"),
        item("b"),
        click("u", "a", hour=1),
        click("u", "b", hour=1.1),
        click("u", "a", hour=3),
        {"event": "identify", "timestamp": 4 * HOUR, "user": "u", "anonymous": "v"},
        click("w", "a", hour=4),
    )
    assert found.statistics["active_users"] == 2
    assert found.statistics["interactions_per_user_median"] == 2
    assert found.statistics["interactions_per_session_median"] == 1
    assert found.statistics["repeat_rate"] == 0.25


def test_every_problem_says_what_it_does_and_how_to_mend_it(tmp_path: Path) -> None:
    found = report(tmp_path, b"{", click("u", "a", type="wink"), click("u", "a", ranking="x"))
    assert len(found.problems) >= 4
    assert all(problem.effect and problem.mend and problem.message for problem in found.problems)
    assert json.loads(json.dumps(found.as_dict()))["bad"][0]["line"] == 1


@pytest.mark.parametrize(
    ("name", "records", "unknown"),
    [("ranklens", 58_437, 8), ("movietweetings-100k", 110_506, 0)],
)
def test_real_logs(name: str, records: int, unknown: int) -> None:
    log = DATA / name / "events.jsonl.gz"
    if not log.exists():
        pytest.skip(f"the real log {name} is not beside the repository")
    found = validate(log)
    assert found.ok
    assert found.records == records
    assert sum(len(p.details) for p in found.problems if p.code == "unknown-items") == unknown
