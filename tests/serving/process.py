"""``rillet serve`` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["Serving"]


class Serving:
    """The command, over a Redis, at a port that is free."""

    def __init__(self, redis: str, log: Path, *arguments: str, **variables: str) -> None:
        clean = {k: value for k, value in os.environ.items() if not k.startswith("RILLET_")}
        command = [sys.executable, "-m", "rillet.cli.main", "serve", "--port", "0", "--json"]
        command += ["--redis", redis, *arguments]
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, env=clean | variables, stdout=subprocess.PIPE, stderr=file, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said()
        self.url = json.loads(line)["url"]
        place = urlsplit(self.url)
        self.place = (str(place.hostname), int(place.port or 0))

    def said(self) -> str:
        return self.log.read_text("utf-8")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.returncode
