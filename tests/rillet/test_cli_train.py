"""`rillet train` and `rillet replay --train-every`, run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from models.registry import Registry
from rillet.cli.engine import _events
from stream.errors import SettingsError
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import MINUTE, NOON, interaction, write_log
from tests.consumers.small_log import the_items
from tests.consumers.trained import visits
from tests.stream.archives import fill, rows_of

Train = Callable[..., CompletedProcess[str]]
SMALL = {"DIM": "16", "LAYERS": "1", "LENGTH": "8", "HOLDOUT": "0.3"}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    return write_log(path, [*the_items(), *visits()])


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Return settings of a small network, with the unfinished run in a folder of the test."""
    small = {f"RILLET_TRANSFORMER__{name}": value for name, value in SMALL.items()}
    return small | {"RILLET_TRANSFORMER__FOLDER": str(tmp_path / "run")}


@pytest.fixture
def train(command: Any, tmp_path: Path, variables: dict[str, str]) -> Train:
    def run(*arguments: str) -> CompletedProcess[str]:
        where = ("--registry", str(tmp_path / "models"))
        done: CompletedProcess[str] = command("train", *arguments, *where, **variables)
        return done

    return run


def listed(command: Any, tmp_path: Path) -> list[dict[str, Any]]:
    done = command("models", "list", "--json", "--registry", str(tmp_path / "models"))
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_log_is_trained_on_and_the_model_is_listed(
    log: Path, train: Train, command: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    done = train(str(log), "--epochs", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert (found["epochs"], found["interactions"], found["users"]) == (1, 240, 40)
    assert found["verdict"]["promote"]
    (row,) = listed(command, tmp_path)
    assert (row["version"], row["status"]) == (found["version"], "current")
    assert row["metrics"] == found["metrics"]
    assert row["data"]["events"] == 240
    assert not (tmp_path / "run").exists()

    again = piped(log, tmp_path, variables, "--epochs", "2", "--anew", "--seed", "4")
    assert again.returncode == 0, again.stderr
    assert "240 interactions of 40 users, 16 items; 2 passes" in again.stdout
    assert "is refused: 0 questions of 0 users are too few to tell" in again.stdout
    rows = listed(command, tmp_path)
    assert [one["status"] for one in rows] == ["current", "refused"]
    registry = Registry(str(tmp_path / "models"))
    assert registry.manifest(rows[1]["version"]).seed == 4


def piped(
    log: Path, home: Path, variables: dict[str, str], *arguments: str
) -> CompletedProcess[str]:
    enter = [sys.executable, "-m", "rillet.cli.main", "train", "-"]
    return subprocess.run(
        [*enter, "--registry", str(home / "models"), *arguments],
        input=log.read_text(),
        capture_output=True,
        check=False,
        env=os.environ | variables,
        text=True,
    )


ERRORS: dict[str, tuple[Sequence[Event], str]] = {
    "empty": ([], "there is nothing in"),
    "one item": (
        [*the_items(), *(interaction("k1", NOON + n * MINUTE, f"u{n % 3}") for n in range(20))],
        "20 positive interactions with 1 items are too few",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_too_little_is_told_with_a_mend(case: str, train: Train, tmp_path: Path) -> None:
    events, words = ERRORS[case]
    done = train(str(write_log(tmp_path / "events.jsonl", events)))
    assert done.returncode == 2
    assert words in done.stderr
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.jsonl"], "there is no log nowhere.jsonl"),
        (["nowhere.jsonl", "--epochs", "-1"], "--epochs"),
        (["nowhere.jsonl", "--seed", "x"], "--seed"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], words: str, train: Train) -> None:
    done = train(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_log_and_without_an_archive_it_says_so(
    command: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    where = {"RILLET_ARCHIVE__URL": str(tmp_path), "RILLET_REDIS__URL": "embedded:"}
    done = command("train", **variables, **where)
    assert done.returncode == 2
    assert "neither a log nor an archive" in done.stderr


@pytest.mark.parametrize("name", ["train", "train-encoder"])
def test_on_the_archive_one_trains_at_a_time(
    name: str, command: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    fill(str(tmp_path / "archive"), rows_of(visits()))
    where = {"RILLET_ARCHIVE__URL": str(tmp_path / "archive")}
    with closing(Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)) as store:
        lease = store.lease("finetune", 60)
        assert lease.take()
        registry = ("--registry", str(tmp_path / "models"))
        done = command(name, *registry, **variables, **where, RILLET_REDIS__URL=store.url)
        assert done.returncode == 2
        assert "another process trains" in done.stderr
        assert "wait until it is done" in done.stderr
        assert not (tmp_path / "models").exists()
        assert lease.renew()


def test_a_model_from_the_archive_says_where_the_archive_was(
    command: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    events = visits()
    fill(str(tmp_path / "archive"), rows_of(events))
    where = {"RILLET_ARCHIVE__URL": str(tmp_path / "archive"), "RILLET_REDIS__URL": "embedded:"}
    registry = ("--registry", str(tmp_path / "models"))
    done = command("train", *registry, "--epochs", "1", "--json", **variables, **where)
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout)["version"]
    shown = json.loads(command("models", "show", version, "--json", *registry).stdout)
    assert shown["offsets"] == {"shop.events:0": len(events)}


def test_it_teaches_by_example(command: Any) -> None:
    done = command("train", "--help")
    assert done.returncode == 0
    assert "Examples" in done.stdout
    assert "rillet train events.jsonl.gz --registry try --epochs 3" in done.stdout


def test_a_replay_trains_on_its_way(
    log: Path, command: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    arguments = ("replay", str(log), "--train-every", "25%", "--evaluate-from", "0.5", "--stale")
    done = command(*arguments, "--json", "-", **variables, RILLET_TRANSFORMER__EPOCHS="2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["steps_us_per_event"]["train"] > 0
    figures = found["next"]["strict"]["transformer"]
    assert figures["hr@10"] > 0
    assert figures["coverage"] > 0
    assert found["next"]["stale"]["transformer"]["n"] == figures["n"]


def test_nothing_is_stale_without_training(log: Path, command: Any) -> None:
    done = command("replay", str(log), "--stale")
    assert done.returncode == 2
    assert "--train-every" in done.stderr


def test_how_often_it_trains_is_a_count_or_a_share(log: Path) -> None:
    lines = len(log.read_bytes().splitlines())
    assert _events("", str(log)) == 0
    assert _events("70", str(log)) == 70
    assert _events("25%", str(log)) == lines // 4
    assert _events("0.0001%", str(log)) == 1
    assert _events("100%", str(log)) == lines


@pytest.mark.parametrize(
    "text", ["0", "-5", "0%", "-1%", "101%", "%", "often", "1.5", "nan%", "inf%", "inf", "1e3"]
)
def test_how_often_must_make_sense(text: str, log: Path) -> None:
    with pytest.raises(SettingsError, match="neither a number of events nor a share") as caught:
        _events(text, str(log))
    assert "--train-every 10%" in caught.value.mend


def test_a_replay_says_what_is_wrong_with_it(log: Path, command: Any) -> None:
    done = command("replay", str(log), "--train-every", "often")
    assert done.returncode == 2
    assert "--train-every often" in done.stderr
    assert "mend:" in done.stderr
