"""What every group of settings is: frozen, and strict about names."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Group"]


class Group(BaseModel):
    """A group of settings; unknown names are errors."""

    # An input that is wrong may still be a password: no error, and no traceback, shows it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
