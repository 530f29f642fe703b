"""Redis users of least privilege, one for each role, as lines of an ACL file.

``rillet init --acl FILE`` writes them with new passwords; the same lines
without passwords lie in ``deploy/redis/users.acl``.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Mapping
from typing import Final, NamedTuple

from stream.errors import SettingsError
from stream.keys import Keys

__all__ = ["ROLES", "Role", "acl_lines", "new_passwords"]

PASSWORD_BYTES: Final = 24

# A cluster's clients ask for its nodes, and follow a slot that moves.
FINDING: Final = ("ping", "asking", "command", "cluster|slots", "cluster|shards")
READING: Final = ("get", "mget", "scan")
WRITING: Final = ("set", "del")
# Redis asks for the right to what a script does, too: getrange and set, pexpire and del.
STAMPED: Final = ("eval", "evalsha", "getrange")
FEED: Final = ("xadd", "xrange", "xrevrange", "pexpire")
# Whether it is still the server that was written to, and was not restarted meanwhile.
NAME: Final = ("info",)
LEASE: Final = ("evalsha", "script|load", "pexpire")


class Role(NamedTuple):
    """What one kind of program may do: commands, and kinds of keys (none: all of Rillet's).

    Without commands it is the administrator's, who may do everything.
    """

    commands: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


ROLES: Final = {
    "rillet-reader": Role(("get", "mget"), ("recs",)),
    "rillet-consumer": Role((*READING, *WRITING, *STAMPED, *FEED, *NAME)),
    "rillet-trainer": Role(
        (*READING, *WRITING, *LEASE), ("item", "vector", "model", "process", "lease")
    ),
    "rillet-operator": Role((*READING, "info", "dbsize")),
    "admin": Role(),
}


def acl_lines(prefix: str = "rillet", passwords: Mapping[str, str] | None = None) -> str:
    """Return the ACL file.

    Parameters
    ----------
    prefix
        ``redis.prefix``.
    passwords
        Name of a role -> its password, of which only the SHA-256 is written.
        A role without one cannot log in until it is given one.

    Raises
    ------
    SettingsError
        The prefix cannot be written in an ACL file.
    """
    if any(c.isspace() for c in prefix):
        raise SettingsError("redis.prefix holds a blank: no ACL can name it", "choose another")
    lines = ["user default off nopass resetchannels -@all"]
    for name, role in ROLES.items():
        words = ["user", name, "on"]
        if passwords is not None and name in passwords:
            words.append("#" + hashlib.sha256(passwords[name].encode()).hexdigest())
        words += _rights(role, Keys(prefix)) if role.commands else ["~*", "&*", "+@all"]
        lines.append(" ".join(words))
    return "\n".join(lines) + "\n"


def _rights(role: Role, keys: Keys) -> list[str]:
    whole = keys.pattern("").removesuffix(":*") + "*"
    names = [f"~{keys.pattern(kind)}" for kind in role.kinds] or [f"~{whole}"]
    commands = [f"+{name}" for name in sorted({*FINDING, *role.commands})]
    return ["resetchannels", *names, "-@all", *commands]


def new_passwords() -> dict[str, str]:
    """Return a new password for each role."""
    return {name: secrets.token_urlsafe(PASSWORD_BYTES) for name in ROLES}


if __name__ == "__main__":
    sys.stdout.write(acl_lines())
