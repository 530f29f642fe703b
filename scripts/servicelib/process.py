"""Start, recognise, await and end operating-system processes."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from servicelib.errors import ServiceError

HOST = "127.0.0.1"
USUAL = 32768
"""The first port that Linux lends to connections, where nobody has set it otherwise."""
SPREAD, TRIES = 5000, 10_000
_STATE_FIELD, _START_FIELD = 0, 19  # of /proc/PID/stat, counted after the command's name


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with the same id."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether it still runs; an exited child that nobody has awaited yet does not."""
        return start_time(self.pid) == self.started


def start_time(pid: int) -> str | None:
    """Return when the process began, in the system's own notation, or None if it does not run."""
    if not Path("/proc/self/stat").exists():
        return _start_time_by_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STATE_FIELD] in "ZX" else fields[_START_FIELD]


def _start_time_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def identify(pid: int) -> Process:
    """Return the identity of a process that was just started."""
    return Process(pid, start_time(pid) or "gone")


def spawn(command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Process:
    """Start a process that outlives this one and the terminal; both its outputs go to `log`."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    child.returncode = 0  # it is not awaited here: keep Popen from warning that it still runs
    return identify(child.pid)


def end(process: Process, patience: float) -> None:
    """Ask the process to stop, and kill it after `patience` seconds; never touch another one."""
    for request, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        if not process.alive():
            return
        try:
            os.kill(process.pid, request)
        except ProcessLookupError:
            return
        except PermissionError as error:
            raise ServiceError(f"process {process.pid} belongs to another user") from error
        deadline = time.monotonic() + seconds
        while process.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
    if process.alive():
        raise ServiceError(f"process {process.pid} does not stop")


def await_health(
    name: str, process: Process, log: Path, problem: Callable[[], str | None], patience: float
) -> None:
    """Wait until `problem` returns None.

    Raises
    ------
    ServiceError
        When the process ends or `patience` seconds pass first; with the end of its log.
    """
    deadline = time.monotonic() + patience
    while (trouble := problem()) is not None:
        if not process.alive():
            raise ServiceError(f"{name} ended while starting\n{tail(log)}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{name} not ready in {patience:.0f} s: {trouble}\n{tail(log)}")
        time.sleep(0.05)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented, below its name."""
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([f"the end of {log}:", *(f"    {line}" for line in text or ["(empty)"])])


def port_is_free(port: int) -> bool:
    """Whether nobody listens on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


def choose_port(name: str, wanted: int, *, insist: bool) -> int:
    """Return `wanted`, or any free port when another process has it and nobody insists.

    Raises
    ------
    ServiceError
        When the port is taken and `insist` is set.
    """
    if port_is_free(wanted):
        return wanted
    if insist:
        raise ServiceError(
            f"port {wanted} for {name} is taken by a process that was not started here; "
            "name another one or stop that process"
        )
    port = free_ports(1)[0]
    say(f"port {wanted} is taken by another process, {name} takes {port}")
    return port


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody has now.

    They lie below those that the system lends to connections: one of these might be gone before
    a server takes it, or while it is started anew. Neighbours are not among them, as Kafka's
    controller takes the next one.

    Raises
    ------
    ServiceError
        So many are not to be found.
    """
    lent, found = _first_lent(), list[int]()
    for _ in range(TRIES):
        port = lent - 2 * (1 + secrets.randbelow(SPREAD))
        if port not in found and port_is_free(port) and port_is_free(port + 1):
            found.append(port)
        if len(found) == count:
            return found
    raise ServiceError(f"no {count} ports are free below {lent}; end what has them")


def _first_lent() -> int:
    """Return the first port that the system lends to connections by itself."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = USUAL
    return first if first > 2 * SPREAD + 1024 else USUAL


def say(message: str) -> None:
    """Tell the person at the terminal what is going on; standard output stays for results."""
    print(f"services: {message}", file=sys.stderr, flush=True)


def run_quietly(command: Sequence[str], what: str, log: Path, patience: float) -> None:
    """Run a command to its end, output to `log`.

    Raises
    ------
    ServiceError
        When it fails or takes longer than `patience` seconds; with the end of the log.
    """
    with log.open("wb") as out:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=patience,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ServiceError(f"cannot {what}: {error}\n{tail(log)}") from error


def apt_install(packages: Sequence[str], log: Path) -> bool:
    """Install the first of `packages` that the distribution has.

    Returns
    -------
    bool
        False where this may not be done: no apt, or not root.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    run_quietly([*environment, "apt-get", "update", "-q"], "refresh apt's lists", log, 300)
    for package in packages:
        known = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
        if known.returncode == 0:
            say(f"installing {package} with apt-get")
            command = ["apt-get", "install", "-yq", "--no-install-recommends", package]
            run_quietly([*environment, *command], f"install {package}", log, 600)
            return True
    return False


def apt_extract(package: str, folder: Path, log: Path) -> bool:
    """Unpack a package of the distribution into an empty folder, and install nothing.

    Returns
    -------
    bool
        False where there is no apt.

    Raises
    ------
    ServiceError
        It cannot be fetched or unpacked; with the end of the log.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return False
    say(f"fetching {package} with apt-get")
    fetch = ["env", "-C", str(folder), "apt-get", "download", "-q", package]
    try:
        run_quietly(fetch, f"fetch {package}", log, 300)
    except ServiceError:
        if os.geteuid() != 0:
            raise
        run_quietly(["apt-get", "update", "-q"], "refresh apt's lists", log, 300)
        run_quietly(fetch, f"fetch {package}", log, 300)
    for archive in folder.glob("*.deb"):
        run_quietly(["dpkg-deb", "-x", str(archive), str(folder)], f"unpack {package}", log, 60)
    return True
