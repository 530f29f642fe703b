"""Trains the planted pattern in as many processes as torchrun starts; one writes the losses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from accelerate import PartialState

from models.training import train
from tests.models.planted import material, network, teaching, walks

USERS: Final = 17
"""A batch and one more: some process has nothing to do in every second step."""

RUNS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "usual": ({"tasks": ("next", "purchase")}, {"loss": "softmax"}),
    "parts": ({"ids": False}, {"loss": "sampled", "negatives": 9, "accumulate": 2}),
    "tasks": ({"tasks": ("next", "purchase")}, {"weights": {"purchase": 1.0}}),
}
"""Shape of the network and how it is trained, where parameters go unused and where not."""


def losses() -> dict[str, list[list[float]]]:
    """Return each epoch's losses, trained on and held out."""
    found = {}
    for name, (shape, more) in RUNS.items():
        known = material(walks(USERS))
        trained = train(network(**shape), known, teaching(epochs=2, **more))
        found[name] = [[epoch.loss, epoch.held_out] for epoch in trained.epochs]
    return found


if __name__ == "__main__":
    found = losses()
    state = PartialState()  # as training has found it
    results = {"processes": state.num_processes, "losses": found}
    if state.is_main_process:
        Path(sys.argv[1]).write_text(json.dumps(results), "utf-8")
    state.destroy_process_group()
