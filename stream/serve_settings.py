"""Settings of the HTTP service: where it listens, whom it lets in, how long it waits."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field as Setting
from pydantic import field_validator

from stream.setting_group import Group

__all__ = ["SCOPES", "ServeSettings"]

SCOPES: Final = ("read", "write", "admin")
"""What a key may allow: reading lists, publishing events, having users forgotten."""

_SCOPE: Final = f"({'|'.join(SCOPES)})"
_KEY: Final = re.compile(rf"{_SCOPE}(\+{_SCOPE})*:[0-9a-f]{{64}}")


class ServeSettings(Group):
    """The HTTP service `rillet serve`: where it listens, whom it lets in, how long it waits."""

    host: str = Setting(
        "127.0.0.1", min_length=1, description="address to listen on; not loopback: set `keys`"
    )
    port: int = Setting(8080, ge=0, le=65535, description="0 = any that is free")
    keys: tuple[str, ...] = Setting(
        (),
        description="who is let in: SCOPES:SHA256, as `rillet serve --new-key` prints it; empty ="
        " everybody on this machine",
    )
    hosts: tuple[str, ...] = Setting(
        (), description="names by which browsers may call it; empty = any, without `keys` localhost"
    )
    cors_origins: tuple[str, ...] = Setting(
        (), description="sites whose pages may call it, such as https://shop.example; empty = none"
    )
    proxies: tuple[str, ...] = Setting(
        (), description="addresses of proxies whose X-Forwarded-For is believed; empty = none"
    )
    requests_per_minute: int = Setting(
        60_000, ge=0, description="of one key, or without a key of one address; 0 = no limit"
    )
    max_body_bytes: int = Setting(1_048_576, ge=1024, description="longer requests are refused")
    max_connections: int = Setting(1000, ge=1, description="clients at a time; others get a 503")
    client_s: float = Setting(
        10, gt=0, description="within which a client must have sent its request"
    )
    timeout_s: float = Setting(30, gt=0, description="within which a request must be answered")
    redis_s: float = Setting(
        0.5, gt=0, description="how long Redis is waited for before the last known list is shown"
    )
    kafka_s: float = Setting(
        5, ge=1, description="how long Kafka is waited for before an event is refused"
    )
    trending_s: float = Setting(
        1, gt=0, description="seconds after which the list for unknown users is read anew"
    )
    report: str = Setting(
        "",
        description="figures of `rillet replay --json FILE`, which the console shows; empty = none",
    )
    threads: int = Setting(2, ge=1, description="threads that rank and search")

    @field_validator("keys")
    @classmethod
    def _are_digests(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        if any(not _KEY.fullmatch(key) for key in keys):
            raise ValueError(
                "a key is SCOPES:SHA256, such as read+write:0f3a..., and never the key itself; "
                "`rillet serve --new-key read` makes one"
            )
        return keys
