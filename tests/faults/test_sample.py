"""A few schedules with fixed seeds; `make faults` plays many."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = 2
FIRST = 3
"""Deaths at `produced` and at `states`, a long pause, a Redis that is restarted and one that loses
its last seconds, a connection cut in a write; shared out cooperatively, and by ranges."""


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_sample_of_schedules_ends_as_an_undisturbed_replay(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults", "--folder", str(tmp_path / "f")]
    done = subprocess.run(
        [*command, "--schedules", str(SAMPLE), "--seed", str(FIRST), "--jobs", "2"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    # A slow machine has fewer and larger batches: one of them may end before its point.
    assert re.match(r"points reached: .*(produced|states) 1", done.stdout.splitlines()[-2])
    assert done.stdout.splitlines()[-1] == f"schedules {SAMPLE}, lost 0, doubled 0, differing 0"
