"""Models offered while events are published: sound ones, and three ways of being broken."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.swap.models import break_file
from models.registry import Registry
from stream.announcement import Announced, announce
from stream.errors import RilletError
from stream.store import Store

__all__ = ["Offer", "Offering", "planned"]

COMMAND_S: Final = 60.0
"""How long the command that promotes may take."""

REFUSED: Final = 2
"""Its exit status where it refuses."""


@dataclass(slots=True)
class Offer:
    """One model that is offered.

    Attributes
    ----------
    what
        ``sound``; ``touched``: a bit is changed before; ``unusable``: all files are intact,
        but of a shape that is not the weights'; ``cut``: half a file, cut after it was
        promoted and before it is announced.
    version
        Which.
    due_s
        When, in seconds of the schedule.
    begun_s, took_s
        When it was really, and how long the promoting took.
    status
        Exit status of the command.
    said
        Its last line.
    """

    what: str
    version: str
    due_s: float
    begun_s: float = 0.0
    took_s: float = 0.0
    status: int = 0
    said: str = ""

    @property
    def promoted(self) -> bool:
        """Whether the consumers were told of it."""
        return self.status == 0

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return asdict(self)


def planned(models: Mapping[str, Any], seconds: float) -> list[Offer]:
    """Return three sound models and three broken ones, alternately, evenly over a time."""
    kinds = zip(("unusable", "touched", "cut"), models["broken"], strict=True)
    broken = {kind: Offer(kind, version, 0.0) for kind, version in kinds}
    sound = [Offer("sound", version, 0.0) for version in models["sound"]]
    order = (sound[0], broken["touched"], sound[1], broken["unusable"], broken["cut"], sound[2])
    for number, offer in enumerate(order, 1):
        offer.due_s = round(seconds * number / (len(order) + 1), 2)
    return list(order)


class Offering:
    """A thread that offers each model at its time, as a user would: with the command.

    Parameters
    ----------
    offers
        In order; they are filled in.
    folder
        The registry.
    store
        The consumers' Redis.
    environment
        Variables for the command.
    begin
        From when times count, by ``time.monotonic``.
    """

    def __init__(
        self,
        offers: Sequence[Offer],
        folder: Path,
        store: Store,
        environment: Mapping[str, str],
        begin: float,
    ) -> None:
        self._offers, self._folder, self._store = offers, folder, store
        self._environment, self._begin = environment, begin
        self._stop = threading.Event()
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="offers", daemon=True)

    def _run(self) -> None:
        try:
            for offer in self._offers:
                if self._stop.wait(max(0.0, self._begin + offer.due_s - time.monotonic())):
                    return
                self._offer(offer)
        except (RilletError, OSError, subprocess.SubprocessError) as error:
            self._trouble = error  # raised where the thread is joined

    def _offer(self, offer: Offer) -> None:
        if offer.what == "touched":
            break_file(self._folder, offer.version, cut=False)
        offer.begun_s = time.monotonic() - self._begin
        if offer.what == "cut":
            self._promote_and_cut(offer)
        else:
            self._command(offer)
        offer.took_s = time.monotonic() - self._begin - offer.begun_s

    def _command(self, offer: Offer) -> None:
        promote = ("-m", "rillet.cli.main", "models", "promote", offer.version)
        done = subprocess.run(
            [sys.executable, *promote],
            env=self._environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=COMMAND_S,
        )
        offer.status = done.returncode
        offer.said = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        wanted = REFUSED if offer.what == "touched" else 0
        if done.returncode != wanted:
            message = f"`rillet models promote` ended with {done.returncode} instead of {wanted}"
            raise RilletError(f"{message}, of a model that is {offer.what}: {done.stderr[-2000:]}")

    def _promote_and_cut(self, offer: Offer) -> None:
        registry = Registry(str(self._folder))
        at = registry.promote(offer.version).current.at
        break_file(self._folder, offer.version, cut=True)
        announce(self._store, "sequence", Announced(offer.version, registry.url, at))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        self._thread.join()
        if kind is None and self._trouble is not None:
            raise self._trouble
