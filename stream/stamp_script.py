"""The script by which Redis refuses a stamped value where a newer one of its partition is."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from stream.writes import STAMP_BYTES, Stamped

__all__ = ["by_digest", "with_source"]

# The stamp is compared and the value set in one step on the server: a consumer that lost its
# partition and does not know it yet cannot put older state over newer. -1 means written.
_SCRIPT: Final = (
    f"local head = redis.call('GETRANGE', KEYS[1], 0, {STAMP_BYTES - 1}) "
    """
local p, o = string.match(head, '^{"as_of":{"partition":(%d+),"offset":(%d+)')
if p and tonumber(p) == tonumber(ARGV[2]) and tonumber(o) > tonumber(ARGV[3]) then
  return tonumber(o)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
return -1
"""
)
_NAME: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


def by_digest(one: Stamped) -> tuple[Any, ...]:
    """Return the command for a server that knows the script."""
    return _command("EVALSHA", _NAME, one)


def with_source(one: Stamped) -> tuple[Any, ...]:
    """Return the command that brings the script along; the server knows it from then on."""
    return _command("EVAL", _SCRIPT, one)


def _command(verb: str, script: str, one: Stamped) -> tuple[Any, ...]:
    return (verb, script, 1, one.key, one.value, one.partition, one.offset, one.ttl_ms)
