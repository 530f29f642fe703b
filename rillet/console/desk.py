"""What all pages share: acting for a user, waiting for his new list, and what was seen of him."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from features.session import Session, decode_session
from models.answer import Answer, decode_answer
from rillet.console.shelf import Shelf
from rillet.serving.service import Service
from stream.errors import RilletError
from stream.events import Event, Interaction, Millis, Search, encode
from stream.keys import DEFAULT_USER
from stream.routing import outgoing

__all__ = ["Desk", "Done", "Known", "Moment"]

LOOK_S: Final = 0.003
"""Between two looks for a new list."""

PATIENCE_S: Final = 15.0
USERS: Final = 100
MOMENTS: Final = 50
TIMES: Final = 1000


class Known(NamedTuple):
    """What lies in Redis of a user.

    Attributes
    ----------
    session
        His state, None where nothing is known of him.
    answer
        His list, else the one for unknown users; None where there is neither.
    """

    session: Session | None
    answer: Answer | None


class Done(NamedTuple):
    """What became of an event: the new list, and how long it took to be readable."""

    known: Known
    took_ms: float


class Moment(NamedTuple):
    """A list that the console has seen: when (of the engine's clock), after what."""

    at: int
    what: str
    took_ms: float | None
    answer: Answer


class Desk:
    """One for the application.

    Parameters
    ----------
    service
        The way to Redis and to the engine.

    Attributes
    ----------
    shelf
        Items.
    took_ms
        From click to new list, of the last clicks.
    gazing
        Held by the page for which a model is loaded: one at a time.
    """

    def __init__(self, service: Service) -> None:
        self.service, self.shelf = service, Shelf(service)
        self.took_ms: deque[float] = deque(maxlen=TIMES)
        self.gazing = asyncio.Lock()
        self._seen: OrderedDict[str, deque[Moment]] = OrderedDict()

    async def load(self) -> None:
        """Read items and users anew, and drop the lists of users of whom nothing is left.

        Raises
        ------
        StoreError
            Redis is away.
        """
        if not await self.shelf.load() or not self._seen:
            return
        users, key = list(self._seen), self.service.reader.keys.session
        names = [(user, name) for user in users for name in self.service.names(user)]
        raws = await self.service.reader.get_many([key(name) for _, name in names])
        here = {user for (user, _), raw in zip(names, raws, strict=True) if raw is not None}
        for user in set(users) - here:
            self._seen.pop(user, None)

    async def known(self, user: str) -> Known:
        """Return what lies in Redis of a user.

        Raises
        ------
        StoreError
            Redis is away.
        """
        keys, names = self.service.reader.keys, self.service.names(user)
        wanted = [*map(keys.session, names), *map(keys.recs, names), keys.recs(DEFAULT_USER)]
        raws = await self.service.reader.get_many(wanted)
        state = next(filter(None, raws[: len(names)]), None)
        listed = next(filter(None, raws[len(names) :]), None)
        session = None if state is None else decode_session(state)
        if session is None:  # forgotten, or long gone
            self._seen.pop(user, None)
        return Known(session, None if listed is None else decode_answer(listed))

    async def interact(self, user: str, item: str, kind: str) -> Done:
        """Have a user do something with an item; see :meth:`act`."""
        rule = self.service.settings.interactions.get(kind)
        value = None if rule is None else rule.positive_from
        name, now = _name(), Millis(self.service.now_ms())
        event = Interaction(timestamp=now, id=name, user=user, item=item, type=kind, value=value)
        return await self.act(user, name, event)

    async def ask(self, user: str, query: str) -> Done:
        """Have a user search; see :meth:`act`."""
        name, now = _name(), Millis(self.service.now_ms())
        return await self.act(user, name, Search(timestamp=now, id=name, user=user, query=query))

    async def act(self, user: str, name: str, event: Event) -> Done:
        """Publish a user's event, and wait until his list takes it into account.

        Parameters
        ----------
        user
            Who does it.
        name
            The event's id, by which it is known again in his state.
        event
            What he does.

        Raises
        ------
        BrokerError
            The event could not be published.
        StoreError
            Redis is away.
        RilletError
            It was published, and there is no new list after some seconds.
        """
        began, service = time.perf_counter(), self.service
        await service.publisher.publish([outgoing(encode(event), event, service.settings)])
        while time.perf_counter() < began + PATIENCE_S:
            known = await self.known(user)
            if known.session is not None and known.answer is not None:
                session, answer = known.session, known.answer
                if name in session.recent_ids and _covers(answer, session):
                    took = (time.perf_counter() - began) * 1000
                    self.took_ms.append(took)
                    return Done(known, took)
            await asyncio.sleep(LOOK_S)
        raise RilletError(
            f"the event was published, and {PATIENCE_S:g} s later there is no new list",
            "does `rillet up` run? `rillet doctor` says what is missing",
        )

    def note(self, user: str, what: str, took_ms: float | None, answer: Answer) -> None:
        """Remember a list that was seen, unless it is the one that was seen last."""
        seen = self._seen.setdefault(user, deque(maxlen=MOMENTS))
        self._seen.move_to_end(user)
        if not seen or seen[-1].answer.as_of != answer.as_of:
            seen.append(Moment(self.service.now_ms(), what, took_ms, answer))
        while len(self._seen) > USERS:
            self._seen.popitem(last=False)

    def seen(self, user: str) -> Sequence[Moment]:
        """Return the lists of a user that were seen, oldest first."""
        return tuple(self._seen.get(user, ()))


def _name() -> str:
    return f"console-{secrets.token_hex(8)}"


def _covers(answer: Answer, session: Session) -> bool:
    """Tell whether a list takes everything of a state into account."""
    mine, his = answer.as_of, session.as_of
    return mine.partition == his.partition and mine.offset >= his.offset
