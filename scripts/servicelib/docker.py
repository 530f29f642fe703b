"""The same services from docker-compose.yml, where a Docker engine runs and is wanted."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from servicelib.errors import ServiceError
from servicelib.process import run_quietly, say

_FILE = Path(__file__).resolve().parents[2] / "docker-compose.yml"
_PROJECT = "rillet-services"
_COMPOSE = ["docker", "compose", "--project-name", _PROJECT, "--file", str(_FILE)]


def require() -> None:
    """Check that an engine answers.

    Raises
    ------
    ServiceError
        When there is none, or compose is missing.
    """
    if shutil.which("docker") is None:
        raise ServiceError("no docker: leave --docker away to run the services without it")
    for command, lack in (
        (["docker", "info"], "the Docker engine does not answer"),
        (["docker", "compose", "version"], "docker has no compose plugin"),
    ):
        answer = subprocess.run(command, capture_output=True, check=False, timeout=30)
        if answer.returncode != 0:
            raise ServiceError(f"{lack}: leave --docker away to run the services without it")


def up(ports: Mapping[str, int], log: Path) -> None:
    """Start these containers on these loopback ports and wait until their health checks pass."""
    settings = [f"HOST_{name.upper()}_PORT={port}" for name, port in ports.items()]
    say(f"starting {', '.join(ports)} with docker compose")
    options = ["up", "--detach", "--wait", "--wait-timeout", "120"]
    command = ["env", *settings, *_COMPOSE, *options, *ports]
    run_quietly(command, "start the containers", log, patience=600)


def remove(name: str, log: Path) -> None:
    """End a container; its data stays."""
    command = [*_COMPOSE, "rm", "--stop", "--force", name]
    run_quietly(command, f"stop the container {name}", log, patience=120)


def drop_data(name: str, log: Path) -> None:
    """Remove the volume of a container that has ended."""
    command = ["docker", "volume", "rm", "--force", f"{_PROJECT}_{name}"]
    run_quietly(command, f"drop the data of {name}", log, patience=60)
