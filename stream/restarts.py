"""Whether the Redis that answers is still the one that was written to.

A Redis that was restarted, or took over in a failover, may have lost its last
seconds. Who holds state in memory must know before anything else is read or
written there: else what was lost stays lost, with newer values all around it.

One server, or the master that Sentinels name, is known by the name that it gave itself
at its start. Of a cluster it must also be known who its masters are: a replica that
takes over has its own name and address, and may have been connected to before.
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
        self._masters: frozenset[str] | None = None
        self._untold = False

    def greet(self, connection: Any) -> None:
        """Prepare a connection of redis-py, and :meth:`look` who is at its other end."""
        connection.on_connect()
        self.look(connection)

    def look(self, connection: Any) -> None:
        """Ask the server for its name of this start, and whether it was a replica meanwhile.

        Replicas are not asked for what they hold, so they may come and go.

        Raises
        ------
        Exception
            ``error``: the server is another one than before.
        """
        if not self.watching:
            return
        try:
            said = _asked(connection, "server") | _asked(connection, "replication")
        except self._refused as error:
            log.debug("restarts of Redis are not noticed: %s", error)
            return
        if said.get("role") != "master":
            return
        server = said.get("run_id", "")
        if said.get("master_replid2", "").strip("0"):  # it was a replica, since its start
            server += f" {said['master_replid']}"
        place = f"{connection.host}:{connection.port}" if self.many else ""
        before = self._servers.get(place, server)
        self._servers[place] = server
        if server != before and (not self.many or place in (self._masters or ())):
            self._found("Redis was restarted")

    def served_by(self, masters: frozenset[str]) -> None:
        """Note who answers in a cluster; to be called before commands are sent.

        A master that is empty and gets slots from others is taken for one that took over: that
        costs a beginning, once.

        Raises
        ------
        Exception
            ``error``: one of them was no master before.
        """
        if self.watching:
            came = masters - (masters if self._masters is None else self._masters)
            self._masters = masters
            if came:
                self._found(f"{', '.join(sorted(came))} has become a master of the cluster")

    def sent_to(self, master: str) -> None:
        """Note that a node of a cluster has sent us to another one for good.

        Raises
        ------
        Exception
            ``error``: that one was no master before.
        """
        self.served_by((self._masters or frozenset()) | {master})

    def _found(self, what: str) -> None:
        log.warning("%s; what was written last may be lost", what)
        self._untold = True
        raise self._error(what)

    def tell(self) -> None:
        """Call :attr:`hook` if there was a restart that it was not called for.

        To be called before each command, and after it.
        """
        if self._untold and self.owner in (None, threading.get_ident()):
            self._untold = False
            self.hook()


def _asked(connection: Any, section: str) -> dict[str, str]:
    connection.send_command("INFO", section)
    return _fields(connection.read_response())


def _fields(info: Any) -> dict[str, str]:
    r"""Return what a section of INFO says.

    Examples
    --------
    >>> _fields(b"# Server\r\nredis_version:7.0.15\r\nrun_id:5f2c\r\n")
    {'redis_version': '7.0.15', 'run_id': '5f2c'}
    """
    text = info.decode() if isinstance(info, bytes) else str(info)
    named = (line.partition(":") for line in text.splitlines())
    return {name: value for name, colon, value in named if colon}
