"""The engine on a Redis Cluster, and what becomes of it when nodes die and slots move."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from rillet.acl import acl_lines, new_passwords
from stream.checkpoint import Checkpoint, start_position
from stream.memory import MemoryBroker
from stream.records import Outgoing, TopicPartition
from stream.settings import RedisSettings
from stream.store import Store
from stream.writes import Plain, Refused, Stamped, Writes, stamp_head
from tests.integration.live import Rillet, Start, eventually, verify, worked_off
from tests.integration.redis_servers import RedisServer, address_of, cluster_of, until
from tests.integration.test_live import shop

LIFE_MS = 600_000


@pytest.mark.timeout(240)
def test_the_live_engine_on_a_cluster_each_by_his_role_ends_in_the_bytes_of_a_replay(
    rillet: Rillet,
    start: Start,
    variables: dict[str, str],
    cluster: list[RedisServer],
    unique: str,
    tmp_path: Path,
) -> None:
    passwords = new_passwords()
    users = [line.split()[1:] for line in acl_lines(unique, passwords).splitlines()[1:]]
    for server in cluster:
        for words in users:
            server.client().execute_command("ACL SETUSER", *words)
    variables["RILLET_REDIS__URL"] = address_of(cluster[:1])

    def become(role: str) -> None:
        variables["RILLET_REDIS__USERNAME"] = role
        variables["RILLET_REDIS__PASSWORD"] = passwords[role]

    become("rillet-consumer")
    log = shop(tmp_path / "log.jsonl")
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    assert rillet("publish", str(log)).returncode == 0
    become("rillet-operator")
    eventually(lambda: worked_off(rillet), up.said)
    found = verify(rillet, log)
    assert [one for one in found.values() if one["wrong"]] == []
    assert found["session"]["equal"] == 12
    checked = rillet("doctor", "--only", "redis,catalogue,consumers")
    assert "0 failures" in checked.stdout, checked.stdout
    assert "3 masters" in checked.stdout
    become("rillet-reader")
    read = rillet("recommend", "u3", "--json")
    assert json.loads(read.stdout)["items"], read.stderr
    assert up.end() == 0, up.said()
    assert not any(password in up.said() for password in passwords.values())
    for server in cluster:
        assert server.client().dbsize() > 20
        assert server.client().acl_log() == []


def stamped(key: str, offset: int) -> Stamped:
    return Stamped(key, stamp_head(0, offset) + b"}}", 0, offset, LIFE_MS)


def test_a_node_that_lost_its_last_writes_is_made_good_from_its_own_position(
    cluster: list[RedisServer], unique: str
) -> None:
    store = Store(RedisSettings(url=address_of(cluster), prefix=unique))
    broker, place = MemoryBroker({"events": 1}), TopicPartition("events", 0)
    for n in range(10):
        broker.sink().send(Outgoing("events", b"%d" % n))
    source = broker.source("group", ["events"])
    source.poll(1, 0)
    checkpoint = Checkpoint(source, broker.sink(), store)
    checkpoint.commit(Writes(), {place: 4})
    nodes = [server.client() for server in cluster]
    held = [{key: node.get(key) for key in node.keys(f"{unique}:*")} for node in nodes]
    checkpoint.commit(Writes(), {place: 8})
    assert start_position(source, store, place) == 8
    for before, node in zip(held, nodes, strict=True):
        assert len(before) >= 10
        for key, value in before.items():
            node.set(key, value)
        assert start_position(source, store, place) == 4
        for key in before:
            node.set(key, "8")
        assert start_position(source, store, place) == 8
        for key in before:
            node.delete(key)
        assert start_position(source, store, place) == 0
        for key in before:
            node.set(key, "8")
    store.close()


class Writer(threading.Thread):
    """Writes states with ever higher stamps until it is told to stop; keeps what went wrong."""

    def __init__(self, store: Store, keys: list[str]) -> None:
        super().__init__(daemon=True)
        self.store, self.keys, self.rounds = store, keys, 0
        self.wrong: list[Any] = []
        self.done = threading.Event()

    def run(self) -> None:
        try:
            while not self.done.is_set():
                self.rounds += 1
                self.wrong += self.store.write_stamped([stamped(k, self.rounds) for k in self.keys])
                values = self.store.get_many(self.keys)
                expected = stamped("", self.rounds).value
                self.wrong += [value for value in values if value != expected]
        except Exception as error:
            self.wrong.append(error)

    def further(self) -> None:
        """Wait until it has written all keys anew."""
        at = self.rounds + 1
        until(lambda: self.rounds > at or self.wrong, "nothing is written any more")

    def end(self) -> list[Any]:
        self.done.set()
        self.join(60)
        assert not self.is_alive()
        return self.wrong


def move(slot: int, source: RedisServer, target: RedisServer) -> Iterator[str]:
    """Move a slot; stops amid it, with some of its keys moved and some not."""
    old, new = source.client(), target.client()
    ids = [client.execute_command("CLUSTER MYID") for client in (old, new)]
    new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
    old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
    keys = old.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
    assert len(keys) > 1
    old.execute_command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000)
    yield "amid"
    for key in keys[1:]:
        old.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    for client in (new, old):
        client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
    yield "after"


def test_slots_that_move_meanwhile_are_followed(cluster: list[RedisServer], unique: str) -> None:
    store = Store(RedisSettings(url=address_of(cluster), prefix=unique, retry_s=30))
    tagged = [store.keys.session(f"{{moves}}{n}") for n in range(20)]
    others = [store.keys.session(f"u{n}") for n in range(200)]
    slot = key_slot(tagged[0].encode())
    at = next(n for n in range(3) if slot < (n + 1) * 16384 // 3)
    writer = Writer(store, tagged + others)
    writer.start()
    writer.further()
    for _ in move(slot, cluster[at], cluster[(at + 1) % 3]):
        writer.further()
        named = {name for name, _ in store.scan("session")}
        assert len(named) == 220
    assert writer.end() == []
    late = store.write_stamped([stamped(key, 0) for key in tagged])
    assert late == [Refused(key, 0, writer.rounds) for key in tagged]
    store.write_plain([Plain(key, None) for key in tagged + others])
    assert dict(store.scan("session")) == {}
    store.close()


def test_a_master_that_dies_is_waited_for_until_its_replica_has_taken_over(tmp_path: Path) -> None:
    servers = cluster_of(tmp_path / "cluster", 3, 1)
    store = Store(RedisSettings(url=address_of(servers[1:2]), retry_s=60))
    waited: list[float] = []
    rest = store.wait

    def wait(delay: float) -> None:
        waited.append(delay)
        rest(delay)

    store.wait = wait
    try:
        writer = Writer(store, [store.keys.session(f"u{n}") for n in range(300)])
        writer.start()
        writer.further()
        replica = servers[3].client()
        until(lambda: replica.info("replication")["master_link_status"] == "up", "no replica")
        servers[0].end()
        until(lambda: replica.info("replication")["role"] == "master", "the replica stays one")
        writer.further()
        # Only what the dead master took and had not passed on yet may be found missing.
        assert [one for one in writer.end() if isinstance(one, Exception)] == []
        assert waited
        assert store.health().servers == 3
        assert len({name for name, _ in store.scan("session")}) == 300
    finally:
        store.close()
        for server in servers:
            server.end()
