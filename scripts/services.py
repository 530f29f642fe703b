#!/usr/bin/env python3
"""Start, stop and look at the real Kafka and Redis that tests and benchmarks use.

Needs only Python's standard library. What is missing is fetched once: Kafka's jars with Maven,
Java, Maven and Redis with apt where this may be done, else one line says what to install. Both
listen on 127.0.0.1 only. Everything they write lies in build/services.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parent))

from servicelib import kafka, redis
from servicelib.errors import ServiceError
from servicelib.home import NAMES, Home, Service
from servicelib.process import HOST, say

EXAMPLES = """\
examples:
  scripts/services.py start                  start both, or say that they already run
  scripts/services.py status --json          where they listen, for a program
  scripts/services.py run -- pytest -q       start what is missing, run, stop what was started
  scripts/services.py stop                   stop them and drop their data

`start` prints, to be pasted into a shell, the settings with which `rillet` finds them
(RILLET_KAFKA__BOOTSTRAP, RILLET_REDIS__URL) and the variables in which tests look for them
(RILLET_TEST_KAFKA, RILLET_TEST_REDIS); `run` sets the latter alone.
"""
_DEFAULT_HOME = Path(__file__).resolve().parents[1] / "build" / "services"
_DEFAULT_PORTS = {"kafka": kafka.DEFAULT_PORT, "redis": redis.DEFAULT_PORT}
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Do what the command line says; return the exit status."""
    arguments = parser().parse_args()
    names = arguments.only or list(NAMES)
    home = Home(arguments.home)
    commands = {"start": start, "stop": stop, "status": status, "run": run}
    try:
        return commands[arguments.command](home, names, arguments)
    except ServiceError as error:
        say(f"error: {error}")
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    shared, starting, printing = _options()
    top = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "start", parents=[shared, starting, printing], help="start what does not already run"
    )
    stopping = commands.add_parser(
        "stop", parents=[shared, printing], help="stop what was started here"
    )
    stopping.add_argument("--force", action="store_true", help="even while a `run` uses them")
    stopping.add_argument("--keep-data", action="store_true", help="the next start finds it again")
    commands.add_parser(
        "status", parents=[shared, printing], help="show each service; exit status 1 if one is down"
    )
    running = commands.add_parser(
        "run",
        parents=[shared, starting],
        help="run a command with the services up",
        usage="%(prog)s [options] -- CMD [ARG ...]",
    )
    running.add_argument("argv", nargs="+", metavar="CMD", help="the command and its arguments")
    return top


def _options() -> list[argparse.ArgumentParser]:
    """Return the options that all commands share, those of starting and those of printing."""
    shared, starting, printing = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    shared.add_argument(
        "--only", action="append", choices=NAMES, help="this service alone (may be repeated)"
    )
    shared.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("RILLET_TEST_SERVICES", _DEFAULT_HOME)),
        help="folder of logs, data, state.json (default: $RILLET_TEST_SERVICES or build/services)",
    )
    for name, port in _DEFAULT_PORTS.items():
        variable = f"RILLET_TEST_{name.upper()}_PORT"
        starting.add_argument(
            f"--{name}-port",
            type=int,
            default=os.environ.get(variable) or None,
            metavar="PORT",
            help=f"default: ${variable}, else {port}, else any free one",
        )
    starting.add_argument(
        "--docker", action="store_true", help="use containers from docker-compose.yml"
    )
    printing.add_argument("--json", action="store_true", help="print the result as JSON")
    return [shared, starting, printing]


def start(home: Home, names: list[str], arguments: argparse.Namespace) -> int:
    """Start the services for good and print how to reach them."""
    wanted = _wanted(names, arguments)
    services = home.start(wanted, keep=True, in_docker=arguments.docker)
    if arguments.json:
        _print_json(home, names)
    else:
        for variable, value in (_settings(services) | _environment(services)).items():
            print(f"export {variable}={value}")
    return 0


def stop(home: Home, names: list[str], arguments: argparse.Namespace) -> int:
    """Stop the services, whoever started them here."""
    stopped = home.stop(names, force=arguments.force, keep_data=arguments.keep_data)
    if arguments.json:
        print(json.dumps({"stopped": stopped}))
    else:
        print(f"stopped: {', '.join(stopped) or 'nothing, none ran'}")
    return 0


def status(home: Home, names: list[str], arguments: argparse.Namespace) -> int:
    """Print each service's state; return 1 when one is not usable."""
    services = home.services()
    problems = {name: _problem(services.get(name)) for name in names}
    if arguments.json:
        _print_json(home, names)
    else:
        for name, problem in problems.items():
            service = services.get(name)
            if problem is None and service is not None:
                where = f"process {service.pid}" if service.pid else "container"
                print(f"{name:6} up    {HOST}:{service.port}  {where}  log {home.log(name)}")
            else:
                print(f"{name:6} down  {problem}")
    return 1 if any(problems.values()) else 0


class _Interrupted(BaseException):
    """A signal came while no command ran yet."""

    def __init__(self, number: int) -> None:
        self.number = number


def run(home: Home, names: list[str], arguments: argparse.Namespace) -> int:
    """Run a command with the services up; return its exit status, as a shell would.

    Signals go on to the command. Whatever happens, what this call started is stopped at the end,
    unless another `run` has begun to use it meanwhile.
    """
    command: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if command is None:
            raise _Interrupted(number)
        if number != signal.SIGINT or not sys.stdin.isatty():  # a terminal tells both itself
            command.send_signal(number)

    for number in _SIGNALS:
        signal.signal(number, pass_on)
    try:
        wanted = _wanted(names, arguments)
        services = home.start(wanted, keep=False, in_docker=arguments.docker)
        command = subprocess.Popen(arguments.argv, env={**os.environ, **_environment(services)})
        result = command.wait()
    except _Interrupted as interrupted:
        result = -interrupted.number
    except OSError as error:
        say(f"error: cannot run {arguments.argv[0]}: {error.strerror}")
        result = 127
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        home.release()
    return 128 - result if result < 0 else result


def _wanted(names: list[str], arguments: argparse.Namespace) -> dict[str, tuple[int, bool]]:
    """Return the port of each service, and whether it was asked for."""
    given = {name: getattr(arguments, f"{name}_port") for name in names}
    return {name: (port or _DEFAULT_PORTS[name], port is not None) for name, port in given.items()}


def _settings(services: dict[str, Service]) -> dict[str, str]:
    """Return the settings of Rillet, as variables, that name the services."""
    names = {"kafka": "RILLET_KAFKA__BOOTSTRAP", "redis": "RILLET_REDIS__URL"}
    return {names[name]: _address(name, service) for name, service in services.items()}


def _environment(services: dict[str, Service]) -> dict[str, str]:
    """Return the variables in which tests look for the services."""
    names = {"kafka": "RILLET_TEST_KAFKA", "redis": "RILLET_TEST_REDIS"}
    return {names[name]: _address(name, service) for name, service in services.items()}


def _address(name: str, service: Service) -> str:
    place = f"{HOST}:{service.port}"
    return f"redis://{place}/0" if name == "redis" else place


def _problem(service: Service | None) -> str | None:
    return "not started" if service is None else service.problem()


def _print_json(home: Home, names: list[str]) -> None:
    services = home.services()
    shown = {}
    for name in names:
        service = services.get(name)
        problem = _problem(service)
        shown[name] = {
            "up": problem is None,
            "problem": problem,
            "endpoint": f"{HOST}:{service.port}" if service else None,
            "pid": service.pid if service else None,
            "kept": service.kept if service else None,
            "log": str(home.log(name)),
        }
    found = {name: services[name] for name in names if name in services}
    print(json.dumps({"services": shown, "environment": _environment(found)}, indent=2))


if __name__ == "__main__":
    sys.exit(main())
