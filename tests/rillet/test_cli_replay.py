from __future__ import annotations

import copy
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rillet.cli.figures import best_source, show_replay
from rillet.client import Client
from stream.folder_lock import FolderLock


def test_the_report_has_the_promised_form(kept: Any) -> None:
    report = kept.report
    assert report["log"] == str(kept.log)
    assert {"events", "wall_s", "cpu_us_per_event", "rerank", "next", "by_history"} <= set(report)
    assert set(report["next"]) == {"strict", "order"}
    for source, figures in report["next"]["strict"].items():
        assert {"hr@10", "ndcg@10", "mrr", "coverage"} <= set(figures), source
    assert {"blend", "shown"} <= set(report["rerank"])
    assert {"ndcg@10", "mrr"} <= set(report["rerank"]["blend"])


def test_the_tables_name_every_source_in_eighty_columns(kept: Any) -> None:
    for source in report_sources(kept.report):
        assert source in kept.printed
    tables = kept.printed.split("\n\n", 1)[1]
    assert max(map(len, tables.splitlines())) <= 80
    assert "\x1b" not in kept.printed  # no colours where nobody looks


def test_no_figure_is_cut_where_stale_ones_stand_beside(kept: Any) -> None:
    report = copy.deepcopy(kept.report)
    for part in ("next", "by_history"):
        report[part]["stale"] = report[part]["strict"]
    out = io.StringIO()
    show_replay(report, Console(file=out, width=80, highlight=False))
    printed = out.getvalue()
    assert "\u2026" not in printed
    assert len(re.findall(r"^blend ", printed, re.MULTILINE)) == 3  # also of shown lists
    blend = report["next"]["stale"]["blend"]
    assert f"{blend['hr@10']:.4f}  {blend['ndcg@10']:.4f}" in printed.split("stale)")[1]


def report_sources(report: dict[str, Any]) -> set[str]:
    return set(report["next"]["strict"]) | set(report["rerank"])


def test_it_draws_a_picture(kept: Any) -> None:
    picture = kept.picture.read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000


def test_it_says_how_to_go_on(kept: Any) -> None:
    assert f"--redis {kept.redis}" in kept.said


def test_state_is_not_mixed_with_older_state(kept: Any, command: Any) -> None:
    done = command("replay", str(kept.log), "--state", str(kept.state))
    assert done.returncode == 2
    assert "--fresh" in done.stderr


def test_a_folder_that_an_engine_works_on_is_left_alone(kept: Any, command: Any) -> None:
    lock = FolderLock(kept.state)
    done = command("replay", str(kept.log), "--state", str(kept.state), "--fresh")
    lock.close()
    assert done.returncode == 2
    assert f"process {os.getpid()}" in done.stderr
    with Client(kept.settings) as client:
        assert client.trending()


def test_json_to_standard_output_is_one_line_and_repeats(small_log: Path, command: Any) -> None:
    arguments = ("replay", str(small_log), "--limit", "500", "--json", "-", "--seed", "4")
    first, again = (json.loads(command(*arguments).stdout) for _ in range(2))
    assert first["events"] == 500
    for name in ("rerank", "next", "by_history"):
        assert first[name] == again[name]


def test_a_source_can_be_left_out(small_log: Path, command: Any) -> None:
    done = command(
        *("replay", str(small_log), "--limit", "600", "--json", "-"),
        *("--without", "neighbours", "--partitions", "2", "--batch", "64"),
    )
    sources = set(json.loads(done.stdout)["next"]["strict"])
    assert "blend" in sources
    assert "neighbours" not in sources


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sources", "nonsense"], "no source is called nonsense"),
        (["--evaluate-from", "2"], "--evaluate-from"),
        (["--state", "/proc/x"], "the state folder /proc/x cannot be made"),
        (["--state", "a", "--redis", "redis://nowhere"], "give one of them"),
        (
            ["--state-only", "--plot", "a.png", "--without", "new"],
            "--plot, --without with --state-only",
        ),
        (["--state-only", "--to-kafka", "--seed", "0"], "--seed, --to-kafka with --state-only"),
        (["--state-only"], "would end with this command"),
    ],
)
def test_wrong_usage_is_told_with_a_mend(
    small_log: Path, command: Any, arguments: list[str], message: str
) -> None:
    done = command("replay", str(small_log), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_states_alone_are_imported(small_log: Path, command: Any, tmp_path: Path) -> None:
    arguments = ("replay", str(small_log), "--state-only", "--state", str(tmp_path / "kept"))
    report = json.loads(command(*arguments, "--json", "-").stdout)
    assert report["log"] == str(small_log)
    assert report["events"] > report["users"] > 0
    assert report["events_per_s"] > 0
    again = command(*arguments)
    assert again.returncode == 2
    assert "--fresh" in again.stderr
    assert f"{report['events']:,} events in" in command(*arguments, "--fresh").stdout


def test_a_log_without_any_event_is_a_problem(command: Any) -> None:
    done = command("replay", str(Path(__file__)))
    assert done.returncode == 1
    assert re.search(r"none of the \d+ records of .*test_cli_replay.py is an event", done.stderr)
    assert done.stdout == ""


def test_a_missing_log_is_told(command: Any) -> None:
    done = command("replay", "nowhere.jsonl")
    assert done.returncode == 2
    assert "there is no log nowhere.jsonl" in done.stderr


def test_the_best_single_source_is_neither_blend_nor_the_list_as_shown() -> None:
    figures = {"shown": {"mrr": 0.9}, "blend": {"mrr": 0.8}, "a": {"mrr": 0.3}, "b": {"mrr": 0.1}}
    assert best_source(figures, "mrr") == "a"
    assert best_source({"blend": {"mrr": 1.0}}, "mrr") == ""


def test_a_terminated_replay_leaves_nothing_behind(small_log: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="r-") as home:
        command = [sys.executable, "-m", "rillet.cli.main", "replay", str(small_log)]
        process = subprocess.Popen(
            command,
            env=os.environ | {"TMPDIR": home},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while not list(Path(home).glob("rillet-redis-*/redis.sock")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.5)  # past the start of its Redis, into the replay
        process.terminate()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert b"Traceback" not in said
        # onnxruntime leaves a file of its own where it is ended while it loads
        assert list(Path(home).glob("rillet*")) == []
