"""Many commands to one Redis server and their answers, in one round trip.

redis-py's own pipelines cost several times what is sent through them: here commands are
packed by hiredis, and their answers read, and nothing else is done.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import hiredis

from stream.redis_errors import ANSWERED

__all__ = ["answers_of", "packed"]

AT_ONCE: Final = 65_536
"""Bytes handed to the socket at once, about: while the server reads them the next are packed."""


def packed(commands: Sequence[tuple[Any, ...]]) -> Iterator[bytes]:
    """Yield the bytes of commands, for ``send_packed_command`` of redis-py's connections."""
    waiting, size = list[bytes](), 0
    for command in commands:
        one: bytes = hiredis.pack_command(command)
        waiting.append(one)
        size += len(one)
        if size > AT_ONCE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def answers_of(client: Any, connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the answers to commands sent before, as redis-py gives them; errors among them.

    Raises
    ------
    redis.RedisError
        The connection broke; whatever it still says is of no use.
    """
    read, made_of, answers = connection.read_response, client.response_callbacks, list[Any]()
    for command in commands:
        try:
            answer = read()
        except ANSWERED as error:
            answers.append(error)
            continue
        make = made_of.get(command[0])
        answers.append(answer if make is None else make(answer))
    return answers
