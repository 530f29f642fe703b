"""The pages and the examples say what is true, and run."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.card import ItemCard
from features.stored import Stored
from models.answer import Answer
from models.item_state import ItemView
from stream.announcement import Announced
from stream.events import BadRecord, decode
from stream.keys import Keys
from stream.routing import outgoing
from stream.settings import Settings
from stream.store import Store

ROOT = Path(__file__).resolve().parents[2]
REDIS = (ROOT / "docs" / "redis.md").read_text("utf-8")
EVENTS = (ROOT / "docs" / "events.md").read_text("utf-8")
VALUES = {
    "recs": Answer,
    "session": Stored,
    "item": ItemCard,
    "neighbours": ItemView,
    "model": Announced,
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_every_key_is_documented() -> None:
    builders = {n for n, _ in inspect.getmembers(Keys, inspect.isfunction) if n[0] != "_"}
    kinds = {"item_state": "itemstate", "heartbeat": "process", "open_list": "open"}
    for builder in builders - {"pattern", "name_of"}:
        assert f"`rillet:1:{kinds.get(builder, builder)}" in REDIS, builder


@pytest.mark.parametrize("kind", VALUES)
def test_the_example_of_a_value_is_one(kind: str) -> None:
    after = REDIS.split(f"### {kind}\n")[1]
    example = json.loads(blocks(after, "json")[0])
    msgspec.convert(example, VALUES[kind])
    assert set(example) <= set(VALUES[kind].__struct_fields__)


@pytest.mark.parametrize("program", blocks(REDIS, "python"))
def test_reading_in_python_works_as_written(kept: Any, program: str) -> None:
    store = Store(kept.settings.redis)
    try:
        there = program.replace("redis.Redis()", f"redis.Redis.from_url({store.url!r})")
        done = subprocess.run(
            [sys.executable, "-c", there], capture_output=True, check=True, text=True, timeout=60
        )
    finally:
        store.close()
    assert len(json.loads(done.stdout.replace("'", '"'))) > 5


@pytest.mark.parametrize("text", blocks(EVENTS, "json"))
def test_the_examples_of_events_are_events(text: str) -> None:
    records = [text] if text.count('"event"') == 1 else text.splitlines()
    for record in records:
        event = decode(record.encode())
        assert not isinstance(event, BadRecord), event
        kind = json.loads(record)["event"]
        row = next(line for line in EVENTS.splitlines() if line.startswith(f"| [`{kind}`]"))
        topic = outgoing(record.encode(), event, Settings()).topic
        assert f"kafka.{topic.removeprefix('rillet.')}" in row


def test_every_reason_of_a_dead_letter_is_documented() -> None:
    sources = [*ROOT.glob("stream/*.py"), *ROOT.glob("consumers/*.py")]
    text = "".join(path.read_text("utf-8") for path in sources)
    reasons = set(re.findall(r'BadRecord\("(\w+)"', text))
    assert len(reasons) >= 5
    for reason in reasons:
        assert f"| `{reason}` |" in EVENTS, reason


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_with_redis_alone_runs(kept: Any) -> None:
    store = Store(kept.settings.redis)
    try:
        assert "list of *default*" in run("read_with_redis_py.py", "stranger", store.url)
    finally:
        store.close()


def test_the_example_with_redis_alone_reads_the_setting_and_says_who_is_away() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "read_with_redis_py.py")],
        capture_output=True,
        check=False,
        env={"RILLET_REDIS__URL": "redis://127.0.0.1:1/0"},
        text=True,
        timeout=110,
    )
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_example_of_a_replay_runs(small_log: Path) -> None:
    printed = run("replay_and_inspect.py", str(small_log))
    assert "HR@10" in printed
