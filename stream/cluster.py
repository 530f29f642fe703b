"""A Redis Cluster: commands go to the node that holds their key, many at once to all nodes.

redis-py knows the cluster (its nodes, who holds which slot, redirections).
Its pipelines are not used: where a node hangs they try every command of it
again by itself, each for a whole timeout, and nobody can stop that. Here a
failure ends the batch at once, and the store waits as it does for one server.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count, groupby
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster, get_node_name
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, MovedError, RedisClusterException, TryAgainError
from redis.retry import Retry

from stream.exchange import answers_of, packed
from stream.faults import reach
from stream.restarts import Restarts
from stream.writes import Stamped

__all__ = ["Cluster"]

log = logging.getLogger(__name__)

KEY_AT: Final = {"EVAL": 3, "EVALSHA": 3}
"""Where a command's key stands; second in all others."""

TAGS: Final = 32
"""Places over all slots of which one lies on each node: of up to so many of equal size."""

_REFUSALS: Final = (redis.AuthenticationError, redis.exceptions.NoPermissionError)


class Cluster:
    """The masters of a cluster, found with the first command.

    Parameters
    ----------
    hosts
        Nodes that are asked for all others; one that answers is enough.
    options
        Of redis-py's connections.
    url
        What to call it in messages.
    restarts
        Told who the masters are, and looks at each new connection.
    """

    keys_at_once: Final = 1
    """Keys that one command may name: others may lie on other nodes."""

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        options: dict[str, Any],
        url: str,
        restarts: Restarts,
    ) -> None:
        self.url, self._restarts = url, restarts
        self._hosts, self._options = hosts, options
        self._client: Any = None
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """redis-py's client; made, and the cluster asked for its nodes, where there is none."""
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._client = self._made()
        return self._client

    def _made(self) -> RedisCluster:
        nodes = [ClusterNode(host, port) for host, port in self._hosts]
        # One try more: with it a node that is gone makes it ask where the slots are now.
        options = self._options | {"redis_connect_func": self._restarts.look}
        return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 1), **options)

    def values(self, keys: Sequence[str]) -> list[Any]:
        """Return the values of the keys, in their order; MGET may not cross slots."""
        answers = self.send([("GET", key) for key in keys])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send each command to its node; return the answers in order, errors among them.

        All nodes are written to before any is read, so that they work at the same time.
        """
        client = self.client
        owner, shares = client.nodes_manager.get_node_from_slot, dict[Any, list[int]]()
        for at, command in enumerate(commands):
            key = command[KEY_AT.get(command[0], 1)]
            raw = key if isinstance(key, bytes) else key.encode()
            shares.setdefault(owner(key_slot(raw)), []).append(at)
        self._restarts.served_by(frozenset(node.name for node in client.get_primaries()))
        answers: list[Any] = [None] * len(commands)
        self._exchange(shares, commands, answers)
        for at, answer in enumerate(answers):
            if isinstance(answer, MovedError):
                self._restarts.sent_to(get_node_name(answer.host, answer.port))
            if isinstance(answer, AskError | TryAgainError):  # MOVED is an AskError too
                answers[at] = self._redirected(commands[at])
        return answers

    def in_turns(self, stamped: Sequence[Stamped]) -> Iterator[Sequence[Stamped]]:
        """Yield what may be sent together, turn after turn: nodes work at the same time."""
        ordered = sorted(stamped, key=lambda one: one.turn)
        turns = [list(group) for _, group in groupby(ordered, lambda one: one.turn)]
        yield from turns[:-1]
        if len(turns) > 1:
            reach("turn")
        yield from turns[-1:]

    def _exchange(
        self,
        shares: dict[Any, list[int]],
        commands: Sequence[tuple[Any, ...]],
        answers: list[Any],
    ) -> None:
        opened: list[tuple[Any, Any, list[int]]] = []
        try:
            for node, places in shares.items():
                one = self.client.get_redis_connection(node)
                opened.append((one, one.connection_pool.get_connection(), places))
            for _, connection, places in opened:
                connection.send_packed_command(packed([commands[at] for at in places]))
            for one, connection, places in opened:
                said = answers_of(one, connection, [commands[at] for at in places])
                for at, answer in zip(places, said, strict=True):
                    answers[at] = answer
        except BaseException:
            # Answers that nobody read must not be taken for those of a later command.
            for _, connection, _ in opened:
                connection.disconnect()
            raise
        finally:
            for one, connection, _ in opened:
                one.connection_pool.release(connection)

    def _redirected(self, command: tuple[Any, ...]) -> Any:
        """Do it by itself: redis-py follows the slot, and remembers where it went."""
        try:
            return self.client.execute_command(*command)
        except redis.ResponseError as error:
            return error

    def shards(self) -> list[int]:
        """Return a slot of each master: whoever holds it later is scanned for it."""
        slots: dict[str, int] = {}
        for slot, nodes in self.client.nodes_manager.slots_cache.items():
            slots.setdefault(nodes[0].name, slot)
        return sorted(slots.values())

    def scan(self, shard: int, at: Any, match: str) -> tuple[Any, list[bytes]]:
        """Return where to go on, None at the end, and the keys found; begin at None.

        Where another node has taken the shard over it is scanned from its
        beginning: a cursor means nothing to another server.
        """
        node = self.client.nodes_manager.get_node_from_slot(shard)
        cursor = at[1] if at is not None and at[0] == node.name else 0
        cursor, keys = self.client.get_redis_connection(node).scan(cursor, match=match, count=1000)
        return (node.name, cursor) if cursor else None, keys

    def tags(self) -> Sequence[str]:
        """Return tags of which some lie on every node, also after slots have moved."""
        return _spread_tags()

    def masters(self) -> list[Any]:
        """Return a client for each server that holds data."""
        return [self.client.get_redis_connection(node) for node in self.client.get_primaries()]

    @contextmanager
    def following(self) -> Iterator[None]:
        """Surround commands: after a failure ask anew who holds what, and say what it was."""
        try:
            yield
        except RedisClusterException as error:
            raise _as_one_server_would(error) from error
        except redis.AuthenticationError:
            raise
        except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ClusterError):
            self._ask_anew()
            raise

    def _ask_anew(self) -> None:
        if self._client is None:
            return
        try:
            self._client.nodes_manager.initialize()
        except (RedisClusterException, redis.RedisError) as error:
            log.debug("the cluster does not say who holds what: %s", error)

    def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            self._client.close()


@cache
def _spread_tags() -> tuple[str, ...]:
    """Return the first number for each of the slots, at equal distances."""
    step, found = REDIS_CLUSTER_HASH_SLOTS // TAGS, dict[int, str]()
    for number in count():
        slot = key_slot(b"%d" % number)
        if slot % step == 0:
            found.setdefault(slot, str(number))
            if len(found) == TAGS:
                break
    return tuple(found[slot] for slot in sorted(found))


def _as_one_server_would(error: RedisClusterException) -> redis.RedisError:
    """Return the error that a single server would have given for what redis-py found."""
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, _REFUSALS):
            return reason
        reason = reason.__cause__ or reason.__context__
    if "Cluster mode is not enabled" in str(error):
        return redis.ResponseError("this is no cluster; write redis:// in redis.url")
    return redis.ConnectionError(str(error))
