"""The script by which Redis refuses a stamped value where a newer one of its partition is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from stream.writes import STAMP_BYTES, Refused, Stamped

__all__ = ["by_digest", "refused_of", "with_source"]

# The stamp is compared and the value set in one step on the server: a consumer that lost its
# partition and does not know it yet cannot put older state over newer. What is refused is
# answered: its number among the keys, then the offset that is there.
_SCRIPT: Final = """
local call, match, KEYS, ARGV = redis.call, string.match, KEYS, ARGV
local refused = {}
for i = 1, #KEYS do
  local at = 4 * i
  local head = call('GETRANGE', KEYS[i], 0, LAST)
  local p, o = match(head, '^{"as_of":{"partition":(%d+),"offset":(%d+)')
  if p and p == ARGV[at - 2] and tonumber(o) > tonumber(ARGV[at - 1]) then
    refused[#refused + 1] = i
    refused[#refused + 1] = tonumber(o)
  else
    call('SET', KEYS[i], ARGV[at - 3], 'PX', ARGV[at])
  end
end
return refused
""".replace("LAST", str(STAMP_BYTES - 1))
_NAME: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


def by_digest(some: Sequence[Stamped]) -> tuple[Any, ...]:
    """Return the command for a server that knows the script."""
    return _command("EVALSHA", _NAME, some)


def with_source(some: Sequence[Stamped]) -> tuple[Any, ...]:
    """Return the command that brings the script along; the server knows it from then on."""
    return _command("EVAL", _SCRIPT, some)


def _command(verb: str, script: str, some: Sequence[Stamped]) -> tuple[Any, ...]:
    arguments: list[Any] = [verb, script, len(some)]
    arguments += [one.key for one in some]
    for one in some:
        arguments += (one.value, one.partition, one.offset, one.ttl_ms)
    return tuple(arguments)


def refused_of(some: Sequence[Stamped], answer: Sequence[int]) -> Iterator[Refused]:
    """Yield what the server refused of the values of one command."""
    for number, present in zip(answer[::2], answer[1::2], strict=True):
        one = some[number - 1]
        yield Refused(one.key, one.offset, present)
