"""scripts/services.py, with Redis alone: it takes the same way as Kafka and is up at once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "services.py"

pytestmark = pytest.mark.integration


class Services:
    """The script, with a folder of its own and Redis alone."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port

    def arguments(self, command: str, *rest: str) -> list[str]:
        return [sys.executable, str(SCRIPT), command, "--only=redis", f"--home={self.home}", *rest]

    def call(self, command: str, *rest: str, status: int = 0) -> str:
        env = {**os.environ, "RILLET_TEST_REDIS_PORT": str(self.port)}
        done = subprocess.run(
            self.arguments(command, *rest),
            capture_output=True,
            check=False,
            env=env,
            text=True,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr

    def redis(self, status: int = 0) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.call("status", "--json", status=status))
        redis: dict[str, Any] = report["services"]["redis"]
        return redis


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    services = Services(tmp_path / "services", port)
    yield services
    services.call("stop", "--force")


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def test_start_is_idempotent_and_says_where(services: Services) -> None:
    printed = services.call("start")
    first = services.redis()
    assert services.call("start") == printed
    url = f"redis://127.0.0.1:{services.port}/0"
    assert printed == f"export RILLET_REDIS__URL={url}\nexport RILLET_TEST_REDIS={url}\n"
    assert services.redis() == first
    assert first["up"] and first["endpoint"] == f"127.0.0.1:{services.port}"
    assert answers(services.port)


def test_the_server_is_the_one_that_is_named(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLET_TEST_REDIS_SERVER", str(tmp_path / "none"))
    said = services.call("start", status=1)
    assert f"RILLET_TEST_REDIS_SERVER={tmp_path / 'none'} is no program that can be run" in said
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    other = tmp_path / "other"
    other.write_text(f'#!/bin/sh\ntouch {tmp_path / "used"}\nexec {found} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("RILLET_TEST_REDIS_SERVER", str(other))
    services.call("start")
    assert answers(services.port)
    assert (tmp_path / "used").exists()


def test_stop_ends_it_and_may_be_repeated(services: Services) -> None:
    services.call("start")
    assert json.loads(services.call("stop", "--json")) == {"stopped": ["redis"]}
    assert not answers(services.port)
    assert services.redis(status=1)["problem"] == "not started"
    assert json.loads(services.call("stop", "--json")) == {"stopped": []}


def test_stop_spares_a_process_that_took_over_the_id(services: Services) -> None:
    services.call("start")
    state = services.home / "state.json"
    entry = json.loads(state.read_text())
    redis = entry["services"]["redis"]
    with subprocess.Popen(["sleep", "60"]) as stranger:
        recorded = {**redis, "pid": stranger.pid}  # same id, another start time
        state.write_text(json.dumps({**entry, "services": {"redis": recorded}}))
        services.call("stop")
        assert stranger.poll() is None
        stranger.kill()
    state.write_text(json.dumps(entry))
    assert answers(services.port)


def test_a_killed_service_is_started_again_on_its_port(services: Services) -> None:
    services.call("start")
    before = services.redis()
    os.kill(before["pid"], signal.SIGKILL)
    assert "has ended" in services.redis(status=1)["problem"]
    services.call("start")
    after = services.redis()
    assert after["endpoint"] == before["endpoint"] and after["pid"] != before["pid"]


def test_a_foreign_process_on_a_named_port_is_an_error(services: Services) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", services.port))
        stranger.listen()
        said = services.call("start", status=1)
    assert f"port {services.port} for Redis is taken" in said


def test_run_gives_the_address_passes_the_status_on_and_stops(services: Services) -> None:
    code = (
        "import os, socket, sys\n"
        "address = os.environ['RILLET_TEST_REDIS'].split('/')[2].split(':')\n"
        "socket.create_connection((address[0], int(address[1])), 5).close()\n"
        "sys.exit(42)\n"
    )
    services.call("run", "--", sys.executable, "-c", code, status=42)
    assert not answers(services.port)


def test_run_leaves_alone_what_was_up_before(services: Services) -> None:
    services.call("start")
    services.call("run", "--", "true")
    assert services.redis()["up"]


def test_the_last_of_two_runs_stops(services: Services) -> None:
    with running(services, "import sys; sys.stdin.read()") as first:
        services.call("run", "--", "true")
        assert answers(services.port)
        assert "in use by run" in services.call("stop", status=1)
        first.communicate(timeout=30)
    assert first.returncode == 0
    assert not answers(services.port)


@pytest.mark.parametrize("request_", [signal.SIGTERM, signal.SIGINT])
def test_run_stops_what_it_started_when_told_to_end(
    services: Services, request_: signal.Signals
) -> None:
    code = (
        "import signal, time; signal.signal(2, signal.SIG_DFL); print(flush=True); time.sleep(60)"
    )
    with running(services, code) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.send_signal(request_)
        run.communicate(timeout=30)
    assert run.returncode == 128 + request_
    assert not answers(services.port)


def test_run_of_a_command_that_is_not_there(services: Services) -> None:
    assert "cannot run no-such-command" in services.call("run", "--", "no-such-command", status=127)
    assert not answers(services.port)


def running(services: Services, code: str) -> subprocess.Popen[bytes]:
    """Begin a `run` of Python code; return once Redis answers."""
    run = subprocess.Popen(
        services.arguments(
            "run", f"--redis-port={services.port}", "--", sys.executable, "-c", code
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not answers(services.port):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    return run
