"""The page "Operations": what the consumers do, how fresh lists are, which models they use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, cast

from nicegui import ui
from nicegui.events import GenericEventArguments

from models.manifest import Kind
from rillet.console.bars import bars
from rillet.console.curves import curves
from rillet.console.desk import Desk
from rillet.console.frame import element, heading, panel, text
from rillet.console.gate import LOGGED_OUT, Admission
from rillet.console.tables import facts, table
from rillet.console.versions import Version, promote, rollback, versions
from rillet.console.watch import Seen, Watch, percentile
from rillet.state import State
from rillet.words import ago
from stream.errors import RilletError
from stream.metrics import Pulse
from stream.settings import Settings

__all__ = ["OperationsPage"]

EVERY_S: Final = 2.0
MODELS_S: Final = 10.0
STEPS: Final = 12
MAKER: Final = "personalize"
TONES: Final = {"current": "good", "before": "", "refused": "warn", "damaged": "bad"}


class OperationsPage:
    """One for each browser tab; looks again every two seconds.

    Parameters
    ----------
    desk, watch
        What the pages share.
    admission
        Says whether models may be promoted.
    """

    def __init__(self, desk: Desk, watch: Watch, admission: Admission) -> None:
        self.desk, self.watch, self.admission = desk, watch, admission
        self._models: list[Version] | None = None

    async def build(self) -> None:
        """Make the page."""
        heading("Operations", 1)
        self._told = text("p", "", "soft", role="status")
        with panel("Now"):
            self._facts = ui.html("", sanitize=False)
        with panel("Consumers"):
            self._consumers = ui.html("", sanitize=False)
        with element("div", "grid"):
            with panel("Events a second"):
                self._rates = ui.html("", sanitize=False)
            with panel("Records that wait"):
                self._lags = ui.html("", sanitize=False)
        with element("div", "grid"):
            with panel("Freshness"):
                self._fresh = ui.html("", sanitize=False)
            with panel("Time by step"):
                self._steps = ui.html("", sanitize=False)
        with panel("Dead letters and drift"):
            self._letters = ui.html("", sanitize=False)
        with panel("Model versions"):
            if not self.admission.may("admin"):
                text("p", "To promote, log in by a key with the scope admin.", "soft")
            self._done = text("p", "", "soft", role="status")
            self._versions = element("div")
        await self._look()
        await self._look_for_models()
        ui.timer(EVERY_S, self._look)
        ui.timer(MODELS_S, self._look_for_models)

    async def _look(self) -> None:
        try:
            seen = await self.watch.seen()
        except RilletError as error:
            self._told.text = str(error)
            return
        state = seen.state
        self._told.text = state.kafka
        self._facts.content = facts(self._now(state))
        self._consumers.content = _consumers(state)
        self._rates.content = curves(
            self.watch.rates(), "Events a second by consumer", form="{:,.3g}".format
        )
        self._lags.content = curves(
            self.watch.lags(), "Records that wait, by consumer", form="{:,.3g}".format
        )
        self._fresh.content = _freshness(list(self.desk.took_ms), state)
        self._steps.content = _steps(state)
        self._letters.content = _letters(seen)

    def _now(self, state: State) -> list[tuple[str, str]]:
        now, making = self.desk.service.now_ms(), [p for p in state.processes if p.name == MAKER]
        newest = "" if state.newest is None else ago(max(0, now - state.newest))
        found = [
            ("events a second", _rate(making) if making else "no consumer"),
            ("records that wait", f"{sum(pulse.lag for pulse in state.processes):,}"),
            ("newest event", newest or "none yet"),
            ("blend", state.model or "none yet"),
        ]
        return [*found, *((f"lag of {name}", f"{lag:,}") for name, lag in state.lag.items())]

    async def _look_for_models(self) -> None:
        try:
            found = await asyncio.to_thread(versions, self.desk.service.settings)
        except RilletError as error:
            self._done.text = str(error)
            return
        if found != self._models:
            self._models = found
            self._show_models(found)

    def _show_models(self, found: list[Version]) -> None:
        self._versions.clear()
        with self._versions:
            if not found:
                place = self.desk.service.settings.training.registry
                text("p", f"No model was trained yet: {place} is empty. rillet train makes one.")
                return
            with element("div", "scroll", role="region", aria_label="Models", tabindex="0"):
                with element("table"), element("tbody"):
                    with element("tr"):
                        for name in ("version", "kind", "status", "made", "notes", "change"):
                            text("th", name, scope="col")
                    for one in found:
                        self._row(one)

    def _row(self, one: Version) -> None:
        age = ago(time.time() * 1000 - one.made_at) if one.made_at else ""
        with element("tr"):
            text("td", one.version)
            text("td", one.kind)
            with element("td"):
                text("span", one.status, f"badge {TONES.get(one.status, '')}")
            text("td", age)
            text("td", one.notes)
            with element("td"):
                if one.status == "current" and one.back:
                    self._button("Roll back", one, lambda s: rollback(s, cast(Kind, one.kind)))
                elif one.status not in ("current", "damaged"):
                    self._button("Promote", one, lambda s: promote(s, one.version))

    def _button(self, words: str, one: Version, change: Callable[[Settings], str]) -> None:
        async def clicked(_: GenericEventArguments) -> None:
            if not self.admission.may("admin"):
                self._done.text = LOGGED_OUT
                return
            try:
                self._done.text = await asyncio.to_thread(change, self.desk.service.settings)
            except RilletError as error:
                self._done.text = f"{error}. {error.mend}"
            await self._look_for_models()

        button = text("button", words, type="button", aria_label=f"{words}: {one.version}")
        if self.admission.may("admin"):
            button.on("click", clicked)
        else:
            button.props["disabled"] = True


def _pulse(state: State) -> Pulse | None:
    """Return the heartbeat of a consumer that makes lists."""
    return next((pulse for pulse in state.processes if pulse.name == MAKER), None)


def _rate(pulses: list[Pulse]) -> str:
    return f"{sum(pulse.events_per_s for pulse in pulses):,.0f}"


def _consumers(state: State) -> str:
    if not state.processes:
        return '<p class="problem">No consumer is running: <code>rillet up</code></p>'
    rows = [
        (
            pulse.name,
            f"{pulse.host}:{pulse.pid}",
            ago(max(0, state.at - pulse.started_at)).removesuffix(" ago"),
            f"{pulse.events:,}",
            f"{pulse.events_per_s:,.0f}",
            f"{pulse.lag:,}",
            str(len(pulse.partitions)),
        )
        for pulse in state.processes
    ]
    head = ("consumer", "process", "up", "records", "a second", "waiting", "partitions")
    return table(head, rows, "Running consumers", numbers=range(2, 7))


def _freshness(took: list[float], state: State) -> str:
    clicks = [
        (f"p{share * 100:g}", percentile(took, share), f"{percentile(took, share):.0f} ms")
        for share in (0.5, 0.9, 0.99)
    ]
    parts = ['<p class="soft">From a click in this console to its readable list, ']
    parts.append(f"{len(took):,} clicks</p>")
    parts.append(bars(clicks, "Freshness of clicks") if took else "")
    if (pulse := _pulse(state)) is not None and pulse.fresh.count:
        fresh = pulse.fresh
        both = [("p50", fresh.p50_us), ("p99", fresh.p99_us)]
        rows = [(name, us, f"{us / 1000:,.0f} ms") for name, us in both]
        parts.append('<p class="soft">From the broker’s time of a batch’s oldest record until ')
        parts.append(f"its lists are written, {fresh.count:,} batches of one process</p>")
        parts.append(bars(rows, "Freshness of batches"))
    return "".join(parts)


def _steps(state: State) -> str:
    pulse = _pulse(state)
    if pulse is None or not pulse.steps:
        return '<p class="soft">Nothing was measured yet.</p>'
    slowest = sorted(pulse.steps.items(), key=lambda one: -one[1].wall_us)
    rows = [
        (name, f"{one.count:,}", f"{one.p50_us / 1000:.2f}", f"{one.p99_us / 1000:.2f}")
        for name, one in slowest[:STEPS]
        if name != "poll"
    ]
    return table(("step", "runs", "p50 ms", "p99 ms"), rows, "Time by step", numbers=(1, 2, 3))


def _letters(seen: Seen) -> str:
    state = seen.state
    dead, drifts = state.set_aside(), state.counters().get("drift", 0)
    found = [("drift: times the loss rose", f"{drifts:,}")]
    if state.deadletters is not None:
        found.append(("letters on the topic", f"{state.deadletters:,}"))
    found += [(f"dead since the start: {reason}", f"{count:,}") for reason, count in dead.items()]
    if not dead:
        found.append(("dead since the start", "0"))
    rows = [(one.reason, one.field, one.message, one.name) for one in seen.letters]
    head = ("reason", "field", "what is wrong", "from")
    return facts(found) + (table(head, rows, "Newest dead letters") if rows else "")
