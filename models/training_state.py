"""The state of an unfinished run of training, on disk: safetensors and JSON, no pickle."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.sequence import SequenceModel
from stream.errors import ModelError

__all__ = ["load_state", "peek", "save_state"]

log = logging.getLogger(__name__)

FILE: Final = "run.safetensors"

MOMENTS: Final = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps of each weight."""

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
    unfinished = folder / f"{FILE}.part"
    save_file(tensors, unfinished, metadata={"books": json.dumps(books)})
    unfinished.replace(folder / FILE)


def peek(folder: Path) -> Books | None:
    """Return the books of the unfinished run in a folder; None where there is none to read."""
    try:
        with safe_open(folder / FILE, framework="pt") as opened:
            books: Books = json.loads(opened.metadata()["books"])
            if missing := {"mark", "epochs", "best", "items"} - books.keys():
                raise KeyError(*missing)
    except FileNotFoundError:
        return None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        log.warning("the unfinished run in %s cannot be read and is begun anew: %s", folder, error)
        return None
    return books


def load_state(
    folder: Path, model: SequenceModel, optimizer: torch.optim.Optimizer, books: Books
) -> tuple[Books, dict[str, Tensor]] | None:
    """Go on from :func:`save_state`; None where there is no such run to go on from.

    Parameters
    ----------
    folder
        Where it is.
    model, optimizer
        Changed in place.
    books
        Of a run that begins: its ``mark`` says what it is about, and an unfinished one of
        another mark is left alone; its ``items`` name the rows of the model, whose order and
        number may have changed.
    """
    found = peek(folder)
    if found is None or found["mark"] != books["mark"]:
        return None
    try:
        tensors = load_file(folder / FILE)
        if found["items"] != books["items"]:
            _move(tensors, model, optimizer, _rows(found["items"], books["items"]))
        best, mine = _within("best", tensors), _within("model", tensors)
        model.load_state_dict(best)  # both must fit before anything is kept
        model.load_state_dict(mine)
        optimizer.load_state_dict(optimizer.state_dict() | {"state": _optimizer_state(tensors)})
    except (SafetensorError, RuntimeError, LookupError, ValueError) as error:
        raise ModelError(
            f"the unfinished run in {folder} cannot be continued: {error}",
            "it is damaged, or of another model; delete the folder to begin anew",
        ) from error
    return found | {"items": books["items"]}, best


def _rows(before: list[str], now: list[str]) -> Tensor:
    """Return in which rows the items are now."""
    index = {name: row for row, name in enumerate(now)}
    return torch.tensor([index[name] for name in before], dtype=torch.int64)


def _move(
    tensors: dict[str, Tensor], model: SequenceModel, optimizer: torch.optim.Optimizer, rows: Tensor
) -> None:
    """Put what belongs to single items where they are now; new ones begin at zero."""
    order = [p for group in optimizer.param_groups for p in group["params"]]
    places = [number for number, one in enumerate(order) if one is model.ids]
    names = {"model.ids", "best.ids"}
    names |= {f"optimizer.{number}.{what}" for number in places for what in MOMENTS}
    for name in names & tensors.keys():
        if tensors[name].numel():
            moved = torch.zeros(model.ids.shape, dtype=tensors[name].dtype)
            moved[rows] = tensors[name]
            tensors[name] = moved


def _within(head: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(f"{head}."): t for n, t in tensors.items() if n.startswith(f"{head}.")}


def _optimizer_state(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _within("optimizer", tensors).items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = tensor
    return state
