"""The page "Try it": a catalogue, and beside it the list that follows each click."""

from __future__ import annotations

import secrets
from typing import Any, Final
from urllib.parse import quote

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from models.answer import Answer
from rillet.console.bars import bars, stack
from rillet.console.desk import Desk, Done, Known
from rillet.console.frame import element, heading, text, user_field
from rillet.console.gate import LOGGED_OUT, Admission
from rillet.console.lines import anchors, by_source, lines_of, parts_of
from rillet.console.style import STATIC
from rillet.words import spoken
from stream.errors import RilletError

__all__ = ["TryPage"]

PAGE: Final = 24
LABELS: Final = {"cart": "Add to cart", "purchase": "Buy"}
VERBS: Final = {
    **{"view": "viewed", "click": "opened", "like": "liked"},
    **{"cart": "put into the cart", "purchase": "bought", "rating": "rated"},
}


class Cards(Element, component=STATIC / "cards.js"):
    """The catalogue; emits ``act`` with ``item`` and ``type``."""


class Ranked(Element, component=STATIC / "ranked.js"):
    """A list whose items move to their places; emits ``act``, and ``why`` with ``item``."""


class TryPage:
    """One for each browser tab.

    Parameters
    ----------
    desk
        What the pages share.
    user
        Who acts.
    admission
        Says whether clicks may be published.
    """

    def __init__(self, desk: Desk, user: str, admission: Admission) -> None:
        self.desk, self.user, self.admission = desk, user, admission
        self._order: list[str] | None = None
        self._found: list[str] = []
        self._shown, self._busy = PAGE, False
        self._query = self._category = ""

    async def build(self) -> None:
        """Make the page."""
        heading("Try it: each click goes through the engine", 1)
        self._writes = self.admission.may("write")
        self._types = [
            {"type": kind, "label": LABELS.get(kind, kind.capitalize())}
            for kind in self.desk.shelf.types
            if self._writes
        ]
        with element("div", "try"):
            with element("div"):
                self._who()
                self._search()
                self._count = text("p", "", "soft", role="status")
                self._cards = Cards()
                self._cards.props.update(items=[], types=self._types, done=[])
                self._cards.on("act", self._acted)
                self._more = text("button", "Show more", type="button").on("click", self._show_more)
            with element(
                "section", "side panel", id="list", aria_label="Recommendations", tabindex="0"
            ):
                self._list()
        await self._browse()
        await self._first()

    def _who(self) -> None:
        with element("form", "bar-of", aria_label="Who you are").on(
            "submit.prevent", self._change_user, js_handler="(e) => emit(e.target.user.value)"
        ):
            user_field("You are the user", self.user, self.desk.shelf.users)
            text("button", "Change", type="submit")
            text("button", "A new visitor", type="button").on("click", self._new_visitor)

    def _search(self) -> None:
        with element("form", "bar-of", role="search", aria_label="Catalogue").on(
            "submit.prevent", self._searched, js_handler="(e) => emit(e.target.query.value)"
        ):
            with element("div", "field wide"):
                text("label", "Search the catalogue", for_="query")
                element("input", id="query", name="query", type="search", autocomplete="off")
            text("button", "Search", "primary", type="submit")
            with element("div", "field"):
                text("label", "Category", for_="category")
                chosen = element("select", id="category").on(
                    "change", self._chose, js_handler="(e) => emit(e.target.value)"
                )
                with chosen:
                    text("option", "all", value="")
                    for name in self.desk.shelf.categories:
                        text("option", name, value=name)

    def _list(self) -> None:
        self._whose = heading(f"For {self.user}")
        with element("div", "fresh", role="status", id="fresh") as self._fresh:
            self._ms = text("span", "", "ms")
            self._told = text("span", "Click something: the list follows.")
            text("a", "See the list", "tolist", href="#list")
        self._stack = ui.html("", sanitize=False)
        self._ranked = Ranked()
        self._ranked.props.update(items=[], types=self._types, parts={})
        self._ranked.on("act", self._acted).on("why", self._explain)
        with element("div", "sources"):
            text("h3", "What each source put in")
            self._bars = ui.html("", sanitize=False)
            self._model = text("p", "", "soft")

    # what is browsed

    async def _browse(self) -> None:
        shelf = self.desk.shelf
        if self._query and (ranker := self.desk.service.ranker) is not None and ranker.ready:
            found = await self.desk.service.aside(
                ranker.search,
                self._query,
                user=self.user,
                session=None,
                n=PAGE,
                items=None,
                exclude=(),
                where=None,
                explain=False,
            )
            kept = await shelf.need(one.item for one in found)
            self._found = [
                one.item
                for one in found
                if not self._category
                or (one.item in kept and self._category in kept[one.item].categories)
            ]
        else:
            self._found = shelf.browse(self._category, self._query)
        self._shown = PAGE
        self._show_cards()

    def _show_cards(self) -> None:
        shown = self._found[: self._shown]
        self._cards.props["items"] = [self.desk.shelf.plain(item) for item in shown]
        self._cards.update()
        what = f' for "{self._query}"' if self._query else ""
        self._count.text = f"{len(shown)} of {len(self._found):,} items{what}"
        self._more.set_visibility(len(self._found) > len(shown))

    def _show_more(self) -> None:
        self._shown += PAGE
        self._show_cards()

    async def _chose(self, event: GenericEventArguments) -> None:
        self._category = str(event.args)
        await self._browse()

    async def _searched(self, event: GenericEventArguments) -> None:
        self._query = str(event.args).strip()[:200]
        await self._browse()
        if self._query and self._may_write():
            asked = self.desk.ask(self.user, self._query)
            await self._follow(asked, f'searched for "{self._query}"')

    # who acts

    def _new_visitor(self) -> None:
        self._go(f"visitor-{secrets.token_hex(3)}")

    def _change_user(self, event: GenericEventArguments) -> None:
        if name := str(event.args).strip()[:200]:
            self._go(name)

    @staticmethod
    def _go(user: str) -> None:
        ui.navigate.to(f"/?user={quote(user, safe='')}")  # below where it is mounted

    # what follows

    async def _first(self) -> None:
        known = await self.desk.known(self.user)
        if known.answer is None:
            self._told.text = "There are no recommendations yet: publish events first."
            return
        stranger = known.session is None
        if stranger:
            self._told.text = "Nobody knows you yet: this is the list for everybody."
        await self._show(known)
        if not stranger:
            self.desk.note(self.user, "as it was", None, known.answer)

    async def _acted(self, event: GenericEventArguments) -> None:
        item, kind = str(event.args["item"]), str(event.args["type"])
        if kind not in self.desk.shelf.types or self._busy or not self._may_write():
            return
        title = self.desk.shelf.plain(item)["title"]
        self._cards.props["done"] = [*self._cards.props["done"], item]
        self._cards.update()
        acting = self.desk.interact(self.user, item, kind)
        await self._follow(acting, f"{VERBS.get(kind, kind)} {title}")

    def _may_write(self) -> bool:
        """Tell whether events may be published now, and him if that has changed."""
        may = self.admission.may("write")
        if self._writes and not may:
            self._fresh.classes(add="fail")
            self._ms.text, self._told.text = "", LOGGED_OUT
        return may

    async def _follow(self, acting: Any, what: str) -> None:
        """Wait for the list that follows an event, and show it."""
        self._busy = True
        try:
            done: Done = await acting
        except RilletError as error:
            self._fresh.classes(add="fail")
            self._ms.text, self._told.text = "", f"{error}. {error.mend}"
            return
        finally:
            self._busy = False
        assert done.known.answer is not None
        self._fresh.classes(remove="fail")
        self._ms.text = f"{done.took_ms:.0f} ms"
        self._told.text = f"until the new list could be read, after you {what}"
        self.desk.note(self.user, what, done.took_ms, done.known.answer)
        await self._show(done.known)

    async def _show(self, known: Known) -> None:
        answer = known.answer
        assert answer is not None
        shelf = self.desk.shelf
        await shelf.need(anchors(answer))
        self._ranked.props["items"] = lines_of(answer, shelf, known.session, self._order)
        self._ranked.props["parts"] = {}
        self._ranked.update()
        self._order = [one.item for one in answer.items]
        self._show_sources(answer)

    def _show_sources(self, answer: Answer) -> None:
        shares = by_source(answer)
        self._stack.content = stack(
            [(spoken(name), value) for name, value in shares.items()],
            "The strongest sources of the first items",
        )
        self._bars.content = bars(
            [(spoken(name), value, f"{value:.0%}") for name, value in shares.items()],
            "Share of each source in what put the first items there",
        )
        self._model.text = f"made by {answer.model}"

    async def _explain(self, event: GenericEventArguments) -> None:
        """Show all that speaks for and against an item, where something is there to tell."""
        ranker, item = self.desk.service.ranker, str(event.args["item"])
        if ranker is None or not ranker.ready or not self._order:
            return
        found = await self.desk.service.aside(
            ranker.rank, self._order, user=self.user, session=None, query="", explain=True
        )
        parts = {one.item: parts_of(one) for one in found if one.item == item}
        self._ranked.props["parts"] = {**self._ranked.props["parts"], **parts}
        self._ranked.update()
