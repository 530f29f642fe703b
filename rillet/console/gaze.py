"""The part of the page "User" that shows at what of his past the Transformer looks."""

from __future__ import annotations

import asyncio
from contextlib import closing
from html import escape
from typing import Final

from nicegui import ui

from features.session import Session
from models.registry import Registry
from rillet.attention import Looks, looks_of
from rillet.console.bars import bars
from rillet.console.desk import Desk
from rillet.console.frame import panel, text
from stream.errors import NothingYetError, RilletError
from stream.settings import Settings
from stream.store import Store

__all__ = ["GazePanel", "gaze_html", "gaze_of"]

SHOWN: Final = 32
"""Interactions, the last ones."""

CAPTION: Final = (
    "How much his last interaction looks at each, itself included: the mean over the heads of the "
    "last block. Attention is where the network takes from, not why an item is listed; that is in "
    "the list's reasons."
)


class GazePanel:
    """Asks the current model when somebody wants to know: loading it takes a moment.

    Parameters
    ----------
    desk
        What the pages share.
    user
        Whom it is about.
    """

    def __init__(self, desk: Desk, user: str) -> None:
        self.desk, self.user = desk, user

    async def build(self) -> None:
        """Make it, where a Transformer is promoted."""
        if not await asyncio.to_thread(_promoted, self.desk.service.settings):
            return
        with panel("What the Transformer looks at"):
            self._button = text("button", "Look", type="button").on("click", self._asked)
            self._button.props["aria-label"] = "Look at what the Transformer looks at"
            self._told = text("p", "", "soft", role="status")
            self._shown = ui.html("", sanitize=False)

    async def _asked(self) -> None:
        if self.desk.gazing.locked():
            self._told.text = "The model is being asked for another page: try again."
            return
        self._told.text = "The model is being asked."
        async with self.desk.gazing:
            try:
                found = await self._found()
            except RilletError as error:
                self._told.text = f"{error}. {error.mend}"
            except ImportError as error:  # lists are served without torch, too
                self._told.text = f"The model cannot run here: {error}."
            else:
                self._told.text, self._shown.content = "", gaze_html(found)

    async def _found(self) -> Looks:
        session = (await self.desk.known(self.user)).session
        if session is None:
            raise NothingYetError("nothing is known of this user yet", "let him do something")
        # Not in one of the threads that rank: whoever searches meanwhile is not to wait.
        return await asyncio.to_thread(gaze_of, self.desk.service.settings, session)


def _promoted(settings: Settings) -> bool:
    try:
        return Registry(settings.training.registry).current("sequence") is not None
    except RilletError:  # the page "Operations" tells what is wrong with it
        return False


def gaze_of(settings: Settings, session: Session) -> Looks:
    """Ask the current Transformer, by a connection of its own; see :func:`looks_of`."""
    with closing(Store(settings.redis, retry_s=0.5, make=False)) as store:
        return looks_of(settings, store, session)


def gaze_html(looks: Looks) -> str:
    """Return a bar for each interaction, latest first."""
    if not looks.looks:
        return '<p class="soft">He took nothing yet, so it looks at nothing.</p>'
    means = looks.array()[-1].mean(axis=0).tolist()
    rows = [
        (one.title or one.item, share, f"{share:.1%}")
        for one, share in zip(looks.looks, means, strict=True)
    ][-SHOWN:]
    name = "Share of attention by interaction, latest first"
    about = f'<p class="soft">{CAPTION} Asked: {escape(looks.model)}.</p>'
    return about + bars(rows[::-1], name)
