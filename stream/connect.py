"""How Redis is reached: one server, the one that Sentinels name, or a cluster; over TLS if told.

Nothing is connected here: a client connects with its first command, so that
whoever waits for a Redis that is not there yet waits in one place,
:class:`stream.store.Store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel

from stream.cluster import Cluster
from stream.errors import StoreError
from stream.exchange import answers_of, packed
from stream.restarts import Restarts
from stream.settings import RedisSettings
from stream.writes import Stamped

__all__ = ["Server", "connect"]

FORMS: Final = (
    "the forms are redis://host:port/db, redis+cluster://host:port,host:port, "
    "redis+sentinel://host:port,host:port/master-name, the same with rediss for TLS, "
    "unix:///path and embedded:DIR; in a user's name or a password write @ : / ? # as %40 %3A "
    "%2F %3F %23, or give them as redis.username and redis.password"
)
SCHEMES: Final = ("redis", "rediss", "unix")
MANY: Final = ("cluster", "sentinel")
PORTS: Final = {"cluster": 6379, "sentinel": 26379}

Host = tuple[str, int]


class Server:
    """One Redis server: by its address, or by its name among Sentinels."""

    keys_at_once: Final = 32
    """Keys that one command may name. With more of them a command costs hardly less a key, and
    others wait for it: it takes about 5 microseconds a key."""

    def __init__(self, client: Any, url: str) -> None:
        self.client, self.url = client, url

    def values(self, keys: Sequence[str]) -> list[Any]:
        """Return the values of the keys, in their order."""
        if not keys:
            return []
        (found,) = self.send([("MGET", *keys)])
        if isinstance(found, Exception):
            raise found
        return list(found)

    def send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one round trip; return their answers, errors among them."""
        if not commands:
            return []
        pool = self.client.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_packed_command(packed(commands))
            return answers_of(self.client, connection, commands)
        except BaseException:
            # Answers that nobody read must not be taken for those of a later command.
            connection.disconnect()
            raise
        finally:
            pool.release(connection)

    def in_turns(self, stamped: Sequence[Stamped]) -> Iterable[Sequence[Stamped]]:
        """Return what has to be waited for before more is sent: nothing, the order is kept."""
        return [stamped]

    def shards(self) -> list[int]:
        """Return what has to be scanned one after the other."""
        return [0]

    def scan(self, _shard: int, at: Any, match: str) -> tuple[Any, list[bytes]]:
        """Return where to go on, None at the end, and the keys found; begin at None."""
        at, keys = self.client.scan(at or 0, match=match, count=1000)
        return at or None, keys

    def tags(self) -> Sequence[str]:
        """Return what spreads copies of a key over all nodes: nothing, there is one."""
        return ()

    def masters(self) -> list[Any]:
        """Return a client for each server that holds data."""
        return [self.client]

    def following(self) -> AbstractContextManager[None]:
        """Return what surrounds commands; a cluster's learns from failures where things are."""
        return nullcontext()

    def close(self) -> None:
        """Disconnect."""
        self.client.close()


@dataclass(frozen=True)
class _Place:
    """What an URL says; ``many`` is ``cluster``, ``sentinel``, or "" for one server."""

    many: str
    hosts: list[Host]
    master: str
    options: dict[str, Any]
    tls: bool

    @property
    def shown(self) -> str:
        """The URL without user, password and options."""
        if "path" in self.options:
            return f"unix://{self.options['path']}"
        scheme = ("rediss" if self.tls else "redis") + (f"+{self.many}" if self.many else "")
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        if self.many == "cluster":
            return f"{scheme}://{hosts}"
        if self.many == "sentinel":
            return f"{scheme}://{hosts}/{self.master}"
        return f"{scheme}://{hosts}/{self.options.get('db', 0)}"


def connect(settings: RedisSettings, url: str, restarts: Restarts) -> Server | Cluster:
    """Return the Redis at an URL, not connected yet.

    Parameters
    ----------
    settings
        User, password and certificates, where the URL does not say them.
    url
        In one of the forms of ``redis.url``, but for ``embedded:``.
    restarts
        Looks who is at the other end of each new connection.

    Raises
    ------
    StoreError
        The URL is malformed, or a certificate's file is not there. No part of
        the URL is repeated: it may hold a password.
    """
    try:
        place = _place(url)
    except ValueError:
        raise StoreError("redis.url is malformed", FORMS) from None
    options = _common(settings) | place.options | _tls(settings, place)
    for name, value in (("username", settings.username), ("password", _open(settings.password))):
        if value and not options.get(name):
            options[name] = value
    _check(options)
    if place.many == "cluster":
        if options.pop("db", 0):
            raise StoreError("redis.url names a database; a cluster has only 0", "leave it out")
        restarts.many = True
        return Cluster(place.hosts, options, place.shown, restarts)
    options["redis_connect_func"] = restarts.greet
    if place.many == "sentinel":
        return Server(_by_sentinels(settings, place, options), place.shown)
    return Server(redis.Redis(**_retried(options)), place.shown)


def _place(url: str) -> _Place:
    scheme, _, rest = url.partition("://")
    base, plus, many = scheme.partition("+")
    if base not in SCHEMES or bool(plus) != (many in MANY) or (base == "unix" and many):
        raise ValueError(scheme)
    if not many:
        options = _parsed(url)
        host = (options.get("host", "localhost"), options.get("port", 6379))
        return _Place("", [host], "", options, base == "rediss")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, tail = rest[:end], rest[end:]
    user, at, listed = authority.rpartition("@")
    master = ""
    if many == "sentinel":
        path, mark, query = tail.removeprefix("/").partition("?")
        master, _, database = path.partition("/")
        master, tail = unquote(master), f"/{database}{mark}{query}"
        if not master:
            raise ValueError("no master")
    hosts = [_host(one, PORTS[many]) for one in listed.split(",")]
    options = _parsed(f"{base}://{user}{at}host{tail}")
    options.pop("host")
    return _Place(many, hosts, master, options, base == "rediss")


def _parsed(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)
    database = urlsplit(url).path.strip("/")
    if database and not database.isdigit() and "path" not in options:
        raise ValueError("no database")  # parse_url would take 0 instead
    options.pop("connection_class", None)
    if "path" in options:
        options["unix_socket_path"] = options["path"]
    return options


def _host(text: str, port: int) -> Host:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query:
        raise ValueError(text)
    return parts.hostname, parts.port or port


def _common(settings: RedisSettings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        # Nothing is said at connecting that a role of least privilege may not say.
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def _tls(settings: RedisSettings, place: _Place) -> dict[str, Any]:
    files = {"ssl_ca": "ssl_ca_certs", "ssl_cert": "ssl_certfile", "ssl_key": "ssl_keyfile"}
    given = {name: getattr(settings, name) for name in files if getattr(settings, name)}
    if not place.tls:
        if given and "path" not in place.options:
            names = ", ".join(f"redis.{name}" for name in given)
            mend = "write rediss in redis.url, or leave them out"
            raise StoreError(f"{names} set, but redis.url asks for no TLS", mend)
        return {}
    for name, file in given.items():
        if not Path(file).is_file():
            raise StoreError(f"redis.{name}: there is no file {file}", "check the path")
    return {
        "ssl": True,
        "ssl_check_hostname": settings.ssl_check_hostname,
        # Never None: OpenSSL would ask at the terminal.
        "ssl_password": _open(settings.ssl_key_password),
        **{files[name]: file for name, file in given.items()},
    }


def _open(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _retried(options: dict[str, Any]) -> dict[str, Any]:
    # Waiting is the store's, which lets the loop stay in its group meanwhile.
    named = {name: value for name, value in options.items() if name != "path"}
    return {"retry": Retry(NoBackoff(), 0), "health_check_interval": 0} | named


def _check(options: dict[str, Any]) -> None:
    """Tell of an option of the URL that is not known now, not when it connects."""
    try:
        redis.Redis(**_retried(options)).connection_pool.make_connection()
    except TypeError:
        raise StoreError("redis.url has an option that is not known", FORMS) from None


def _by_sentinels(settings: RedisSettings, place: _Place, options: dict[str, Any]) -> Any:
    asked = {
        name: value
        for name, value in _retried(options).items()
        if name not in ("username", "password", "db", "redis_connect_func")
    }
    asked["username"] = settings.sentinel_username
    asked["password"] = _open(settings.sentinel_password) or None
    sentinels = Sentinel(place.hosts, sentinel_kwargs=asked, **_retried(options))
    return sentinels.master_for(place.master)
