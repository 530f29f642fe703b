"""Settings of what one user may ask of the engine."""

from __future__ import annotations

from pydantic import Field as Setting

from stream.setting_group import Group

__all__ = ["LimitsSettings"]


class LimitsSettings(Group):
    """How much of the engine one user may take; beyond it he counts as busy, as a robot is."""

    user_events_per_minute: int = Setting(
        1000,
        ge=0,
        description="of event time; more are remembered, but nothing is learned from them; 0 = off",
    )
