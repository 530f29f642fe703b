"""The face: client, command line, importers, simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rillet.client import BadEventError, Client, NothingYetError, Similar

__all__ = ["BadEventError", "Client", "NothingYetError", "Similar"]


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: `import rillet`, and `rillet --help`, cost next to nothing.
    if name in __all__:
        from rillet import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
