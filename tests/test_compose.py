"""docker-compose.yml and Dockerfile, as far as they can be judged without a Docker engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from stream.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: one for name, one in SERVICES.items() if "build" in one}
CONSUMERS = {name: one for name, one in OURS.items() if one["command"][0] == "consume"}


def instructions(word: str) -> list[str]:
    text = (ROOT / "Dockerfile").read_text()
    return re.findall(rf"^{word} (.+)$", text, re.MULTILINE)


def test_it_is_a_compose_file() -> None:
    # The parser knows the compose specification, but not merge keys and interpolation.
    merged = yaml.safe_load(re.sub(r"\$\{\w+:-(\w+)\}", r"\1", COMPOSE))
    parsed = PyCompose.from_yaml(yaml.safe_dump(merged))
    assert set(parsed.to_dict()["services"]) == set(SERVICES)


def test_the_parser_refuses_what_compose_would() -> None:
    with pytest.raises(ValueError, match="imag"):
        PyCompose.from_yaml("services: {kafka: {imag: x}}")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+(-\w+)?", SERVICES[name]["image"])


@pytest.mark.parametrize("image", instructions("FROM"))
def test_base_images_are_pinned(image: str) -> None:
    assert re.match(r"\w+:\d+\.\d+\.\d+-", image)


@pytest.mark.parametrize("name", SERVICES)
def test_what_keeps_running_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    once = service["restart"] == "no"
    assert service["healthcheck"] == {"disable": True} if once else service["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_it_waits_for_services_in_a_state_they_can_reach(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        once = SERVICES[needed]["restart"] == "no"
        reachable = "service_completed_successfully" if once else "service_healthy"
        assert how["condition"] == reachable


@pytest.mark.parametrize("name", SERVICES)
def test_named_volumes_exist(name: str) -> None:
    volumes = {volume.split(":")[0] for volume in SERVICES[name].get("volumes", [])}
    assert volumes <= set(yaml.safe_load(COMPOSE)["volumes"])


def test_each_consumer_has_a_service() -> None:
    assert {"catalogue", "personalize", "neighbours"} <= set(CONSUMERS)
    for name, service in CONSUMERS.items():
        assert service["command"] == ["consume", name]


@pytest.mark.parametrize("name", CONSUMERS)
def test_consumers_reach_the_servers_of_this_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in CONSUMERS[name]["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    inside = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"].split("INSIDE://")[1]
    assert settings.kafka.bootstrap == inside
    assert settings.redis.url.get_secret_value() == "redis://redis:6379/0"


def rillet_commands() -> set[tuple[str, ...]]:
    """Return the commands that the containers of our image run."""
    commands = {tuple(service["command"]) for service in OURS.values()}
    checks = {tuple(service["healthcheck"].get("test", ())) for service in OURS.values()}
    return commands | {check[2:] for check in checks if check}


@pytest.mark.parametrize("command", sorted(rillet_commands()))
def test_commands_are_ones_that_rillet_has(command: tuple[str, ...]) -> None:
    enter = "from rillet.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", enter, *command, "--help"],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def copied() -> list[str]:
    """Return what the Dockerfile takes from the repository."""
    copies = [copy.split() for copy in instructions("COPY")]
    return [source for copy in copies if "--from=build" not in copy for source in copy[:-1]]


@pytest.mark.parametrize("path", copied())
def test_the_build_finds_and_is_given_what_it_copies(path: str) -> None:
    assert (ROOT / path).exists()
    assert f"!{path}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_image_runs_rillet_as_nobody_special() -> None:
    assert instructions("USER") == ["rillet"]
    assert instructions("ENTRYPOINT") == ['["rillet"]']
