"""The two servers of a run, which can be killed and started again at the same place."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from servicelib import kafka, redis
from servicelib.process import HOST, Process, await_health, end, free_ports, spawn

__all__ = ["Kafka", "Redis", "free_ports"]


def _kill(process: Process) -> None:
    if process.alive():
        os.kill(process.pid, signal.SIGKILL)
    end(process, patience=5)


class Kafka:
    """A broker with two doors: one for the harness, one behind a proxy for the consumers.

    Parameters
    ----------
    home
        Folder of its data and its log.
    ports
        Its door, its controller's, the door behind the proxy, and the proxy's own.
    """

    def __init__(self, home: Path, ports: list[int]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._home, self._ports = home, ports
        self.start()

    @property
    def address(self) -> str:
        """Where the harness finds it."""
        return f"{HOST}:{self._ports[0]}"

    def start(self) -> None:
        """Start it on the data that it left."""
        port, _, listens, told = self._ports
        self._process, _ = kafka.start(self._home, port, insist=True, proxied=(listens, told))

    def stop(self, *, kill: bool) -> None:
        """End it, by SIGTERM or as a crash would."""
        if kill:
            _kill(self._process)
        else:
            end(self._process, patience=20)


class Redis:
    """A server that appends what is written to a file, and flushes that every second.

    Parameters
    ----------
    home
        Folder of its data and its log.
    port
        Where it listens.
    """

    def __init__(self, home: Path, port: int) -> None:
        home.mkdir(parents=True)
        self._home, self._port = home, port
        self._process: Process | None = None
        self._data, self._older = home / "data", home / "older"
        self._data.mkdir()
        self.start()

    def start(self) -> None:
        """Start it on the data that it left, or that was put back; nothing where it runs."""
        if self._process is not None and self._process.alive():
            return  # two outages lay in one another
        command = [redis._binary(self._home), "--bind", HOST, "--port", str(self._port)]
        command += ["--dir", str(self._data), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]
        log = self._home / "redis.log"
        process = self._process = spawn(command, log)
        await_health(
            "Redis", process, log, lambda: redis.problem(self._port, process.pid), patience=30
        )

    def keep(self) -> None:
        """Copy what is on disk now, to be put back later."""
        if self._older.exists():
            shutil.rmtree(self._older)
        shutil.copytree(self._data, self._older)

    def stop(self, *, kill: bool) -> None:
        """End it, by SIGTERM, which writes everything, or as a crash would."""
        if self._process is None:
            return
        if kill:
            _kill(self._process)
        else:
            end(self._process, patience=10)

    def put_back(self) -> None:
        """Have the copy in the data's place: what was written since is lost."""
        shutil.rmtree(self._data)
        shutil.copytree(self._older, self._data)
