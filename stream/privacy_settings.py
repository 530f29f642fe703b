"""The settings of what becomes of users' ids."""

from __future__ import annotations

from pydantic import Field as Setting
from pydantic import SecretStr

from stream.setting_group import Group

__all__ = ["PrivacySettings"]


class PrivacySettings(Group):
    """What becomes of users' ids; see docs/privacy.md."""

    tombstone_days: float = Setting(
        400, gt=0, description="how long late events of a forgotten user stay out"
    )
    key: SecretStr | None = Setting(
        None, description="ids are published as pseudonyms by this secret; from the environment"
    )
    old_key: SecretStr | None = Setting(
        None, description="the secret before, while `rillet privacy rotate` is under way"
    )
