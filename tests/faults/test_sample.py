"""A few schedules with fixed seeds; `make faults` plays many."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SEEDS = ("35", "96")
"""Deaths at the first `plain` and `changes`, a long pause, a Redis that is restarted, a connection
cut in a write, a process that ends and one that comes and goes."""


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_sample_of_schedules_ends_as_an_undisturbed_replay(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    command = [sys.executable, "-m", "tests.faults", "--folder", str(tmp_path / "f")]
    done = subprocess.run(
        [*command, "--schedules", "1", "--seed", *SEEDS, "--jobs", "2", "--json", str(told)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-2] == "points reached: plain 1, changes 1"
    assert done.stdout.splitlines()[-1] == "schedules 2, lost 0, doubled 0, differing 0"
    outcomes = {one["seed"]: one["reached"] for one in json.loads(told.read_text())}
    assert outcomes == {35: {"plain": 1}, 96: {"changes": 1}}
