"""What Redis' errors say: whether they pass by themselves, and what to do about them."""

from __future__ import annotations

import re
from typing import Final

import redis

__all__ = ["ANSWERED", "is_of_another_type", "mend", "passes"]

ANSWERED: Final = redis.ResponseError
"""What a server answers instead of doing it: the connection is as good as before."""

_GONE: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.exceptions.ClusterError,
    redis.exceptions.TryAgainError,
    redis.OutOfMemoryError,
)
"""Errors that pass: a restart, a failover, a Redis that is full for the moment."""

_PASSING: Final = ("MISCONF", "NOREPLICAS", "LOADING", "BUSY")

_IN_SCRIPT: Final = re.compile(r"@user_script: \d+: -(OOM|READONLY|MISCONF|NOREPLICAS) ")
"""How Redis before 7 says that a script's command was refused for a reason that passes."""


def passes(error: redis.RedisError) -> bool:
    """Tell whether the same command may succeed in a while."""
    said = str(error)
    return isinstance(error, _GONE) or said.startswith(_PASSING) or bool(_IN_SCRIPT.search(said))


def mend(error: redis.RedisError, tls: bool) -> str:
    """Return what to do about it, "" where nobody knows."""
    in_script = _IN_SCRIPT.search(str(error))
    if isinstance(error, redis.OutOfMemoryError) or (in_script and in_script[1] == "OOM"):
        return "Redis is full: raise its maxmemory, or lower redis.ttl_days"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return "this user may not do that: see the roles in docs/security.md"
    if isinstance(error, redis.exceptions.AskError):
        return "this is a cluster: write redis+cluster:// in redis.url"
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        if tls:  # whom a server does not like it mostly hangs up on, without a word
            return "start Redis, or set redis.url, redis.ssl_ca, redis.ssl_cert and redis.ssl_key"
        return "start Redis, or set redis.url"
    return ""


def is_of_another_type(answer: object) -> bool:
    """Tell whether a command was refused because the key holds another type of value."""
    return isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE")
