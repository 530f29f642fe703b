"""One run: processes are started, troubled and tended while a log is published."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from stream.faults import VARIABLE
from stream.kafka import KafkaSink
from tests.faults.nursery import Child
from tests.faults.schedule import LONG_PAUSE_S, NAMES, Action, Schedule
from tests.faults.shop import record_of
from tests.faults.stage import Run

__all__ = ["Scene", "StuckError"]

TICK_S: Final = 0.05
AGAIN_S: Final = 0.3
"""After a process has died, another one is started so much later."""

PATIENCE_S: Final = 45.0
REFUSED: Final = 2
"""Exit code of an error that Rillet raises on purpose."""

OLDER_S: Final = 1.3
"""What Redis loses when it loses its last seconds."""


class StuckError(Exception):
    """The consumers do not work off what was published, or do not end."""


@dataclass(eq=False)
class Player:
    """A consumer process of a run.

    Attributes
    ----------
    ending
        Whether it was told to end.
    deaf
        Whether it could not hear that, just forked as it was: then it simply dies.
    """

    name: str
    child: Child
    log: Path
    wakes_at: float | None = None
    leaves_at: float | None = None
    fault_pause: float = LONG_PAUSE_S
    ending: bool = False
    deaf: bool = False


@dataclass
class Scene:
    """Plays one schedule.

    Attributes
    ----------
    history
        What happened, with its time.
    crashed
        Processes that ended by an error that nobody had foreseen.
    """

    run: Run
    schedule: Schedule
    lines: list[bytes]
    random_choice: Callable[[list[Player]], Player]
    history: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)
    _players: list[Player] = field(default_factory=list)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _missing_since: dict[str, float] = field(default_factory=dict)
    _began: float = 0.0
    _started: int = 0
    _published: threading.Event = field(default_factory=threading.Event)
    _failed: list[BaseException] = field(default_factory=list)

    def play(self) -> None:
        """Play it to its end: everything published is worked off, and all processes have ended.

        Raises
        ------
        StuckError
            That does not come about.
        """
        self._began = time.monotonic()
        for name, wanted in self.schedule.wanted.items():
            for _ in range(wanted):
                self._start(name)
        publisher = threading.Thread(target=self._publish)
        publisher.start()
        for action in self.schedule.actions:
            self._at(action.at, partial(self._act, action))
            if action.kind == "lose":
                self._at(action.at - OLDER_S, self.run.redis.keep)
        try:
            while self._later or not self._published.is_set() or self._asleep():
                self._tick()
            publisher.join()
            if self._failed:
                raise self._failed[0]
            self._note("all is published, nothing more goes wrong")
            self._settle(NAMES)
            self._leave(("personalize",))
            self._settle(("neighbours", "catalogue", "archive"))
            self._leave(NAMES)
        finally:
            publisher.join()

    def kill(self) -> None:
        """Kill whoever still lives, and let everything flow."""
        self.run.stage.proxy.flow()
        for player in self._players:
            player.child.send(signal.SIGKILL)

    def _publish(self) -> None:
        try:
            sink = KafkaSink(self.run.direct.kafka)
            pace = self.schedule.publish_s / len(self.lines)
            began = time.monotonic()
            for number, line in enumerate(self.lines):
                sink.send(record_of(line, self.run.direct))
                time.sleep(max(0.0, began + number * pace - time.monotonic()))
            sink.flush()
            sink.close()
        except BaseException as error:  # told by the thread that waits for this one
            self._failed.append(error)
        self._published.set()

    def _note(self, text: str) -> None:
        self.history.append(f"{time.monotonic() - self._began:7.2f} s  {text}")

    def _at(self, at: float, do: Callable[[], None]) -> None:
        self._later.append((max(0.0, at), do))

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        self._at(time.monotonic() - self._began + seconds, do)

    def _tick(self) -> None:
        now = time.monotonic() - self._began
        due = [one for one in self._later if one[0] <= now]
        self._later = [one for one in self._later if one[0] > now]
        for _, do in sorted(due, key=lambda one: one[0]):
            do()
        self._tend(now)
        time.sleep(TICK_S)

    def _asleep(self) -> bool:
        return any(one.child.stopped for one in self._players)

    def _tend(self, now: float) -> None:
        """Wake who has slept long enough, and have enough of everybody."""
        for player in list(self._players):
            code = player.child.poll()
            if code is not None:
                self._gone(player, code)
            elif not player.child.stopped and player.child.asleep():
                player.child.stopped = True
                player.wakes_at = now + player.fault_pause
                self._note_point(player)
                self._note(f"{_who(player)} stands still at its point")
            elif player.child.stopped and now >= (player.wakes_at or 0.0):
                player.child.send(signal.SIGCONT)
                self._note(f"{_who(player)} goes on")
            elif player.leaves_at is not None and now >= player.leaves_at and not player.ending:
                self._end(player)
        for name in NAMES:
            mine = [one for one in self._players if one.name == name and not one.ending]
            awake = [one for one in mine if not one.child.stopped]
            if len(mine) >= self.schedule.wanted[name] and awake:
                self._missing_since.pop(name, None)
            elif now - self._missing_since.setdefault(name, now) >= AGAIN_S:
                self._start(name)

    def _gone(self, player: Player, code: int) -> None:
        self._players.remove(player)
        self._note(f"{_who(player)} ended with {code}")
        if code == -signal.SIGKILL:
            self._note_point(player)
        elif code == REFUSED:
            self._note(f"   it said: {_last_line(player.log)}")
        elif code != 0 and not (player.deaf and code == -signal.SIGTERM):
            self.crashed.append(f"{_who(player)} ended with {code}: {_last_line(player.log)}")

    def _note_point(self, player: Player) -> None:
        """Count the point at which a process died or stood still, where it was at one."""
        self.reached.update(_POINT.findall(player.log.read_text(errors="replace")))

    def _start(self, name: str, fault: str = "") -> Player:
        log = self.run.folder / f"{self._started:02d}-{name}.log"
        self._started += 1
        variables = self.run.variables | ({VARIABLE: fault} if fault else {})
        child = self.run.stage.nursery.start(["consume", name], variables, log)
        player = Player(name, child, log)
        self._players.append(player)
        self._missing_since.pop(name, None)
        self._note(f"{_who(player)} starts{f', to end at {fault}' if fault else ''}")
        return player

    def _end(self, player: Player) -> None:
        self._note(f"{_who(player)} is told to end")
        player.ending = True
        player.deaf = not player.child.hears(signal.SIGTERM)
        player.child.send(signal.SIGTERM)

    def _victim(self, name: str) -> Player | None:
        mine = [one for one in self._players if one.name == name and not one.ending]
        mine = [one for one in mine if not one.child.stopped]
        return self.random_choice(mine) if mine else None

    def _act(self, action: Action) -> None:
        self._note(f"-> {action}")
        if action.name in ("redis", "kafka"):
            self._trouble(action)
        elif action.kind == "start":
            player = self._start(action.name)
            player.leaves_at = time.monotonic() - self._began + action.seconds
        elif action.kind == "arm":
            if (victim := self._victim(action.name)) is not None:
                self._end(victim)
            player = self._start(action.name, f"{action.point}:{action.nth}:{action.end}")
            player.fault_pause = action.seconds
        elif (victim := self._victim(action.name)) is not None:
            if action.kind == "kill":
                victim.child.send(signal.SIGKILL)
            elif action.kind == "end":
                self._end(victim)
            elif action.kind == "pause":
                victim.wakes_at = time.monotonic() - self._began + action.seconds
                victim.child.send(signal.SIGSTOP)

    def _trouble(self, action: Action) -> None:
        """Do something to a server, or to the connections to it."""
        proxy = self.run.proxy if action.name == "redis" else self.run.stage.proxy
        if action.kind == "stall":
            proxy.stall()
            self._after(action.seconds, proxy.flow)
        elif action.kind == "drop":
            proxy.drop()
        elif action.kind == "cut":
            proxy.cut(action.nth)
        else:
            server = self.run.redis if action.name == "redis" else self.run.stage.kafka
            server.stop(kill=action.end == "kill")
            if action.kind == "lose":
                self.run.redis.put_back()
            self._after(action.seconds, server.start)

    def _settle(self, names: tuple[str, ...]) -> None:
        """Wait until these have nothing left to do."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            asks = time.monotonic() + 0.4
            behind = {name: at for name, at in self.run.behind().items() if name in names}
            if not behind and not self._asleep():  # who wakes may still do something
                return
            if time.monotonic() > deadline:
                raise StuckError(f"not worked off in {PATIENCE_S:.0f} s: {behind}")
            while time.monotonic() < asks:
                self._tick()

    def _leave(self, names: tuple[str, ...]) -> None:
        """Have these end, and wait for it."""
        leaving = [one for one in self._players if one.name in names]
        for player in leaving:
            if not player.ending:
                self._end(player)
        deadline = time.monotonic() + PATIENCE_S
        while any(one.child.poll() is None for one in leaving):
            if time.monotonic() > deadline:
                late = [_who(one) for one in leaving if one.child.poll() is None]
                raise StuckError(f"do not end in {PATIENCE_S:.0f} s: {', '.join(late)}")
            for one in leaving:
                if one.child.asleep():  # it has come to its point only now
                    self._note(f"{_who(one)} stands still at its point, and goes on")
                    one.child.send(signal.SIGCONT)
            time.sleep(TICK_S)
        for player in leaving:
            code = player.child.poll() or 0
            self._gone(player, code)
            if code == REFUSED:  # an error at the very end, when nothing goes wrong any more
                self.crashed.append(f"{_who(player)} does not end well: {_last_line(player.log)}")


def _who(player: Player) -> str:
    return f"{player.name} {player.child.pid}"


_POINT: Final = re.compile(r"the point '([a-z-]+)' is reached")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if "rror" in line]
    return (errors or lines or ["nothing"])[-1][:500]
