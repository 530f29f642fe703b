"""The picture that ``rillet replay --plot`` draws: quality over time, and each source's worth."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from rillet.words import spoken
from stream.errors import LogError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from models.evaluation import Evaluation
    from models.steps import Mode

__all__ = ["draw_replay"]

BLEND: Final = "blend"
SHOWN: Final = "shown"
FEATURE: Final = "list."
"""Begins the names of features of shown lists, which are no sources."""

CURVES: Final = 4
"""Sources drawn beside the blend: more lines than that nobody can tell apart."""

INK: Final = "#22303c"
FAINT: Final = "#8a97a3"
TITLES: Final[dict[Mode, str]] = {
    "strict": "What comes next",
    "order": "What comes next, in log order",
    "stale": "What comes next, users as of the last training",
}
GRID: Final = "#e6eaee"
COLOURS: Final = {BLEND: "#d1495b", SHOWN: "#6c757d"}
PALETTE: Final = ("#2e86ab", "#edae49", "#3c9d6b", "#8661c1", "#00798c")


@dataclass(frozen=True)
class _Panel:
    """One measure: its curves over time, and its means."""

    title: str
    metric: str
    meters: dict[str, Any]
    means: dict[str, float]

    def leaders(self) -> list[str]:
        """Return the blend, the list as shown, and the best sources."""
        order = sorted(self.means, key=lambda name: -self.means[name])
        fixed = [name for name in (BLEND, SHOWN) if name in self.means]
        return fixed + [name for name in order if name not in fixed][:CURVES]

    def colour(self, name: str) -> str:
        """Return the same colour for a name in both of its plots."""
        if name in COLOURS:
            return COLOURS[name]
        alone = [one for one in self.leaders() if one not in COLOURS]
        return PALETTE[alone.index(name) % len(PALETTE)] if name in alone else "#c3ccd4"


def draw_replay(evaluation: Evaluation, report: dict[str, Any], target: Path) -> None:
    """Draw the figures of a replay to a PNG file (or what else the ending says).

    Raises
    ------
    LogError
        Nothing was measured, or the file cannot be written.
    """
    panels = _panels(evaluation, report)
    if not panels:
        raise LogError("nothing was measured, so there is nothing to draw", "lower --evaluate-from")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style = {
        **{"font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GRID},
        **{"xtick.color": FAINT, "ytick.color": FAINT, "axes.titleweight": "bold"},
        **{"axes.spines.top": False, "axes.spines.right": False},
    }
    with mpl.rc_context(style):  # type: ignore[arg-type]
        figure = _figure(plt, panels, report)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(target, dpi=140, facecolor="white")
        except (OSError, ValueError) as error:
            raise LogError(f"{target} cannot be written: {error}") from error
        finally:
            plt.close(figure)


def _panels(evaluation: Evaluation, report: dict[str, Any]) -> list[_Panel]:
    panels = []
    for mode, title in TITLES.items():
        figures = report.get("next", {}).get(mode, {})
        same = mode == "order" and figures == report["next"].get("strict")
        if BLEND in figures and not same:
            means = {name: one["hr@10"] for name, one in figures.items()}
            panels.append(_Panel(title, "HR@10", evaluation.next[mode], means))
    figures = report.get("rerank", {})
    if BLEND in figures:
        as_shown = figures[SHOWN]
        means = {
            name: one["ndcg@10"]
            for name, one in figures.items()  # without who says nothing and changes no order
            if name in (BLEND, SHOWN) or (not name.startswith(FEATURE) and one != as_shown)
        }
        panels.append(_Panel("Shown lists, reordered", "NDCG@10", evaluation.rerank, means))
    return panels


def _figure(plt: Any, panels: Sequence[_Panel], report: dict[str, Any]) -> Figure:
    figure, grid = plt.subplots(
        len(panels),
        2,
        figsize=(12, 0.9 + 3.7 * len(panels)),
        width_ratios=(2.1, 1),
        squeeze=False,
        layout="constrained",
    )
    for panel, (left, right) in zip(panels, grid, strict=True):
        _curves(left, panel)
        _bars(right, panel)
    name = Path(str(report["log"])).name
    rate = report["events"] / max(report["wall_s"], 1e-9)
    text = f"{name}: {report['events']:,} events, {rate:,.0f} a second"
    figure.suptitle(text, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return cast("Figure", figure)


def _curves(axes: Axes, panel: _Panel) -> None:
    for name in reversed(panel.leaders()):  # the blend last, so that it lies on top
        times, values = panel.meters[name].over_time()
        moments: Any = [dt.datetime.fromtimestamp(ms / 1000, dt.UTC) for ms in times]
        strong = name == BLEND
        axes.plot(
            moments,
            values,
            color=panel.colour(name),
            linewidth=2.6 if strong else 1.3,
            alpha=1.0 if strong else 0.85,
            label=spoken(name),
            solid_capstyle="round",
        )
    axes.set_title(f"{panel.title}: {panel.metric} over time", loc="left", fontsize=11)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    import matplotlib.dates as dates

    locator: Any = axes.xaxis.get_major_locator()
    formatter: Any = dates.ConciseDateFormatter
    if isinstance(locator, dates.AutoDateLocator):
        axes.xaxis.set_major_formatter(formatter(locator))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], frameon=False, fontsize=9, ncols=3, loc="upper left"
    ).set_zorder(5)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 1.22)  # room for the legend above the curves


def _bars(axes: Axes, panel: _Panel) -> None:
    names = sorted(panel.means, key=lambda name: panel.means[name])
    values = [panel.means[name] for name in names]
    axes.barh(
        [spoken(name) for name in names],
        values,
        color=[panel.colour(name) for name in names],
        height=0.72,
    )
    for place, value in enumerate(values):
        axes.text(value, place, f" {value:.3f}", va="center", fontsize=8.5, color=INK)
    axes.set_title(f"mean {panel.metric}", loc="left", fontsize=11)
    axes.tick_params(length=0, labelsize=9)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_xlim(0, max(values, default=1.0) * 1.18 or 1.0)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
