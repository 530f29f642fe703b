"""The picture that ``rillet explain --attention`` draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rillet.attention import Looks
from stream.errors import LogError, NothingYetError

__all__ = ["draw_looks"]

SHOWN: Final = 32
"""Interactions drawn, the last ones: of more nobody could read the names."""

LONGEST: Final = 28
"""Letters of a title."""


def draw_looks(looks: Looks, user: str, target: Path) -> None:
    """Draw which interactions each head of the Transformer looks at, to a PNG file.

    Raises
    ------
    NothingYetError
        The user took nothing.
    LogError
        The file cannot be written.
    """
    if not looks.looks:
        raise NothingYetError(f"{user} took nothing yet, so the Transformer looks at nothing", "")
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    weights = looks.array()[:, :, -SHOWN:]
    layers, heads, count = weights.shape
    figure, axes = plt.subplots(figsize=(2.5 + 0.42 * count, 2.4 + 0.42 * layers * heads))
    picture: Any = axes.imshow(
        weights.reshape(layers * heads, count), cmap="Blues", vmin=0.0, aspect="auto"
    )
    names = [(one.title or one.item)[:LONGEST] for one in looks.looks[-SHOWN:]]
    axes.set_xticks(range(count), names, rotation=60, ha="right", fontsize=8)
    rows = [f"block {n + 1}, head {k + 1}" for n in range(layers) for k in range(heads)]
    axes.set_yticks(range(layers * heads), rows, fontsize=8)
    axes.set_title(f"What the last interaction of {user} looks at, {looks.model}", loc="left")
    axes.set_xlabel("interactions, oldest first")
    figure.colorbar(picture, ax=axes, label="share of attention")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=140, facecolor="white", bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise LogError(f"{target} cannot be written: {error}") from error
    finally:
        plt.close(figure)
