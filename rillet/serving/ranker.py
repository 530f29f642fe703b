"""Personalised search and ranking over a live engine, whose state is read and never written."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from consumers.encoders import promoted_encoder
from features.card import ItemCard
from features.session import Session
from features.shown import shown_before
from features.text import TextEncoder
from models.answer import Reason
from rillet.serving.answer import Answer, Ranked
from rillet.serving.asking import Asker
from rillet.serving.mirror import Mirror
from rillet.serving.scoring import BIAS
from rillet.serving.search import Search, admitted
from rillet.serving.where import Where
from rillet.words import all_in_words
from stream.announcement import announced
from stream.errors import NothingYetError, RilletError, StoreError
from stream.settings import Settings
from stream.store import Store

__all__ = ["Ranker"]

log = logging.getLogger(__name__)

I32 = NDArray[np.int32]

ENCODER: Final = "encoder"

ENOUGH: Final = 200
"""Clicks on shown lists from which on they tell better how items are to be ordered than what is
taken next does; measured, see docs/search.md."""

FOLLOW_EVERY_S: Final = 1.0
"""Seconds between two looks at what has changed."""


class Ranker:
    """Answers searches, and orders items, for users as they are in Redis.

    May be called by several threads at once; nothing is ever written.

    Parameters
    ----------
    settings, store
        Where the engine's state lies; the store is closed by the caller.
    encoder
        The text encoder; None loads the promoted one.
    """

    def __init__(
        self, settings: Settings, store: Store, *, encoder: TextEncoder | None = None
    ) -> None:
        self._settings, self._store, self._encoder = settings, store, encoder
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._mirror: Mirror | None = None
        self._news = ""

    @property
    def ready(self) -> bool:
        """Whether it answers: everything there is has been loaded."""
        return self._mirror is not None

    @property
    def version(self) -> str:
        """What answers are made with, as in lists; "" before it is ready."""
        return "" if self._mirror is None else self._mirror.version

    def start(self) -> None:
        """Load in a thread, and follow what changes, until :meth:`close`."""
        self._thread = threading.Thread(target=self._run, name="ranker", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, and what is done beside."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._mirror is not None:
            self._mirror.close()

    def _run(self) -> None:
        told = ""
        while not self._stop.is_set():
            try:
                if self._mirror is None:
                    self.load()
                self.refresh()
                told = ""
            except Exception as error:  # whatever it is, what is known goes on
                if str(error) != told:
                    trace = None if isinstance(error, RilletError) else error
                    log.warning("the engine is not followed for now: %s", error, exc_info=trace)
                told = str(error)
            self._stop.wait(FOLLOW_EVERY_S)

    def load(self) -> None:
        """Load everything there is; :meth:`start` does so in its thread.

        Raises
        ------
        EncoderError, StoreError
            The text encoder cannot be loaded, or Redis not be reached.
        """
        news = announced(self._store, ENCODER)
        self._news = "" if news is None else news.version
        encoder = self._encoder or promoted_encoder(self._settings).encoder
        mirror = Mirror(self._settings, self._store, encoder)
        mirror.load()
        self._mirror = mirror

    def refresh(self) -> None:
        """Take over what has changed at once; the thread does so every second.

        Where another text encoder was promoted all is loaded anew, for its vectors are others;
        meanwhile what is known goes on.

        Raises
        ------
        NothingYetError
            It has not loaded yet.
        EncoderError, StoreError
            As in :meth:`load`.
        """
        before = self.mirror
        before.follow()
        news = announced(self._store, ENCODER)
        if self._encoder is None and news is not None and news.version != self._news:
            self.load()
            before.close()

    def search(  # noqa: PLR0913 - what may be asked for
        self,
        query: str,
        *,
        user: str | None = None,
        session: str | None = None,
        n: int = 10,
        items: Collection[str] | None = None,
        exclude: Collection[str] = (),
        where: Where | None = None,
        explain: bool = False,
    ) -> Answer:
        """Return what answers a query best, for a user, best first.

        Parameters
        ----------
        query
            In any language; of a blank one the answer is what the user is recommended.
        user, session
            Whose state counts: the user's, where there is none the visitor's.
        n
            How many items at most.
        items
            The only ones that may be returned; None for all.
        exclude
            What is not to be returned.
        where
            What an item must be like.
        explain
            Whether to say what the scores are made of.

        Raises
        ------
        NothingYetError
            It has not loaded yet.
        StoreError
            Redis is away, which knows what the items are like.
        """
        mirror, query = self.mirror, query.strip()
        who = Asker(self._settings, mirror)
        known = who.session(user, session)
        mirror.encode(query)
        with mirror.lock:
            if not len(mirror.catalogue):
                return Answer(degraded=who.degraded)
            search = Search.of(mirror, who.question(known, query), query)
            rows = search.found() if items is None else search.among(items)
            rows = search.without(rows, exclude)
        if where is not None:
            rows = admitted(mirror, rows, where)
        return self._answer(search, rows, n, who, known if explain else None)

    def rank(
        self,
        items: Sequence[str],
        *,
        user: str | None = None,
        session: str | None = None,
        query: str = "",
        explain: bool = False,
    ) -> Answer:
        """Return items in the order in which a user is likely to take them.

        Without a query, and where enough of what was shown was clicked, they are compared as
        a list that he is shown; else as what he takes next.

        Parameters
        ----------
        items
            All of them are returned, each once; those that the catalogue does not have, or
            that are withdrawn, come last.
        user, session, query, explain
            As in :meth:`search`; "" leaves it at the user's last query.

        Raises
        ------
        NothingYetError
            It has not loaded yet.
        """
        mirror, query = self.mirror, query.strip()
        who = Asker(self._settings, mirror)
        known = who.session(user, session)
        found = Answer(degraded=who.degraded)
        mirror.encode(query)
        search: Search | None = None
        with mirror.lock:
            if len(mirror.catalogue):
                listed = not query and mirror.engine.lists.clicks >= ENOUGH
                before = shown_before(known, mirror.catalogue) if listed else None
                question = who.question(known, query)
                search = Search.of(mirror, question, query, whole=True, before=before)
                rows = search.among(items)
        if search is not None:
            found = self._answer(search, rows, len(rows), who, known if explain else None)
        there = {one.item for one in found}
        least = found[-1].score if found else 0.0
        parts = {BIAS: least} if explain else {}
        unknown = [item for item in dict.fromkeys(items) if item not in there]
        found.extend(Ranked(item, least, parts, known=False) for item in unknown)
        return found

    @property
    def mirror(self) -> Mirror:
        """The engine as it is known here.

        Raises
        ------
        NothingYetError
            It has not loaded yet.
        """
        if self._mirror is None:
            raise NothingYetError("the ranker is still loading", "ask again in a moment")
        return self._mirror

    def _answer(
        self, search: Search, rows: I32, n: int, who: Asker, known: Session | None
    ) -> Answer:
        """Return the best n of the rows, explained where the user's state is given."""
        mirror = search.mirror
        with mirror.lock:
            best = search.score(rows).first(n)
            ids = [mirror.catalogue.ids[row] for row in best.rows.tolist()]
            if known is None:
                found = map(Ranked, ids, best.score.tolist())
                return Answer(found, degraded=who.degraded)
            parts, reasons = best.explained(mirror.engine, search.chunk)
        told = [why.item for whys in reasons for why in whys if why.item is not None]
        try:
            cards, degraded = mirror.cards([*ids, *told]), who.degraded
        except StoreError:
            cards, degraded = {}, True
        each = zip(ids, best.score.tolist(), parts, reasons, strict=True)
        return Answer((_worded(*row, cards, known) for row in each), degraded=degraded)


def _worded(  # noqa: PLR0913 - all there is of an item
    item: str,
    score: float,
    parts: dict[str, float],
    reasons: list[Reason],
    cards: dict[str, ItemCard],
    known: Session,
) -> Ranked:
    return Ranked(item, score, parts, reasons, all_in_words(reasons, cards, known, item))
