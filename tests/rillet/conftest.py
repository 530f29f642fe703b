"""A small made-up shop, and the engine's state after it: for everything that reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rillet.simulate import Plan, World
from stream.events import encode
from stream.log import LogWriter
from stream.settings import Settings, load_settings


def rillet(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, with none of our own variables set."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    return subprocess.run(
        [sys.executable, "-m", "rillet.cli.main", *arguments],
        capture_output=True,
        check=False,
        env=clean | variables,
        text=True,
        timeout=110,
    )


@dataclass(frozen=True)
class Kept:
    """A replayed log: where its state lies, what was printed, written and drawn."""

    log: Path
    state: Path
    picture: Path
    report: dict[str, Any]
    printed: str
    said: str

    @property
    def redis(self) -> str:
        return f"embedded:{self.state}"

    @property
    def settings(self) -> Settings:
        return load_settings(redis={"url": self.redis})


@pytest.fixture(scope="session")
def small_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "events.jsonl.gz"
    with LogWriter(path) as log:
        for event in World(Plan(seed=3, users=40, items=300, days=2)).events():
            log.write(encode(event))
    return path


@pytest.fixture(scope="session")
def kept(small_log: Path) -> Iterator[Kept]:
    # A socket's path must be short, which pytest's folders are not everywhere.
    home = Path(tempfile.mkdtemp(prefix="rillet-"))
    report, picture = home / "out" / "out.json", home / "out" / "out.png"
    done = rillet(
        *("replay", str(small_log), "--state", str(home / "redis")),
        *("--json", str(report), "--plot", str(picture), "--evaluate-from", "0.3"),
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(report.read_text())
    yield Kept(small_log, home / "redis", picture, figures, done.stdout, done.stderr)
    shutil.rmtree(home)


@pytest.fixture
def command() -> Any:
    return rillet
