"""Two commits' engines take turns: this very one against itself, at a tiny size."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import refs
from benchmarks.workload import Sizes
from stream.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
TINY = Sizes(users=60, items=250, days=3.0, warm=100, rounds=3, events=50)

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git repository")


def trees() -> list[str]:
    command = ["git", "-C", str(ROOT), "worktree", "list"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()


def test_what_is_no_commit_is_refused() -> None:
    with pytest.raises(SettingsError, match="nosuchref"):
        refs.measure("nosuchref", TINY, 0, lambda _text: None)


@pytest.mark.timeout(240)
def test_a_commit_and_the_working_tree_take_turns() -> None:
    before, said = trees(), list[str]()
    found = refs.measure("HEAD", TINY, 300, said.append)
    assert said == ["base: warm-up", "head: warm-up", "a round that does not count"] + [
        f"round {number}" for number in (1, 2, 3)
    ]
    assert found["cpu_us_per_event"]["base"] > 0
    assert found["rss_mib"]["head"] > 50
    assert "handle" in found["steps"]
    assert trees() == before  # the checkout is gone
