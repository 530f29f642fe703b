"""Latency and memory over time, with the moments at which models were offered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.swap.figures import Sight

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

INK: Final = "#22303c"
GRID: Final = "#e6eaee"
SOUND: Final = "#3c9d6b"
BROKEN: Final = "#d1495b"


def draw(sight: Sight, target: Path) -> None:
    """Write a PNG file, or what else the ending says."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: dict[str, Any] = {
        **{"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True},
        **{"grid.color": GRID, "legend.frameon": False},
    }
    with mpl.rc_context(style):  # type: ignore[arg-type]
        figure, (above, below) = plt.subplots(
            2, 1, sharex=True, figsize=(8, 4.6), height_ratios=(3, 2), layout="constrained"
        )
        _latency(above, sight)
        below.plot(*zip(*sight.memory, strict=True), color=INK, linewidth=1)
        below.set_ylabel("memory, MiB")
        below.set_ylim(bottom=0)
        below.set_xlabel("seconds")
        below.set_xlim(0, sight.at_s[-1])
        for axes in (above, below):
            for offer in sight.offers:
                colour = SOUND if offer.what == "sound" else BROKEN
                axes.axvline(offer.begun_s, color=colour, linewidth=1, linestyle="--")
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=90)
        plt.close(figure)


def _latency(axes: Axes, sight: Sight) -> None:
    pairs = zip(sight.at_s, sight.seen.delays_s, strict=True)
    seen = np.array([(at, delay * 1000) for at, delay in pairs if delay is not None])
    axes.plot(seen[:, 0], seen[:, 1], ".", color="#2e86ab", markersize=1.5)
    axes.set_yscale("log")
    axes.set_ylabel("event to list, ms")
    for offer in sight.offers:
        colour = SOUND if offer.what == "sound" else BROKEN
        label = f" {offer.what}"
        height = axes.get_ylim()[1]
        axes.annotate(label, (offer.begun_s, height), color=colour, va="top", fontsize=8)
