from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import compare
from benchmarks.__main__ import app as bench
from stream.errors import LogError, SettingsError

BASE: dict[str, Any] = {
    "schema": 2,
    "quick": False,
    "sizes": {"users": 10},
    "environment": {"cpus": 2, "cpu": "a", "python": "3.11.1", "threads": {}},
    "parts": {
        "throughput": {"to_plain": {"cpu": 0.5, "rate": 3.0}, "rillet": {"events": 5}},
        "freshness": {
            "lost": 0,
            "loads": [{"load": 20, "unseen": 0, "latency_ms": {"p50": 40.0, "p99": 90.0}}],
        },
        "scaling": {"catalogues": [{"items": 1000, "cpu_us_per_event": 500.0}]},
        "quality": {"blend": {"hr@10": 0.3, "ndcg@10": 0.2}},
    },
}


def head(path: str, value: float) -> dict[str, Any]:
    """Return the base with one figure changed."""
    changed = copy.deepcopy(BASE)
    *way, last = path.split("/")
    place: Any = changed["parts"]
    for name in way:
        place = place[int(name) if isinstance(place, list) else name]
    place[last] = value
    return changed


CASES = [
    ("throughput/to_plain/cpu", 0.56, "same"),
    ("throughput/to_plain/cpu", 0.6, "worse"),
    ("throughput/to_plain/cpu", 0.3, "better"),
    ("throughput/to_plain/rate", 2.0, "worse"),
    ("freshness/lost", 1, "worse"),
    ("freshness/loads/0/latency_ms/p50", 50.0, "same"),
    ("freshness/loads/0/latency_ms/p50", 60.0, "worse"),
    ("scaling/catalogues/0/cpu_us_per_event", 700.0, "worse"),
    ("quality/blend/hr@10", 0.29, "worse"),
    ("quality/blend/hr@10", 0.297, "same"),
]


@pytest.mark.parametrize(("path", "value", "verdict"), CASES)
def test_each_figure_has_its_tolerance(path: str, value: float, verdict: str) -> None:
    changes = compare.compare(BASE, head(path, value))
    changed = [change.verdict for change in changes if change.base != change.head]
    assert changed == [verdict]
    assert len(changes) == 9  # how many events there were is not judged


def test_a_size_that_only_one_run_has_is_left_out() -> None:
    more = copy.deepcopy(BASE)
    more["parts"]["scaling"]["catalogues"].insert(0, {"items": 10, "cpu_us_per_event": 1.0})
    assert {one.verdict for one in compare.compare(BASE, more)} == {"same"}
    assert len(compare.compare(BASE, more)) == 9


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    base, worse = tmp_path / "base.json", tmp_path / "head.json"
    base.write_text(json.dumps(BASE))
    worse.write_text(json.dumps(head("freshness/lost", 2)))
    return str(base), str(worse)


def test_it_exits_with_one_where_something_got_worse(files: tuple[str, str]) -> None:
    base, worse = files
    runner = CliRunner()
    same = runner.invoke(compare.app, [base, base])
    assert same.exit_code == 0
    assert "nothing got worse" in same.output
    found = runner.invoke(compare.app, [base, worse])
    assert found.exit_code == 1
    assert "1 of 9 figures got worse" in found.output


def test_other_sizes_and_machines_are_not_compared(files: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(BASE | {"sizes": {"users": 20}}))
    runner = CliRunner()
    found = runner.invoke(compare.app, [files[0], str(other)])
    assert isinstance(found.exception, LogError)
    assert "sizes" in str(found.exception)
    forced = runner.invoke(compare.app, [files[0], str(other), "--force"])
    assert forced.exit_code == 0
    assert "they differ" in forced.output


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "parts": {}}'])
def test_what_is_no_result_is_refused(files: tuple[str, str], tmp_path: Path, text: str) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    found = CliRunner().invoke(compare.app, [files[0], str(bad)])
    assert isinstance(found.exception, LogError)
    assert "bad.json" in str(found.exception)


def test_the_help_teaches() -> None:
    for app in (bench, compare.app):
        found = CliRunner().invoke(app, ["--help"])
        assert found.exit_code == 0
        assert "Examples" in found.output


def test_parts_that_need_servers_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RILLET_TEST_KAFKA", raising=False)
    monkeypatch.delenv("RILLET_TEST_REDIS", raising=False)
    found = CliRunner().invoke(bench, ["--only", "freshness"])
    assert isinstance(found.exception, SettingsError)
    assert "make bench" in found.exception.mend
    for unknown in ("speed", ","):
        found = CliRunner().invoke(bench, ["--only", unknown])
        assert isinstance(found.exception, SettingsError)
