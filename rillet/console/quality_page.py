"""The page "Quality": what `rillet replay` measured of every prediction before learning from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from nicegui import ui

from rillet.console.bars import bars
from rillet.console.curves import Curve, curves
from rillet.console.frame import element, heading, panel, text
from rillet.console.tables import facts, table
from rillet.words import spoken

__all__ = ["Figures", "QualityPage", "read_report"]

BLEND: Final = "blend"
CURVES: Final = 5
MODES: Final = ("strict", "order")

Figures = dict[str, Any]


def read_report(path: str) -> tuple[Figures, str]:
    """Return the figures of a replay, and what is wrong where there are none."""
    if not path:
        return {}, (
            "No figures yet: `rillet replay LOG --json report.json` measures them, and the setting "
            "serve.report names the file."
        )
    try:
        found = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        return {}, f"The figures in {path} cannot be read: {error}"
    if not isinstance(found, dict) or not isinstance(found.get("next"), dict):
        return {}, f"{path} is no report of `rillet replay --json`."
    return found, ""


class QualityPage:
    """One for each browser tab.

    Parameters
    ----------
    report
        The figures of a replay; empty where there are none.
    problem
        What is wrong with them.
    """

    def __init__(self, report: Figures, problem: str) -> None:
        self.report, self.problem = report, problem
        self.mode = next((mode for mode in MODES if report.get("next", {}).get(mode)), "")

    def build(self) -> None:
        """Make the page."""
        heading("Quality: each prediction is measured before it is learned from", 1)
        if not self.report or not self.mode:
            text("p", self.problem or "Nothing was measured in this replay.", "note")
            return
        with panel("The replay"):
            ui.html(facts(self._summary()), sanitize=False)
        with element("div", "grid"):
            with element("div"):
                with panel("HR@10 over time, by source"):
                    ui.html(self._over_time(self.mode), sanitize=False)
                with panel("Cold against warm: HR@10 by interactions behind a user"):
                    ui.html(self._cold(), sanitize=False)
            with panel("HR@10 by source, all of the log"):
                ui.html(self._by_source("hr@10"), sanitize=False)
        with element("div", "grid"):
            with panel("Popularity: which tenths of the catalogue lists go to"):
                ui.html(self._deciles(), sanitize=False)
            with panel("The same beside what is taken"):
                ui.html(self._biases(), sanitize=False)
        with panel("By source"):
            ui.html(self._table(), sanitize=False)

    def _means(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = self.report["next"][self.mode]
        return found

    def _summary(self) -> list[tuple[str, str]]:
        blend, popular = self._means().get(BLEND, {}), self._popular().get(BLEND, {})
        found = [
            ("log", Path(str(self.report.get("log", ""))).name),
            ("events", f"{self.report.get('events', 0):,}"),
            ("predictions", f"{blend.get('n', 0):,.0f}"),
            ("HR@10", f"{blend.get('hr@10', 0):.4f}"),
            ("NDCG@10", f"{blend.get('ndcg@10', 0):.4f}"),
            ("coverage", f"{blend.get('coverage', 0):.1%}"),
        ]
        if "novelty" in popular:
            found.append(("novelty, bits", f"{popular['novelty']:.1f}"))
        return found

    def _popular(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.report.get("popularity", {}).get(self.mode, {})
        return found

    def _ranked(self, metric: str) -> list[str]:
        """Return the sources, best first, after the blend."""
        means = self._means()
        alone = sorted((n for n in means if n != BLEND), key=lambda n: -means[n].get(metric, 0))
        return [BLEND, *alone]

    def _over_time(self, mode: str) -> str:
        found = self.report.get("over_time", {}).get(mode, {})
        names = [name for name in self._ranked("hr@10") if name in found][:CURVES]
        drawn = {spoken(n): Curve(found[n]["at"], found[n]["value"]) for n in names}
        return curves(drawn, "HR@10 over time of the blend and the best sources")

    def _by_source(self, metric: str) -> str:
        means = self._means()
        rows = [
            (spoken(name), means[name].get(metric, 0.0), f"{means[name].get(metric, 0.0):.3f}")
            for name in self._ranked(metric)
        ]
        return bars(rows, f"{metric} by source", main=BLEND)

    def _cold(self) -> str:
        sources = self.report.get("by_history", {}).get(self.mode, {})
        rows = []
        for bucket, figures in sources.get(BLEND, {}).items():
            alone = {n: its[bucket]["hr@10"] for n, its in sources.items() if bucket in its}
            alone.pop(BLEND)
            best = max(alone, key=lambda name: alone[name], default="")
            other = f"{alone[best]:.4f}" if best else ""
            hits = f"{figures['hr@10']:.4f}"
            rows.append((bucket, f"{figures['n']:,.0f}", hits, spoken(best), other))
        head = ("interactions", "predictions", "blend", "best source", "of it")
        return table(head, rows, "HR@10 by length of history", numbers=(1, 2, 4))

    def _deciles(self) -> str:
        popular = self._popular()
        if BLEND not in popular:
            return '<p class="soft">Not in this report: measure it anew.</p>'
        listed = popular[BLEND]["deciles"]
        return bars(
            [(_tenth(at), share, f"{share:.0%}") for at, share in enumerate(listed)],
            "Share of listed places by tenths of the catalogue, the most popular first",
        )

    def _biases(self) -> str:
        popular = self._popular()
        if BLEND not in popular:
            return ""
        listed, taken = popular[BLEND]["deciles"], popular["taken"]["deciles"]
        rows = [
            (_tenth(at), f"{share:.1%}", f"{taken[at]:.1%}", f"{share - taken[at]:+.1%}")
            for at, share in enumerate(listed)
        ]
        head = ("tenth of items", "of what is listed", "of what is taken", "more")
        return table(head, rows, "Popularity by decile", numbers=(1, 2, 3))

    def _table(self) -> str:
        means, popular = self._means(), self._popular()
        rows = [
            (
                spoken(name),
                *(f"{means[name].get(one, 0.0):.4f}" for one in ("hr@10", "ndcg@10", "mrr")),
                f"{means[name].get('coverage', 0.0):.1%}",
                f"{popular[name]['novelty']:.1f}" if "novelty" in popular.get(name, {}) else "",
                f"{popular[name]['deciles'][0]:.0%}" if popular.get(name) else "",
            )
            for name in self._ranked("ndcg@10")
        ]
        head = ("source", "HR@10", "NDCG@10", "MRR", "coverage", "novelty", "of the top tenth")
        return table(head, rows, "All figures by source", numbers=range(1, 7))


def _tenth(at: int) -> str:
    return {0: "most popular", 9: "least popular"}.get(at, f"{at + 1}.")
