"""The state of an unfinished run of training, on disk: safetensors and JSON, no pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stream.errors import ModelError

__all__ = ["load_state", "save_state"]

Books = dict[str, Any]


def save_state(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    books: Books,
    best: dict[str, Tensor],
) -> None:
    """Write the state after a pass; what was there stays until all of it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    unfinished = folder / "run.safetensors.part"
    save_file(tensors, unfinished, metadata={"books": json.dumps(books)})
    unfinished.replace(folder / "run.safetensors")


def load_state(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Books, dict[str, Tensor]] | None:
    """Go on from :func:`save_state`; None where there is nothing to go on from.

    Raises
    ------
    ModelError
        It is of another model, or damaged.
    """
    path = folder / "run.safetensors"
    if not path.exists():
        return None
    from safetensors import safe_open

    try:
        tensors = load_file(path)
        with safe_open(path, framework="pt") as opened:
            books: Books = json.loads(opened.metadata()["books"])
        model.load_state_dict(_within("model", tensors))
        optimizer.load_state_dict(optimizer.state_dict() | {"state": _optimizer_state(tensors)})
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise ModelError(
            f"the unfinished run in {folder} cannot be continued: {error}",
            "it is damaged, or of another model; delete the folder to begin anew",
        ) from error
    return books, _within("best", tensors)


def _within(head: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(f"{head}."): t for n, t in tensors.items() if n.startswith(f"{head}.")}


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _within("optimizer", tensors).items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = tensor
    return state
