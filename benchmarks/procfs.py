"""What Linux says of a running process: its memory and its processor time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

__all__ = ["cpu_s", "private_mib", "rss_mib"]

TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def rss_mib(pid: int) -> float:
    """Return the memory that a process has resident, in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * PAGE / 2**20


def private_mib(pid: int) -> float:
    """Return what of that no other process shares, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 2**10


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has had, user and system, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
