"""Settings of the Redis that is read and written: where it is, and how one is let in."""

from __future__ import annotations

from pydantic import Field as Setting
from pydantic import SecretStr

from stream.setting_group import Group

__all__ = ["RedisSettings"]


class RedisSettings(Group):
    """Where Redis is, what keys begin with, and how long they live."""

    url: SecretStr = Setting(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, redis+cluster://H:P,H:P, redis+sentinel://H:P,H:P/MASTER, with "
        "rediss for TLS, or unix://; `embedded:DIR` starts one in DIR",
    )
    username: str | None = Setting(None, description="the ACL user, where the URL names none")
    password: SecretStr | None = Setting(None, description="where the URL has none")
    sentinel_username: str | None = Setting(None, description="the Sentinels' own user")
    sentinel_password: SecretStr | None = Setting(None, description="the Sentinels' own password")
    ssl_ca: str | None = Setting(
        None, description="file of the CA that signed the server's certificate; else the system's"
    )
    ssl_cert: str | None = Setting(None, description="file of the client's certificate (PEM)")
    ssl_key: str | None = Setting(None, description="file of its private key (PEM)")
    ssl_key_password: SecretStr | None = Setting(None, description="where the key is encrypted")
    ssl_check_hostname: bool = Setting(
        True, description="whether the certificate must name the host that is connected to"
    )
    prefix: str = Setting("rillet", min_length=1, description="first part of every key")
    ttl_days: float = Setting(90, gt=0, description="life of user and item keys after a write")
    timeout_s: float = Setting(5, gt=0, description="socket timeout of one command")
    retry_s: float = Setting(
        300, gt=0, description="how long a consumer waits for a Redis that went away"
    )
    changes: int = Setting(100_000, ge=1, description="entries kept in the feed of changed items")
