"""A few schedules with fixed seeds; `make faults` plays many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = 3
FIRST = 3
"""Seeds 3 to 5: a death at `produced`, one at `states`, one at `plain`; a Redis that is restarted,
one that loses its last seconds twice, pauses, and broken connections to both servers."""


@pytest.mark.integration
def test_a_sample_of_schedules_ends_as_an_undisturbed_replay(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults", "--folder", str(tmp_path / "f")]
    done = subprocess.run(
        [*command, "--schedules", str(SAMPLE), "--seed", str(FIRST), "--jobs", "2"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=115,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == f"schedules {SAMPLE}, lost 0, doubled 0, differing 0"
