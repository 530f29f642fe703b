#!/usr/bin/env python3
"""Print where promtool is, with which the tests check alert rules; fetch it if missing.

Where apt may be asked, it is taken out of the package `prometheus`, which is not installed: no
server is started for the sake of a checker. Elsewhere one line says what to do, and those tests
are skipped. Needs only Python's standard library.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from servicelib.errors import ServiceError
from servicelib.process import apt_extract, say

BUILD = Path(__file__).resolve().parents[1] / "build"
FETCHED = BUILD / "promtool"


def main() -> int:
    """Find or fetch it; return 0, as it is no error to do without."""
    try:
        found = find() or fetch()
    except (ServiceError, OSError) as error:
        say(str(error))
        found = ""
    say(f"promtool: {found}" if found else "no promtool: install Prometheus to check alert rules")
    return 0


def find() -> str:
    """Return the program on the path, or the one that was fetched; "" where there is none."""
    return shutil.which("promtool") or shutil.which(FETCHED) or ""


def fetch() -> str:
    """Take it out of its package; return where it is, "" where there is no apt."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        if not apt_extract("prometheus", Path(folder), BUILD / "promtool.log"):
            return ""
        (Path(folder) / "usr/bin/promtool").replace(FETCHED)
    return find()


if __name__ == "__main__":
    sys.exit(main())
