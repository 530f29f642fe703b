"""The commands about trained models, run as a user runs them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from models.manifest import WEIGHTS, Manifest, Span
from models.registry import Registry
from stream.announcement import announced
from stream.clock import HandClock
from stream.folder import Folder
from stream.settings import load_settings
from stream.store import Store

NOWHERE = "redis://127.0.0.1:1/0"


class Shop(NamedTuple):
    """A registry with three sequence models and an encoder, none promoted."""

    folder: Path
    versions: list[str]
    encoder: str

    @property
    def where(self) -> tuple[str, str]:
        return "--registry", str(self.folder)

    @property
    def registry(self) -> Registry:
        return Registry(str(self.folder))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    clock = HandClock(1_795_545_000_000)
    registry, versions = Registry(Folder(str(tmp_path / "models"), clock)), []
    for seed in range(3):
        clock.advance_to(clock.now_ms() + 60_000)
        manifest = Manifest(
            "sequence",
            config={"dim": 64, "block": "[hstu]"},
            data=Span(0, 86_400_000, 1234, 56, 78),
            offsets={"rillet.events:0": 1234},
            metrics={"all": {"ndcg@10": 0.1 + seed / 100}},
            seed=seed,
            notes=["all: better"],
        )
        versions.append(registry.add({"w": np.ones(9)}, manifest))
    clock.advance_to(clock.now_ms() + 60_000)
    encoder = registry.add({"w": np.ones(3)}, Manifest("encoder"))
    return Shop(tmp_path / "models", versions, encoder)


@pytest.fixture
def redis() -> Iterator[str]:
    # A socket's path must be short, which pytest's folders are not everywhere.
    home = tempfile.mkdtemp(prefix="rillet-")
    yield f"embedded:{home}"
    shutil.rmtree(home)


def test_versions_are_listed_with_what_they_are(shop: Shop, command: Any) -> None:
    shop.registry.promote(shop.versions[0])
    shop.registry.promote(shop.versions[1])
    shop.registry.mark(shop.versions[2], "refused", ["all: worse"])
    done = command("models", "list", *shop.where)
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:3] for line in done.stdout.splitlines()[1:]]
    assert rows == [
        [shop.versions[0], "sequence", "before"],
        [shop.versions[1], "sequence", "current"],
        [shop.versions[2], "sequence", "refused"],
        [shop.encoder, "encoder", "candidate"],
    ]
    assert "0.1100" in done.stdout
    assert "\x1b[" not in done.stdout


def test_the_list_as_json_is_for_scripts(shop: Shop, command: Any) -> None:
    done = command("models", "list", "--kind", "sequence", "--json", *shop.where)
    found = json.loads(done.stdout)
    assert [one["version"] for one in found] == shop.versions
    assert found[0]["metrics"] == {"all": {"ndcg@10": 0.1}}
    assert found[0]["data"]["events"] == 1234


def test_an_empty_registry_says_so(tmp_path: Path, command: Any) -> None:
    done = command("models", "list", "--registry", str(tmp_path / "none"))
    assert done.returncode == 0
    assert "there is no model at" in done.stdout
    assert command("models", "list", "--registry", str(tmp_path), "--json").stdout == "[]\n"


def test_the_registry_is_a_setting(shop: Shop, command: Any) -> None:
    done = command("models", "list", "--json", RILLET_TRAINING__REGISTRY=str(shop.folder))
    assert len(json.loads(done.stdout)) == 4


def test_a_model_is_shown_and_verified(shop: Shop, command: Any) -> None:
    version = shop.versions[1]
    done = command("models", "show", version, *shop.where)
    assert done.returncode == 0, done.stderr
    for words in ("all files are intact", "1,234 events", "[hstu]", "all.ndcg@10  0.1100"):
        assert words in done.stdout
    found = json.loads(command("models", "show", version, "--json", *shop.where).stdout)
    assert found["seed"] == 1
    assert (found["status"], found["problem"]) == ("candidate", "")


def test_a_damaged_model_is_a_problem_found(shop: Shop, command: Any) -> None:
    weights = shop.folder / shop.versions[0] / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    done = command("models", "show", shop.versions[0], *shop.where)
    assert done.returncode == 1
    assert "has another SHA-256 than it had" in done.stdout
    refused = command("models", "promote", shop.versions[0], "--redis", NOWHERE, *shop.where)
    assert refused.returncode == 2
    assert "is damaged" in refused.stderr
    assert f"`rillet models list --registry {shop.registry.url}`" in refused.stderr
    assert shop.registry.current("sequence") is None


def test_a_damaged_manifest_is_listed_with_its_problem(shop: Shop, command: Any) -> None:
    (shop.folder / shop.versions[0] / "manifest.json").write_text("{}")
    done = command("models", "list", *shop.where)
    assert done.returncode == 0
    assert "damaged" in done.stdout
    assert "it is no manifest" in done.stdout
    found = json.loads(command("models", "list", "--json", *shop.where).stdout)
    assert found[0]["status"] == "damaged"


def test_a_promotion_is_announced_to_the_consumers(shop: Shop, redis: str, command: Any) -> None:
    done = command(
        *("models", "promote", shop.versions[0], "--reason", "why not"),
        *("--redis", redis, *shop.where),
    )
    assert done.returncode == 0, done.stderr
    assert f"{shop.versions[0]} is the current sequence model" in done.stdout
    assert "announced at" in done.stderr
    command("models", "promote", shop.versions[1], "--redis", redis, *shop.where)
    back = command("models", "rollback", "--json", "--redis", redis, *shop.where)
    found = json.loads(back.stdout)
    assert (found["version"], found["announced"]) == (shop.versions[0], True)
    store = Store(load_settings(redis={"url": redis}).redis)
    try:
        news = announced(store, "sequence")
    finally:
        store.close()
    assert news is not None
    assert (news.version, news.registry) == (shop.versions[0], f"file://{shop.folder}")
    pointer = shop.registry.current("sequence")
    assert pointer is not None
    assert pointer.current.at == news.at


@pytest.mark.parametrize("url", [NOWHERE, "embedded:"])
def test_without_redis_it_is_done_and_said_how_to_tell_them(
    shop: Shop, url: str, command: Any
) -> None:
    done = command("models", "promote", shop.versions[0], "--redis", url, *shop.where)
    assert done.returncode == 0
    assert "is the current sequence model" in done.stdout
    assert "not announced" in done.stderr
    assert f"rillet models promote {shop.versions[0]}" in done.stderr
    pointer = shop.registry.current("sequence")
    assert pointer is not None
    assert pointer.current.version == shop.versions[0]


def test_a_rollback_without_a_model_before_is_a_clear_error(shop: Shop, command: Any) -> None:
    done = command("models", "rollback", "--kind", "encoder", *shop.where)
    assert done.returncode == 2
    assert "there is no encoder model to go back to" in done.stderr
    wrong = command("models", "rollback", "--kind", "tree", *shop.where)
    assert wrong.returncode == 2
    assert "sequence, encoder" in wrong.stderr


def test_prune_says_what_it_removed(shop: Shop, command: Any) -> None:
    done = command("models", "prune", "--keep", "1", *shop.where)
    assert done.returncode == 0, done.stderr
    assert f"removed {shop.versions[0]}" in done.stdout
    assert "2 removed, 2 left" in done.stdout
    again = json.loads(command("models", "prune", "--json", *shop.where).stdout)
    assert again["removed"] == []
    assert command("models", "prune", "--keep", "0", *shop.where).returncode == 2


@pytest.mark.parametrize("name", ["list", "show", "promote", "rollback", "prune"])
def test_every_command_teaches_by_example(name: str, command: Any) -> None:
    done = command("models", name, "--help")
    assert done.returncode == 0
    assert f"rillet models {name}" in done.stdout
    assert "Examples" in done.stdout


def test_the_group_lists_its_commands_and_a_version_must_exist(command: Any, shop: Shop) -> None:
    assert "rollback" in command("models", "--help").stdout
    done = command("models", "show", "../models", *shop.where)
    assert done.returncode == 2
    assert "has no model '../models'" in done.stderr
    assert "Traceback" not in done.stderr
