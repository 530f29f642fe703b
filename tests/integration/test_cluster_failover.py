"""A failover in a cluster whose new master lacks the last writes: consumers make them good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream.loop import Loop
from stream.memory import MemoryBroker
from stream.records import Outgoing, Record
from stream.settings import BatchSettings, RedisSettings
from stream.store import Store
from stream.writes import Writes
from tests.integration.redis_servers import RedisServer, cluster_of, until
from tests.stream.tally import Tally, contents

BATCH = BatchSettings(max_records=50)
Trouble = Callable[[list[RedisServer]], None]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Three masters, and a replica of the first."""
    found = cluster_of(tmp_path / "cluster", 3, 1)
    found[3].client().config_set("cluster-replica-validity-factor", 0)
    yield found
    for server in found:
        server.end()


def leave_behind(servers: list[RedisServer]) -> None:
    """Let the first master's writes go to its replica no more."""
    master, replica = servers[0].client(), servers[3].client()
    until(lambda: replica.info("replication")["master_link_status"] == "up", "no replica")
    until(lambda: master.execute_command("WAIT", 1, 1000) == 1, "the replica lags")
    master.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
    master.execute_command("CLIENT", "KILL", "TYPE", "replica")


def kill(servers: list[RedisServer]) -> None:
    servers[0].end()


def take_over(servers: list[RedisServer]) -> None:
    """Have the replica take over from a master that lives, and sends everybody there."""
    servers[3].client().execute_command("CLUSTER", "FAILOVER", "TAKEOVER")
    old = servers[0].client()
    until(lambda: old.info("replication")["role"] == "slave", "the old master stays one")


class Troubled(Tally):
    """A tally to whose Redis something happens when a batch is about to be written."""

    def __init__(self, store: Store, happens: Mapping[int, Callable[[], None]]) -> None:
        super().__init__(store, ["events"])
        self._happens = dict(happens)

    def handle(self, records: Sequence[Record]) -> Writes:
        writes = super().handle(records)
        self._happens.get(len(self.batches), lambda: None)()
        return writes


def tallied(
    store: Store, happens: Mapping[int, Callable[[], None]]
) -> tuple[int, dict[str, bytes]]:
    """Count ten batches, of whose users each is in two; return how often Redis was another."""
    broker = MemoryBroker({"events": 1})
    for n in range(500):
        broker.sink().send(Outgoing("events", b"%d" % n, b"u%d" % (n // 100 * 50 + n % 50)))
    tally = Troubled(store, happens)
    loop = Loop(tally, broker.source("group", ["events"]), broker.sink(), store, BATCH)
    hook, told = store.restarts.hook, 0

    def noted() -> None:
        nonlocal told
        told += 1
        hook()

    store.restarts.hook = noted
    while broker.waiting("group"):
        loop.step(wait_ms=0)
    return told, contents(store, "session")


@pytest.mark.parametrize("trouble", [kill, take_over])
def test_what_the_new_master_lacks_is_read_again(
    servers: list[RedisServer], trouble: Trouble, unique: str
) -> None:
    undisturbed = Store(RedisSettings(url=SecretStr("embedded:")))
    expected = tallied(undisturbed, {})
    undisturbed.close()
    url = SecretStr(f"redis+cluster://127.0.0.1:{servers[1].port}")
    store = Store(RedisSettings(url=url, prefix=unique, retry_s=60))
    happens = {4: partial(leave_behind, servers), 6: partial(trouble, servers)}
    told, found = tallied(store, happens)
    assert (0, found) == expected
    assert told > 0
    assert len(found) == 250
    store.close()


def test_masters_that_stay_are_told_of_to_nobody(servers: list[RedisServer], unique: str) -> None:
    url = SecretStr(f"redis+cluster://127.0.0.1:{servers[3].port}")
    store = Store(RedisSettings(url=url, prefix=unique, retry_s=60))

    def cut_off() -> None:
        for server in servers:
            server.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    assert tallied(store, {3: cut_off, 5: partial(leave_behind, servers), 7: cut_off})[0] == 0
    store.close()
