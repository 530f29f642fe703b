"""Every Redis key of Rillet: built here, parsed here, documented in docs/redis.md.

A key is ``PREFIX:SCHEMA:KIND`` or ``PREFIX:SCHEMA:KIND:NAME``; the name comes
last and may hold any characters. Nothing needs two keys to lie together, so
the same keys work on Redis Cluster.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_USER", "SCHEMA", "Keys", "token_of"]

SCHEMA: Final = 1
"""Raised when the layout of any value changes in a way readers would notice."""

DEFAULT_USER: Final = "*default*"
"""The name whose list is served to users nobody knows yet."""

_TOKEN: Final = re.compile(r"forgotten:[0-9a-f]{32}")


def token_of(user: str) -> str:
    """Return what stays of a forgotten user's name: a hash. A token's own is itself.

    Examples
    --------
    >>> token_of("alice")
    'forgotten:2bd806c97f0e00af1a1fc3328fa763a9'
    >>> token_of(token_of("alice")) == token_of("alice")
    True
    """
    if _TOKEN.fullmatch(user):
        return user
    digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
    return f"forgotten:{digest[:32]}"


@dataclass(frozen=True, slots=True)
class Keys:
    """Builds and parses keys under one prefix.

    Examples
    --------
    >>> keys = Keys("rillet")
    >>> keys.recs("alice")
    'rillet:1:recs:alice'
    >>> keys.name_of("rillet:1:item:sku:7", "item")
    'sku:7'
    """

    prefix: str = "rillet"

    def _key(self, kind: str, name: str | None = None) -> str:
        head = f"{self.prefix}:{SCHEMA}:{kind}"
        return head if name is None else f"{head}:{name}"

    def recs(self, user: str) -> str:
        """Return the key of a user's recommendations (JSON string)."""
        return self._key("recs", user)

    def session(self, user: str) -> str:
        """Return the key of a user's session state (JSON string)."""
        return self._key("session", user)

    def forgotten(self, user: str) -> str:
        """Return the key of a forgotten user's tombstone (JSON); it holds a hash, not his id."""
        return self._key(*token_of(user).split(":"))

    def replayed(self, letter: str) -> str:
        """Return the key that says that a dead letter was published again (text)."""
        return self._key("replayed", letter)

    def item(self, item: str) -> str:
        """Return the key of an item's card (JSON string)."""
        return self._key("item", item)

    def neighbours(self, item: str) -> str:
        """Return the key of what follows an item, trimmed for readers (JSON string)."""
        return self._key("neighbours", item)

    def item_state(self, item: str) -> str:
        """Return the key of an item's whole statistics (JSON string)."""
        return self._key("itemstate", item)

    def vector(self, encoder: str, text_hash: str) -> str:
        """Return the key of one content vector (little-endian float16 bytes)."""
        return self._key("vector", f"{encoder}:{text_hash}")

    def position(self, group: str, topic: str, partition: int, tag: str = "") -> str:
        """Return the key of a consumer group's next-to-read offset (integer).

        On a cluster a copy lies in the slot of each of several tags.
        """
        head = f"{{{tag}}}:" if tag else ""
        return self._key("position", f"{head}{group}:{topic}:{partition}")

    def learner(self, partition: int) -> str:
        """Return the key of the blend learner's checkpoint of one partition (JSON)."""
        return self._key("learner", str(partition))

    def taught(self, partition: int) -> str:
        """Return the key of what one partition has added to the blend's weights (JSON)."""
        return self._key("taught", str(partition))

    def open_list(self, partition: int, name: str) -> str:
        """Return the key of a shown list that waits for its clicks (JSON)."""
        return self._key("open", f"{partition}:{name}")

    def models(self, partition: int) -> str:
        """Return the key of what one process' sources have learned (an .npz file)."""
        return self._key("models", str(partition))

    def model(self, kind: str) -> str:
        """Return the key that names the current trained model of a kind (JSON)."""
        return self._key("model", kind)

    def lease(self, name: str) -> str:
        """Return the key that one process at a time holds, over all machines."""
        return self._key("lease", name)

    def changes(self) -> str:
        """Return the key of the feed of changed items (a Redis stream)."""
        return self._key("changes")

    def heartbeat(self, process: str) -> str:
        """Return the key under which a running consumer reports itself (JSON string)."""
        return self._key("process", process)

    def pattern(self, kind: str) -> str:
        """Return a SCAN pattern for all keys of a kind."""
        escaped = "".join(f"\\{c}" if c in "*?[]\\" else c for c in f"{self.prefix}:{SCHEMA}")
        return f"{escaped}:{kind}:*"

    def name_of(self, key: str, kind: str) -> str:
        """Return the name in a key of this kind; the inverse of the builders.

        Raises
        ------
        ValueError
            The key is not of this kind or not under this prefix.
        """
        head = self._key(kind, "")
        if not key.startswith(head):
            raise ValueError(f"{key!r} is not a {kind} key under {head!r}")
        return key[len(head) :]
