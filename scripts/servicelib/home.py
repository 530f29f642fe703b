"""The folder that remembers which services run, who started them and who uses them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from servicelib import docker, kafka, redis
from servicelib.errors import ServiceError
from servicelib.process import Process, choose_port, end, identify, say

_START: dict[str, Callable[..., tuple[Process, int]]] = {
    "kafka": kafka.start,
    "redis": redis.start,
}
_PROBLEM: dict[str, Callable[[int], str | None]] = {
    "kafka": kafka.problem,
    "redis": redis.problem,
}
NAMES = tuple(_START)
_STOP_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service that was started here.

    `pid` and `started` identify its process; in a container both are None. `kept` services run
    until somebody stops them, the others until the last `run` that uses them ends.
    """

    name: str
    port: int
    pid: int | None
    started: str | None
    kept: bool

    @property
    def process(self) -> Process | None:
        """The process that serves, unless a container does."""
        if self.pid is None or self.started is None:
            return None
        return Process(self.pid, self.started)

    def problem(self) -> str | None:
        """Say why it is not usable; None if it is."""
        if self.process is not None and not self.process.alive():
            return f"process {self.pid} has ended"
        return _PROBLEM[self.name](self.port)


class Home:
    """The services of one folder; every change is made under a lock between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = path / "state.json"

    def services(self) -> dict[str, Service]:
        """Return what was started here and not stopped, healthy or not."""
        return {name: Service(**entry) for name, entry in self._load()["services"].items()}

    def log(self, name: str) -> Path:
        """Return where a service writes its log."""
        return self.path / f"{name}.log"

    def start(
        self, wanted: dict[str, tuple[int, bool]], *, keep: bool, in_docker: bool = False
    ) -> dict[str, Service]:
        """Start what does not already run; return all of `wanted`.

        Parameters
        ----------
        wanted
            The port of each service, and whether no other port will do.
        keep
            Whether they stay up until `stop`; else this process is noted as their user and
            `release` may end them.
        in_docker
            Use containers.

        Raises
        ------
        ServiceError
            When one does not get healthy, with the end of its log.
        """
        if in_docker:
            docker.require()
        with self._locked() as state:
            if not keep:
                state["runs"].append(asdict(identify(os.getpid())))
                self._save(state)
            for name, (port, insist) in wanted.items():
                service = self._started(state, name, port, insist, in_docker)
                state["services"][name] = asdict(replace(service, kept=service.kept or keep))
                self._save(state)
            return {name: Service(**state["services"][name]) for name in wanted}

    def _started(
        self, state: dict[str, Any], name: str, port: int, insist: bool, in_docker: bool
    ) -> Service:
        """Return the service as it runs, or start it."""
        entry = state["services"].get(name)
        if entry is not None:
            service = Service(**entry)
            trouble = service.problem()
            if trouble is None:
                if insist and service.port != port:
                    raise ServiceError(f"{name} already runs on port {service.port}; stop it first")
                return service
            say(f"{name} is not usable ({trouble}), starting it again")
            port = service.port
            self._end(service)
        began = time.monotonic()
        process: Process | None = None
        if in_docker:
            port = choose_port(name, port, insist=insist)
            docker.up({name: port}, self.log("docker"))
        else:
            process, port = _START[name](self.path, port, insist=insist)
        say(f"{name} is up on port {port} after {time.monotonic() - began:.1f} s")
        pid, started = (process.pid, process.started) if process else (None, None)
        return Service(name, port, pid, started, kept=False)

    def release(self) -> None:
        """Drop this process from the users; without any other, end what nobody asked to keep."""
        with self._locked() as state:
            state["runs"] = [run for run in state["runs"] if run["pid"] != os.getpid()]
            if state["runs"]:
                self._save(state)
                return
            self._stop(state, [name for name, one in state["services"].items() if not one["kept"]])

    def stop(self, names: Sequence[str], *, force: bool, keep_data: bool) -> list[str]:
        """End what was started here; return the names of what ran.

        Raises
        ------
        ServiceError
            When a `run` still uses the services and `force` is not set.
        """
        with self._locked() as state:
            if state["runs"] and not force:
                users = ", ".join(str(run["pid"]) for run in state["runs"])
                raise ServiceError(f"in use by run (process {users}); --force stops them anyway")
            return self._stop(state, names, keep_data=keep_data)

    def _stop(
        self, state: dict[str, Any], names: Sequence[str], *, keep_data: bool = False
    ) -> list[str]:
        stopped = []
        for name in names:
            entry = state["services"].pop(name, None)
            if entry is None:
                continue
            service = Service(**entry)
            self._end(service)
            if not keep_data:
                self._drop_data(service)
            stopped.append(name)
            self._save(state)
        self._save(state)
        return stopped

    def _end(self, service: Service) -> None:
        if service.process is None:
            docker.remove(service.name, self.log("docker"))
        else:
            end(service.process, _STOP_PATIENCE)

    def _drop_data(self, service: Service) -> None:
        if service.process is None:
            docker.drop_data(service.name, self.log("docker"))
        else:
            shutil.rmtree(self.path / service.name, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """Hold the lock; give the state, less the users that have ended without a word."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._load()
            state["runs"] = [run for run in state["runs"] if Process(**run).alive()]
            yield state

    def _load(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state.read_text())
        except FileNotFoundError:
            return {"services": {}, "runs": []}
        except ValueError as error:
            raise ServiceError(f"{self._state} is damaged: {error}; remove it") from error
        return state

    def _save(self, state: dict[str, Any]) -> None:
        draft = self._state.with_suffix(".draft")
        draft.write_text(json.dumps(state, indent=2) + "\n")
        draft.replace(self._state)
