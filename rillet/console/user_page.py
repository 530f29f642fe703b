"""The page "User": what is known of one user, how that went, which lists he had."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from nicegui import ui

from features.card import ItemCard
from features.session import Session
from rillet.console.bars import bars
from rillet.console.curves import curves
from rillet.console.desk import Desk, Moment
from rillet.console.frame import element, heading, panel, text, user_field
from rillet.console.gaze import GazePanel
from rillet.console.lines import anchors
from rillet.console.tables import facts, picture, table
from rillet.console.tastes import deeds_by_day, tastes, tastes_over_time
from rillet.words import ago
from stream.errors import RilletError
from stream.keys import DEFAULT_USER

__all__ = ["UserPage"]

EVERY_S: Final = 1.0
PAST: Final = 25
SHOWN: Final = 8


class UserPage:
    """One for each browser tab; looks again every second.

    Parameters
    ----------
    desk
        What the pages share.
    user
        Whom it is about.
    """

    def __init__(self, desk: Desk, user: str) -> None:
        self.desk, self.user = desk, user
        self._last: object = None

    async def build(self) -> None:
        """Make the page."""
        heading(f"What is known of {self.user}", 1)
        with element("form", "bar-of head", method="get", aria_label="Which user"):
            user_field("Another user", self.user, self.desk.shelf.users)
            text("button", "Look", type="submit")
        self._told = text("p", "", "soft", role="status")
        with panel("Session"):
            self._facts = ui.html("", sanitize=False)
        with element("div", "grid"):
            with panel("Tastes, by category"):
                self._tastes = ui.html("", sanitize=False)
            with panel("What he did, by day"):
                self._days = ui.html("", sanitize=False)
            with panel("Tastes over his last interactions"):
                self._curves = ui.html("", sanitize=False)
        with element("div", "grid"):
            with panel("What he did, latest first"):
                self._past = ui.html("", sanitize=False)
            with panel("Lists that this console has seen, latest first"):
                self._lists = ui.html("", sanitize=False)
        with element("div", "grid"):
            await GazePanel(self.desk, self.user).build()
        await self._look()
        ui.timer(EVERY_S, self._look)

    async def _look(self) -> None:
        try:
            known = await self.desk.known(self.user)
        except RilletError as error:
            self._told.text = str(error)
            return
        if known.session is None:
            self._told.text = "Nothing is known of this user yet."
            return
        self._told.text = ""
        session, answer = known.session, known.answer
        if answer is not None and answer.user != DEFAULT_USER:
            self.desk.note(self.user, "seen", None, answer)
        moments = self.desk.seen(self.user)
        state = (session.as_of, len(moments))
        if state == self._last:
            return
        self._last = state
        named = [item for moment in moments for item in anchors(moment.answer)]
        cards = await self.desk.shelf.need([*session.history.items, *named])
        self._show(session, cards, moments)

    def _show(
        self, session: Session, cards: Mapping[str, ItemCard], moments: Sequence[Moment]
    ) -> None:
        self._facts.content = facts(_facts(session))
        shares = list(tastes(session, cards).items())[:SHOWN]
        self._tastes.content = bars(
            [(name, share, f"{share:.0%}") for name, share in shares],
            "Share of each category in what he took lately",
        )
        self._curves.content = curves(
            tastes_over_time(session, cards),
            "Share of the categories in what he took, interaction by interaction",
            form="{:.0%}".format,
            moment=lambda number: f"{number:.0f}.",
        )
        self._days.content = curves(
            deeds_by_day(session),
            "What he did on each day",
            form="{:,.3g}".format,
            moment=lambda at: f"{dt.datetime.fromtimestamp(at / 1000, dt.UTC):%d %b}",
        )
        now = self.desk.service.now_ms()
        self._past.content = table(
            ("when", "what", "item"), _past(session, cards, now), "What he did, latest first"
        )
        self._lists.content = self._seen(moments, now)

    def _seen(self, moments: Sequence[Moment], now: int) -> str:
        if not moments:
            return '<p class="soft">None yet: they are kept while he clicks in "Try it".</p>'
        rows = []
        for one in reversed(moments):
            took = "" if one.took_ms is None else f" · {one.took_ms:.0f} ms"
            shown = [self.desk.shelf.plain(item.item) for item in one.answer.items[:SHOWN]]
            strip = "".join(picture(it["letter"], it["hue"], it["title"]) for it in shown)
            when = f"{escape(one.what)} · {ago(max(0, now - one.at))}{took}"
            rows.append(f'<li><p class="soft">{when}</p><div class="strip">{strip}</div></li>')
        return f'<ol class="seen">{"".join(rows)}</ol>'


def _facts(session: Session) -> list[tuple[str, str]]:
    windows, query = session.windows, session.situation.query
    kinds = [name for name in windows.totals if name not in ("taken", "shown", "search")]
    found = [
        ("events", f"{session.events:,}"),
        ("positive", f"{session.positives:,}"),
        ("visits", f"{session.visit:,}"),
        ("events of this visit", f"{session.history.visits.count(session.visit):,}"),
        ("items taken", f"{len(session.owned.items):,}"),
        ("shown and not taken", f"{len(session.ignored.items):,}"),
    ]
    if shown := windows.totals.get("shown", 0):
        found.append(("taken of shown", f"{windows.totals.get('taken', 0) / shown:.1%}"))
    found += [(kind, f"{windows.totals[kind]:,}") for kind in kinds[:SHOWN]]
    return [*found, ("last search", query)] if query else found


def _past(session: Session, cards: Mapping[str, ItemCard], now: int) -> list[tuple[str, str, str]]:
    history = session.history
    past = list(zip(history.items, history.times, history.types, strict=True))[-PAST:]
    return [
        (ago(max(0, now - at)), kind, cards[item].title or item if item in cards else item)
        for item, at, kind in reversed(past)
    ]
