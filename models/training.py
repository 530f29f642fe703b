"""One run of training: a sequence model, fine-tuned on a window of the stream.

The same code serves the first model and every later one, the command, the
periodic job and the replay. Batches, devices, precision and processes are
Hugging Face Accelerate's. The same seed and data give the same weights on a
CPU, also over an interruption: each epoch draws from a seed of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from numpy.typing import NDArray
from torch import Tensor

from models import losses
from models.interactions import Windows, windows
from models.manifest import stamp
from models.schedule import groups_of, rate_at
from models.sequence import SequenceModel, Task
from models.training_data import Material, batch_of, log_shares, split
from models.training_state import load_state, save_state
from stream.errors import ModelError

__all__ = [
    "Epoch",
    "TrainConfig",
    "Trained",
    "Watch",
    "accelerator_of",
    "is_first",
    "only_cpu",
    "run_name",
    "train",
]

FULL_UP_TO: Final = 20_000
"""Items up to which ``auto`` takes the softmax over all of them."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train.

    Attributes
    ----------
    epochs, patience
        Passes at the most, and without a lower held-out loss before it stops.
    batch
        Sequences of a step, over all processes and accumulated parts.
    accumulate
        Parts that a step is computed in.
    learning_rate, weight_decay, warmup
        Of AdamW; the share of steps over which the rate rises, before it falls to 0.
    holdout
        Share of the window, its end, that is held out to stop early.
    past
        Interactions from before the window that are trained on again, per one of it.
    alike
        What the first of several interactions of one time counts for, at the most.
    loss
        ``softmax``, ``sampled``, ``gbce``, or ``auto``: softmax up to 20,000 items.
    negatives
        Drawn for a step, where the loss samples.
    weights
        Task to its weight beside that of the next item.
    precision
        ``no``, ``bf16``, ``fp16``.
    seed
        Of everything drawn.
    """

    epochs: int = 10
    patience: int = 2
    batch: int = 64
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    holdout: float = 0.1
    past: float = 1.0
    alike: int = 10
    loss: Literal["auto", "softmax", "sampled", "gbce"] = "auto"
    negatives: int = 512
    weights: dict[Task, float] = field(default_factory=dict)
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass came to: mean losses, and how many sequences it had."""

    number: int
    loss: float
    held_out: float
    sequences: int


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run came to.

    Attributes
    ----------
    epochs
        All passes.
    best
        Number of the pass whose weights the model has now.
    predictions
        Interactions trained on in a pass, and held out.
    """

    epochs: list[Epoch]
    best: int
    predictions: tuple[int, int]


Watch = Callable[[int, int, float], None]
"""Called after each step: steps done, steps of the epoch, loss."""


def train(
    model: SequenceModel,
    material: Material,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    logs: Path | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train a model in place.

    Parameters
    ----------
    model
        New or trained before.
    material
        What from.
    config
        How.
    folder
        Where the run's state is kept after each pass, to go on from after a kill.
    logs
        Folder of TensorBoard logs; each run, named by its last event's time, writes its own.
    watch
        Told of the progress.

    Raises
    ------
    ModelError
        There is nothing to learn from.
    """
    run = _Run(model, material, config, logs)
    try:
        return run.go(folder, watch)
    finally:
        run.end()


class _Run:
    """One run's arrays, optimiser and books."""

    def __init__(
        self, model: SequenceModel, material: Material, config: TrainConfig, logs: Path | None
    ) -> None:
        self._config, self._data = config, material.data
        self._fit, self._held = split(material, config.holdout, config.past, config.seed)
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        items = np.unique(self._data.item).astype(np.int64)
        model.welcome(torch.from_numpy(items), generator)
        self._accelerator = accelerator_of(config.precision, logs)
        if logs is not None:
            self._accelerator.init_trackers(run_name(material))
        self._optimizer = torch.optim.AdamW(
            groups_of(model, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.98)
        )
        self._net, self._optimizer = self._accelerator.prepare(model, self._optimizer)
        self._model, self._steps = model, 0
        self._mark = material.mark() | {"config": asdict(config), "net": asdict(model.config)}
        self._mark = json.loads(json.dumps(self._mark))  # as it is read back
        self._names = list(material.items)
        self._queries = torch.from_numpy(material.queries)
        self._item = torch.from_numpy(self._data.item.astype(np.int64))
        self._log_q = log_shares(self._data, len(model.contents))

    def go(self, folder: Path | None, watch: Watch | None) -> Trained:
        config, model = self._config, self._model
        books: dict[str, Any] = {"epochs": [], "best": -1, "mark": self._mark, "items": self._names}
        best = _copy(model)
        if folder is not None and (found := load_state(folder, model, self._optimizer, books)):
            books, best = found
        self._steps = sum(math.ceil(e["sequences"] / config.batch) for e in books["epochs"])
        held = windows(self._data, model.config.length, self._held, None, config.alike)
        for number in range(len(books["epochs"]), config.epochs):
            if number and number - 1 - books["best"] >= config.patience:
                break
            torch.manual_seed(config.seed * 1_000_003 + number)
            rng = np.random.default_rng((config.seed, number))
            cut = windows(self._data, model.config.length, self._fit, rng, config.alike)
            if not len(cut):
                raise ModelError(
                    "nobody did anything before what is to be learned: no sequence has two items",
                    "publish more events, with the same user or session for what belongs together",
                )
            loss = self._epoch(cut, number, rng, watch)
            held_loss = self._measure(held) if len(held) else loss
            epoch = Epoch(number, loss, held_loss, len(cut))
            lowest = min((e["held_out"] for e in books["epochs"]), default=math.inf)
            books["epochs"].append(_plain(epoch))
            passed = {"loss/pass": loss, "loss/held out": held_loss, "sequences": len(cut)}
            self._accelerator.log(passed, step=number + 1)
            if held_loss < lowest:
                books["best"], best = number, _copy(model)
            if folder is not None and self._accelerator.is_main_process:
                save_state(folder, model, self._optimizer, books, best)
        self._accelerator.unwrap_model(self._net, keep_fp32_wrapper=False)
        if books["best"] < 0:
            raise ModelError(
                "the training diverged: no pass ended with a finite loss",
                "lower transformer.learning_rate",
            )
        model.load_state_dict(best)
        model.cpu().eval()
        epochs = [Epoch(**one) for one in books["epochs"]]
        return Trained(epochs, books["best"], (int(self._fit.sum()), int(self._held.sum())))

    def end(self) -> None:
        """Close the logs."""
        for tracker in self._accelerator.trackers:  # `end_training` would part the processes
            tracker.finish()

    def _epoch(
        self, cut: Windows, number: int, rng: np.random.Generator, watch: Watch | None
    ) -> float:
        config = self._config
        order = rng.permutation(len(cut))
        steps = math.ceil(len(order) / config.batch)
        total = weight = 0.0
        self._net.train()
        for step in range(steps):
            rows = order[step * config.batch : (step + 1) * config.batch]
            rate = rate_at(number * steps + step, config.epochs * steps, config.warmup)
            for group in self._optimizer.param_groups:
                group["lr"] = config.learning_rate * rate
            loss, count = self._step(cut, rows, rng)
            total, weight = total + loss * count, weight + count
            self._steps += 1
            logged = {"loss/step": loss, "rate": config.learning_rate * rate}
            self._accelerator.log(logged, step=self._steps)
            if watch is not None:
                watch(step + 1, steps, loss)
        return total / max(weight, 1e-9)

    def _step(
        self, cut: Windows, rows: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[float, float]:
        accelerator, config = self._accelerator, self._config
        whole = float(cut.share[rows].sum())
        negatives = self._negatives(rng)
        parts = np.array_split(rows, config.accumulate)
        total = 0.0
        for part in parts:
            mine = part[accelerator.process_index :: accelerator.num_processes]
            # Every process adds its part; DDP takes their mean, so each is weighed up again.
            with accelerator.autocast():
                loss = self._loss(cut, mine, negatives) * accelerator.num_processes / whole
                if accelerator.num_processes > 1:  # they wait for each other's every gradient
                    loss = loss + 0 * torch.stack([p.sum() for p in self._net.parameters()]).sum()
            accelerator.backward(loss)
            total += float(accelerator.reduce(loss.detach(), "mean"))
        accelerator.clip_grad_norm_(self._net.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return total, whole

    def _loss(self, cut: Windows, rows: NDArray[np.int64], negatives: Tensor | None) -> Tensor:
        """Return the summed loss of some windows."""
        device = self._accelerator.device
        batch = batch_of(self._data, cut.at[rows], self._queries, cut.after[rows]).to(device)
        table = self._model.items()
        outputs = self._net(batch, table)
        share = torch.from_numpy(cut.share[rows]).to(device)
        asked = share > 0
        after = torch.from_numpy(cut.after[rows][cut.share[rows] > 0].astype(np.int64))
        target = self._item[after].to(device)
        outputs = outputs[asked]
        each = self._next_loss(outputs, table, target, negatives)
        for task, weight in self._config.weights.items():
            each = each + weight * self._task_loss(task, outputs, table[target], after)
        return torch.as_tensor((each * share[asked]).sum())

    def _next_loss(
        self, outputs: Tensor, table: Tensor, target: Tensor, negatives: Tensor | None
    ) -> Tensor:
        if negatives is None:
            return losses.softmax(outputs, table, target)
        if self._config.loss == "gbce":
            return losses.gbce(outputs, table, target, negatives)
        return losses.sampled_softmax(
            outputs, table, target, negatives, self._log_q.to(outputs.device)
        )

    def _task_loss(self, task: Task, outputs: Tensor, taken: Tensor, after: Tensor) -> Tensor:
        """Return a further task's losses (M,), 0 where the event has no label."""
        data = self._data
        said = self._model.judge(task, outputs, taken)
        if task == "purchase":
            label = torch.from_numpy(data.bought)[after].to(said)
            return torch.nn.functional.binary_cross_entropy_with_logits(
                said, label, reduction="none"
            )
        value = torch.from_numpy(data.value)[after].to(said)
        known = ~value.isnan()
        return torch.where(known, (said - value.nan_to_num()) ** 2, 0.0)

    def _negatives(self, rng: np.random.Generator) -> Tensor | None:
        """Draw a step's negatives; None where the loss is over all items."""
        n, config = len(self._model.contents), self._config
        loss = config.loss
        if loss == "softmax" or (loss == "auto" and n <= FULL_UP_TO):
            return None
        if loss == "gbce":
            drawn = rng.integers(0, n, config.negatives)
        else:
            drawn = rng.choice(n, config.negatives, p=np.exp(self._log_q.numpy()))
        return torch.from_numpy(drawn).to(self._accelerator.device)

    @torch.no_grad()
    def _measure(self, held: Windows) -> float:
        """Return the mean full-softmax loss of held-out predictions."""
        self._net.eval()
        total = 0.0
        size = self._config.batch
        for rows in np.array_split(np.arange(len(held)), math.ceil(len(held) / size)):
            total += float(self._loss(held, rows, None))
        return total / float(held.share.sum())


def run_name(material: Material) -> str:
    """Return what a run is called in the logs: one that is resumed has the name that it had."""
    start = f"-from-{material.parent}" if material.parent else ""
    return stamp(material.until_ms) + start


def _copy(model: SequenceModel) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _plain(epoch: Epoch) -> dict[str, Any]:
    return {name: getattr(epoch, name) for name in Epoch.__slots__}


def accelerator_of(precision: str, logs: Path | None = None) -> Accelerator:
    """Return what a run computes by, in its own precision whatever ran in this process before.

    Parameters
    ----------
    precision
        ``no``, ``bf16`` or ``fp16``.
    logs
        Folder of TensorBoard logs; None keeps none.
    """
    # Accelerate has one precision for all of a process: the first one's, until it is forgotten.
    # What it knows of the other processes stays.
    AcceleratorState._reset_state()
    return Accelerator(
        mixed_precision=precision,
        cpu=only_cpu(),
        log_with="tensorboard" if logs is not None else None,
        project_dir=logs,
    )


def is_first() -> bool:
    """Tell whether this is the first of the processes that train together, or the only one."""
    return bool(PartialState(cpu=only_cpu()).is_main_process)


def only_cpu() -> bool:
    """Tell whether there is no device; Accelerate does not join processes on a CPU unasked."""
    devices = (torch.cuda, torch.xpu, torch.backends.mps)
    return not any(device.is_available() for device in devices)
