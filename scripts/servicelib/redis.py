"""A Redis server on loopback that keeps nothing on disk."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

from servicelib.errors import ServiceError
from servicelib.process import HOST, Process, apt_install, await_health, choose_port, end, spawn

DEFAULT_PORT = 16379
PROGRAM = "RILLET_TEST_REDIS_SERVER"
"""Names the server's program where it is to be another one than the path has."""

_PROCESS_ID = re.compile(rb"process_id:(\d+)")


def start(home: Path, port: int, *, insist: bool) -> tuple[Process, int]:
    """Start a server and wait until it answers; return its process and port."""
    binary = _binary(home)
    port = choose_port("Redis", port, insist=insist)
    log = home / "redis.log"
    command = [binary, "--bind", HOST, "--port", str(port), "--dir", str(home)]
    process = spawn([*command, "--save", "", "--appendonly", "no"], log)
    try:
        await_health("Redis", process, log, lambda: problem(port, process.pid), patience=15)
    except BaseException:
        end(process, patience=2)
        raise
    return process, port


def problem(port: int, pid: int | None = None) -> str | None:
    """Say why the server on this port is not usable, or is not process `pid`; None if it is."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(b"PING\r\nINFO server\r\nPING\r\n")
            answer = b""
            while not answer.endswith(b"PONG\r\n") or answer.count(b"PONG") < 2:
                chunk = connection.recv(4096)
                if not chunk:
                    return f"port {port} closed the connection"
                answer += chunk
                if answer.startswith(b"-"):
                    return answer.splitlines()[0].decode(errors="replace")
    except OSError as error:
        return f"port {port}: {error}"
    found = _PROCESS_ID.search(answer)
    if pid is not None and (found is None or int(found[1]) != pid):
        return f"port {port} is answered by another Redis"
    return None


def _binary(home: Path) -> str:
    """Find redis-server, install it where that is possible, else take the environment's own."""
    if found := _on_path():
        return found
    if apt_install(["redis-server", "valkey-server"], home / "install.log") and (
        found := _on_path()
    ):
        return found
    embedded = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "redis-server"
    if embedded.exists():
        return str(embedded)
    raise ServiceError("no redis-server: install Redis 6.2 or newer (redis.io/docs/install)")


def _on_path() -> str | None:
    if wanted := os.environ.get(PROGRAM):
        if found := shutil.which(wanted):
            return found
        raise ServiceError(f"{PROGRAM}={wanted} is no program that can be run")
    return shutil.which("redis-server") or shutil.which("valkey-server")
