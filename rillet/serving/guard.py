"""Who is let in, and how often: keys with scopes, rate limits, and what browsers may ask for."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers

from stream.errors import RefusedError, SettingsError
from stream.serve_settings import SCOPES, ServeSettings

__all__ = ["ALL", "Caller", "Guard", "check_binding", "is_loopback", "new_key"]

ALL: Final = frozenset(SCOPES)

PREFIX: Final = "rillet_"
"""What keys begin with, so that whoever finds one knows what it opens."""

LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


class Caller(NamedTuple):
    """Who asks: by which name his requests are counted, and what he may do."""

    name: str
    scopes: frozenset[str]


class _Key(NamedTuple):
    digest: str
    scopes: frozenset[str]


def new_key(scopes: Sequence[str]) -> tuple[str, str]:
    """Make a key of 256 random bits.

    Returns
    -------
    tuple
        The key, which is kept nowhere, and its line for ``serve.keys``.

    Raises
    ------
    SettingsError
        A scope is not known.
    """
    if not scopes or (unknown := set(scopes) - ALL):
        said = f"no scope {', '.join(sorted(unknown))}" if scopes else "a key needs a scope"
        raise SettingsError(said, f"take {', '.join(SCOPES)}, several by +: read+write")
    key = PREFIX + secrets.token_urlsafe(32)
    ordered = [scope for scope in SCOPES if scope in scopes]
    return key, f"{'+'.join(ordered)}:{_digest(key)}"


def _digest(key: str) -> str:
    # A key has 256 random bits: nobody finds it by trying, so a fast hash is as good as a slow one.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on can be reached from this machine alone.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_binding(serve: ServeSettings) -> None:
    """Refuse to be open to everybody.

    Raises
    ------
    SettingsError
        There are no keys, and ``host`` is not loopback.
    """
    if not serve.keys and not is_loopback(serve.host):
        raise SettingsError(
            f"without keys anybody who reaches {serve.host} could read lists and have users "
            "forgotten",
            "`rillet serve --new-key read+write` makes a key; or listen on 127.0.0.1",
        )


class Guard:
    """Admits requests.

    Parameters
    ----------
    serve
        Keys, limits, and which browsers may ask. Without keys everybody is let in, if he comes
        by a local name.
    """

    def __init__(self, serve: ServeSettings) -> None:
        lines = [line.partition(":") for line in serve.keys]
        self._keys = [_Key(digest, frozenset(names.split("+"))) for names, _, digest in lines]
        self._hosts = serve.hosts or (() if self._keys else LOCAL)
        self._origins = frozenset(serve.cors_origins)
        self._limit = RateLimitItemPerMinute(serve.requests_per_minute or 1)
        self._limited = serve.requests_per_minute > 0
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    @property
    def open(self) -> bool:
        """Whether nobody needs a key."""
        return not self._keys

    async def admit(self, method: str, headers: Headers, address: str, scope: str) -> Caller:
        """Return who asks.

        Parameters
        ----------
        method, headers, address
            Of the request; the address is that of the client.
        scope
            What he must be allowed to do.

        Raises
        ------
        RefusedError
            He has no key (401), one that does not do (403), calls from a page or by a name
            that is not allowed (403), or too often (429).
        """
        self.check_browser(method, headers)
        try:
            caller = self.caller(headers, address)
        except RefusedError:
            await self._count(f"address {address}")
            raise
        await self._count(caller.name)
        if scope not in caller.scopes:
            has = ", ".join(sorted(caller.scopes))
            message = f"this needs a key with the scope {scope}; yours has {has}"
            raise RefusedError(403, "wrong-scope", message)
        return caller

    def caller(self, headers: Headers, address: str) -> Caller:
        """Return who asks by his key; refuse (401) who has none."""
        if not self._keys:
            return Caller(f"address {address}", ALL)
        given = [headers["x-api-key"]] if "x-api-key" in headers else []
        kind, _, rest = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            given.append(rest.strip())
        if not given:
            mend = "send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            raise RefusedError(401, "no-key", "a key is needed", mend)
        found = {self._known(key) for key in given}
        if None in found or len(found) > 1:  # of two keys neither is overlooked
            raise RefusedError(401, "unknown-key", "this key is not known here")
        key = found.pop()
        assert key is not None
        return Caller(f"key {key.digest[:16]}", key.scopes)

    def _known(self, given: str) -> _Key | None:
        digest, found = _digest(given), None
        for key in self._keys:  # all of them, whichever it is: the time it takes tells nothing
            if hmac.compare_digest(digest, key.digest):
                found = key
        return found

    def check_browser(self, method: str, headers: Headers) -> None:
        """Refuse what a page of another site makes a browser send."""
        host = headers.get("host", "")
        found = _split(f"//{host}")
        name = "" if found is None else found.hostname or ""
        if found is None or (self._hosts and name not in self._hosts):
            mend = "serve.hosts names those that are"
            raise RefusedError(
                403, "wrong-host", f"{name or host} is no name of this service", mend
            )
        origin = headers.get("origin")
        if origin is None or method in _SAFE or origin in self._origins:
            return
        site = _split(origin)
        if site is None or site.netloc != host:
            mend = "serve.cors_origins names those that may"
            raise RefusedError(403, "wrong-origin", "pages of this site may not call it", mend)

    async def _count(self, name: str) -> None:
        if not self._limited or await self._limiter.hit(self._limit, name):
            return
        window = await self._limiter.get_window_stats(self._limit, name)
        wait_s = max(1.0, window.reset_time - time.time())
        message = f"more than {self._limit.amount} requests a minute"
        raise RefusedError(429, "too-many", message, wait_s=wait_s)


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # brackets that do not close, and the like
        return None
