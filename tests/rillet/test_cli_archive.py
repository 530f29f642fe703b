from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.archive import Archive
from rillet.cli.live import _children
from stream.events import User, decode
from stream.log import read_log
from stream.memory import MemoryBroker
from stream.routing import outgoing
from stream.settings import load_settings


@pytest.fixture
def archive(small_log: Path, tmp_path: Path) -> Path:
    """The small log, archived from a few partitions in several spans."""
    settings = load_settings(archive={"url": str(tmp_path / "archive"), "max_rows": 300})
    broker = MemoryBroker({settings.kafka.events: 2, settings.kafka.catalogue: 1})
    for _, raw in read_log(small_log):
        broker.sink().send(outgoing(raw, decode(raw), settings))
    member = Archive(settings, broker.source("archive", Archive.topics(settings)), None)
    while member.step(wait_ms=0):
        pass
    member.flush()
    return tmp_path / "archive"


def found(command: Any, *arguments: str, **variables: str) -> Any:
    done = command("archive", *arguments, "--json", **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_shown_compacted_and_pruned(archive: Path, small_log: Path, command: Any) -> None:
    here = {"RILLET_ARCHIVE__URL": str(archive)}
    rows = sum(1 for _ in read_log(small_log))
    before = found(command, "show", **here)
    assert before["rows"] == rows
    assert {place["topic"] for place in before["places"]} == {"rillet.events", "rillet.catalogue"}
    compacted = found(command, "compact", **here)
    assert (compacted["rows"], compacted["files"]) == (
        rows,
        found(command, "show", **here)["files"],
    )
    printed = command("archive", "show", "--archive", str(archive)).stdout
    assert f"{rows:,}" in printed
    assert "rillet.events[1]" in printed
    dry = command("archive", "prune", "--keep-days", "1", "--dry-run", **here).stdout
    assert dry.startswith(f"{rows:,} rows in") and "would go" in dry
    assert found(command, "show", **here)["rows"] == rows
    found(command, "prune", RILLET_ARCHIVE__KEEP_DAYS="1", **here)
    assert found(command, "show", **here)["rows"] == 0


def test_prune_wants_to_know_how_much(archive: Path, command: Any) -> None:
    done = command("archive", "prune", "--archive", str(archive))
    assert done.returncode == 2
    assert "archive.keep_days" in done.stderr


def test_a_user_is_forgotten(archive: Path, command: Any) -> None:
    events = (decode(raw) for _, raw in read_log(archive))
    user = next(event.user for event in events if isinstance(event, User))
    done = command("archive", "forget", user, "--archive", str(archive))
    assert done.returncode == 0
    assert done.stdout.startswith(f"{user}: ")
    assert not any(f'"user":"{user}"'.encode() in raw for _, raw in read_log(archive))


def test_files_that_are_gone_are_a_problem(archive: Path, command: Any) -> None:
    next(archive.glob("day=*/*.parquet")).unlink()
    done = command("archive", "show", "--archive", str(archive))
    assert done.returncode == 1
    assert "are gone" in done.stdout


def test_other_commands_take_it_for_a_log(archive: Path, command: Any) -> None:
    done = command("validate", str(archive), "--json")
    assert json.loads(done.stdout)["records"] == sum(1 for _ in read_log(archive)) > 500
    replayed = command("replay", str(archive), "--limit", "300", "--json", "-")
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["events"] == 300


def test_where_there_is_none_it_says_how_to_get_one(tmp_path: Path, command: Any) -> None:
    for words in (["show"], ["compact"], ["prune", "--keep-days", "3"], ["forget", "alice"]):
        done = command("archive", *words, "--archive", str(tmp_path / "none"))
        assert done.returncode == 2
        assert "mend:  check the path; `rillet consume archive` makes one" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["show", "compact", "prune", "forget"])
def test_every_command_teaches_by_examples(name: str, command: Any) -> None:
    done = command("archive", name, "--help")
    assert f"rillet archive {name}" in done.stdout
    assert "Examples" in done.stdout


def test_without_kafka_the_consumer_says_so(command: Any) -> None:
    nowhere = {"RILLET_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RILLET_KAFKA__TIMEOUT_S": "1"}
    done = command("consume", "archive", **nowhere)
    assert done.returncode == 2
    assert "mend:  start Kafka, or set kafka.bootstrap" in done.stderr


def test_up_runs_it_only_where_it_is_enabled() -> None:
    names = [child.name for child in _children(1, [], None, 0)]
    assert names == ["catalogue", "neighbours", "personalize"]
    with_it = _children(2, ["archive"], Path("shop.toml"), 1)
    assert [child.name for child in with_it][-2:] == ["personalize 2", "archive"]
    assert list(with_it[-1].command)[3:5] == ["consume", "archive"]


def test_up_gives_each_child_a_port_where_one_is_set() -> None:
    assert not any("--metrics-port" in child.command for child in _children(2, [], None, 0))
    children = _children(2, ["archive"], None, 0, metrics=9464)
    ports = {child.name: child.command[-1] for child in children}
    assert ports == {
        "catalogue": "9464",
        "neighbours": "9465",
        "archive": "9466",
        "personalize 1": "9468",
        "personalize 2": "9469",
    }
    assert {child.command[-2] for child in children} == {"--metrics-port"}
