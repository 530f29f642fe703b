"""Whether the Redis that answers is still the one that was written to.

A Redis that was restarted, or took over in a failover, may have lost its last
seconds. Who holds state in memory must know before anything else is read or
written there: else what was lost stays lost, with newer values all around it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Restarts"]

log = logging.getLogger(__name__)


class Restarts:
    """Greets each new connection, and looks who is at its other end.

    Parameters
    ----------
    error
        Raised instead of the first command that would go to another server than before;
        an error after which the command is tried again.
    refused
        What a server answers where this user may not ask for its name (INFO).

    Attributes
    ----------
    owner
        The thread that keeps state; it alone is told, and what other threads found waits for
        its next command. None: whichever comes.
    watching
        Whether connections are looked at: not those of programs that keep nothing in memory,
        which need no right to ask. Set it before the first command.
    many
        Whether several servers answer, each at an address of its own, as in a cluster. Else
        there is one, which may have another address after a failover.
    hook
        Called before the owner's next command, or before it is tried again.
    """

    def __init__(self, error: type[Exception], refused: type[Exception]) -> None:
        self.hook: Callable[[], None] = lambda: None
        self.owner: int | None = None
        self.watching = self.many = False
        self._error, self._refused = error, refused
        self._servers: dict[str, str] = {}
        self._untold = False

    def greet(self, connection: Any) -> None:
        """Prepare a connection of redis-py, and :meth:`look` who is at its other end."""
        connection.on_connect()
        self.look(connection)

    def look(self, connection: Any) -> None:
        """Ask the server for its name of this start.

        Raises
        ------
        Exception
            ``error``: the server is another one than before.
        """
        if not self.watching:
            return
        connection.send_command("INFO", "server")
        try:
            server = _run_id(connection.read_response())
        except self._refused as error:
            log.debug("restarts of Redis are not noticed: %s", error)
            return
        place = f"{connection.host}:{connection.port}" if self.many else ""
        before = self._servers.get(place, server)
        self._servers[place] = server
        if server != before:
            log.warning("Redis was restarted; it may have lost what was written last")
            self._untold = True
            raise self._error("Redis was restarted")

    def tell(self) -> None:
        """Call :attr:`hook` if there was a restart that it was not called for.

        To be called before each command, and after it.
        """
        if self._untold and self.owner in (None, threading.get_ident()):
            self._untold = False
            self.hook()


def _run_id(info: Any) -> str:
    r"""Return the random name that a server gives itself at its start.

    Examples
    --------
    >>> _run_id(b"# Server\r\nredis_version:7.0.15\r\nrun_id:5f2c\r\n")
    '5f2c'
    """
    text = info.decode() if isinstance(info, bytes) else str(info)
    found = [line for line in text.splitlines() if line.startswith("run_id:")]
    return found[0].partition(":")[2] if found else ""
