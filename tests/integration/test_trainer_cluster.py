"""Training and promoting as a user of least privilege, on a Redis Cluster, by commands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from features.text import load_encoder
from models.manifest import WEIGHTS
from models.registry import Registry
from stream.announcement import announced
from stream.errors import StoreError
from stream.settings import Settings
from stream.store import Store
from tests.consumers.trained import small, stock, visits
from tests.faults.stage import variables_of
from tests.integration.live import Rillet
from tests.integration.redis_servers import RedisServer, cluster_of
from tests.stream.archives import fill, rows_of

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "redis" / "users.acl"
PASSWORD = "only for this test"  # noqa: S105 - of servers that end with it


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Three masters with the users of the file that is shipped."""
    servers = cluster_of(tmp_path / "cluster", 3, 0)
    lines = [line.split()[1:] for line in SHIPPED.read_text("utf-8").splitlines()[1:]]
    for server in servers:
        for name, *rights in lines:
            server.client().execute_command("ACL", "SETUSER", name, f">{PASSWORD}", *rights)
    yield servers
    for server in servers:
        server.end()


def kinds_in(servers: Sequence[RedisServer]) -> set[str]:
    return {key.split(":")[2] for server in servers for key in server.client().keys("rillet:*")}


@pytest.mark.timeout(240)
def test_the_trainer_trains_and_promotes_on_a_cluster_and_is_refused_nothing(
    cluster: list[RedisServer], rillet: Rillet, variables: dict[str, str], tmp_path: Path
) -> None:
    def groups(role: str) -> dict[str, Any]:
        url = f"redis+cluster://127.0.0.1:{cluster[0].port}"
        return small(tmp_path, redis={"url": url, "username": role, "password": PASSWORD})

    filling = Settings.model_validate(groups("rillet-consumer"))
    store = Store(filling.redis, retry_s=5)
    stock(filling, store, load_encoder(filling.encoder), tmp_path / "items.jsonl")
    fill(filling.archive.url, rows_of(visits()))
    variables.clear()
    variables.update(variables_of(groups("rillet-trainer")))

    trained = rillet("train", "--epochs", "1", "--json")
    assert trained.returncode == 0, trained.stderr
    version = json.loads(trained.stdout)["version"]
    found = announced(store, "sequence")
    assert found is not None and found.version == version

    registry = Registry(filling.training.registry)
    files, manifest = registry.load_files(version)
    arrays, _ = registry.load(version)
    rest = {name: raw for name, raw in files.items() if name != WEIGHTS}
    other = registry.add(arrays, manifest, rest)
    promoted = rillet("models", "promote", other, "--json")
    assert promoted.returncode == 0, promoted.stderr
    found = announced(store, "sequence")
    assert found is not None and found.version == other

    assert kinds_in(cluster) == {"item", "vector", "changes", "model"}  # the lease is given up
    assert [server.client().acl_log() for server in cluster] == [[], [], []]
    trainer = Store(Settings.model_validate(groups("rillet-trainer")).redis, retry_s=0)
    with pytest.raises(StoreError, match="permission"):
        trainer.get(trainer.keys.session("user1"))
    for one in (store, trainer):
        one.close()
