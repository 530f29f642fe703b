#!/usr/bin/env python3
"""Print where Chromium is, in which the tests of the console run; install it with apt if missing.

Needs only Python's standard library. Where it may not be installed, one line says what to do.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from servicelib.errors import ServiceError
from servicelib.process import apt_install, say

NAMES = ("chromium", "chromium-browser", "google-chrome")
_LOG = Path(__file__).resolve().parents[1] / "build" / "chromium.log"


def main() -> int:
    """Find or install it; return the exit status."""
    try:
        if not (found := find()):
            _LOG.parent.mkdir(parents=True, exist_ok=True)
            apt_install(["chromium", "chromium-browser"], _LOG)
            found = find()
    except ServiceError as error:
        say(f"error: {error}")
        return 1
    if not found:
        say("error: no Chromium: install the package chromium, or Google Chrome")
        return 1
    say(f"Chromium: {found}")
    return 0


def find() -> str:
    """Return the program on the path, "" where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), "")


if __name__ == "__main__":
    sys.exit(main())
