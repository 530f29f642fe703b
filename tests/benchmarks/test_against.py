"""Two commits in turns: whether a slower engine is found out, and an equal one let pass."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import against, noise
from benchmarks.workload import Sizes
from stream.errors import RilletError, SettingsError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("stream", "features", "models", "consumers", "rillet")
TINY = Sizes(users=100, items=260, days=4.0, warm=150, rounds=6, events=60)
SLOW = "from time import process_time as _now\n\n\ndef _wait():\n    end = _now() + 0.5\n"
SLOW += "    while _now() < end:\n        pass\n"


def copied(folder: Path) -> Path:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.timeout(240)
def test_a_base_that_was_faster_is_found_out_and_memory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(against, "ROOT", copied(tmp_path))
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    loop = tmp_path / "consumers" / "replay.py"
    text = loop.read_text("utf-8")
    changed = text.replace(
        "        self._finish()\n        wall,", "        _wait()\n        wall,"
    )
    assert changed != text
    loop.write_text(changed.replace("__all__ =", f"{SLOW}\n\n__all__ =", 1), "utf-8")
    monkeypatch.setattr(against, "QUICK", TINY)
    out = tmp_path / "out.json"
    options = ["--quick", "--parts", "engine,import", "-o", str(out)]
    done = CliRunner().invoke(against.app, [str(ROOT), *options])
    assert done.exit_code == 1
    assert "got worse" in done.output
    rows = json.loads(out.read_text("utf-8"))["rows"]
    found = {(row["part"], row["figure"]): row for row in rows}
    slower = found["engine", "cpu_us_per_event"]
    assert slower["verdict"] == "worse"
    assert 1 < slower["low"] <= slower["ratio"] <= slower["high"]
    assert slower["head"] - slower["base"] > 4000  # half a second for 60 events is 8,333
    assert found["engine", "redis_mib"]["base"] > 0
    assert found["engine", "rss_mib"]["verdict"] != "worse"
    assert 0 < found["import", "cpu_us_per_event"]["ratio"] < 3


def test_a_base_without_an_engine_says_so(tmp_path: Path) -> None:
    with pytest.raises(RilletError, match="the engine of base failed"):
        against.measure(tmp_path, TINY, ["engine"], lambda _text: None)


def test_what_chance_leaves_open_is_no_verdict() -> None:
    wide = [0.7, 1.4, 1.05, 1.2, 0.99, 1.1, 1.3]
    assert noise.judge(wide, 0.03).verdict == "same"
    assert noise.judge([1.01, 1.012, 1.011, 1.013, 1.014, 1.012], 0.03).verdict == "same"
    assert noise.judge([0.9, 0.91, 0.92, 0.9, 0.89, 0.93], 0.03).verdict == "better"
    # One disturbed round of nine hides nothing, nor does it make anything up.
    assert noise.judge([*[1.1] * 8, 0.4], 0.03).verdict == "worse"
    assert noise.judge([*[1.0] * 8, 3.0], 0.03).verdict == "same"


@pytest.mark.parametrize("count", [1, 2, 5, 6, 9, 15, 40])
def test_bounds_hold_the_median(count: int) -> None:
    values = list(range(count))
    low, high = noise.interval(values)
    assert low <= (count - 1) / 2 <= high
    assert low == count - 1 - high


def test_bad_orders_are_refused() -> None:
    runner = CliRunner()
    for arguments in (["HEAD", "--parts", "speed"], ["HEAD", "--parts", ","]):
        assert isinstance(runner.invoke(against.app, arguments).exception, SettingsError)
    found = runner.invoke(against.app, ["no-such-commit-anywhere"])
    assert isinstance(found.exception, SettingsError)
    assert "no-such-commit-anywhere cannot be checked out" in str(found.exception)


def test_a_checkout_is_a_commits_tree_and_goes_again() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not in a git repository")
    with against.checkout("HEAD") as tree:
        assert (tree / "consumers" / "replay.py").is_file()
    assert not tree.exists()
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "worktree", "list"], capture_output=True, check=True, text=True
    )
    assert str(tree) not in listed.stdout
