"""A run of training: it learns, it can be repeated and interrupted, and it forgets little."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from torch import Tensor

from models.interactions import windows
from models.losses import softmax
from models.manifest import stamp
from models.schedule import groups_of, rate_at
from models.sequence import SequenceModel, Task
from models.training import TrainConfig, Trained, run_name, train
from models.training_data import Material, batch_of, split
from stream.errors import ModelError
from tests.builders import DAY, NOON
from tests.models.planted import (
    ITEMS,
    NO_QUERIES,
    columns,
    contents,
    hits,
    leads,
    material,
    network,
    teaching,
    walks,
)
from tests.models.processes import losses

DROPPING: dict[str, Any] = {"dropout": 0.2, "id_dropout": 0.2}
FEW = 4
STATE = "run.safetensors"


def trained(
    config: TrainConfig, known: Material | None = None, **shape: Any
) -> tuple[SequenceModel, Trained]:
    model = network(**shape)
    return model, train(model, known or material(), config)


def weights(model: SequenceModel) -> dict[str, Tensor]:
    return dict(model.state_dict())


def same(one: SequenceModel, other: SequenceModel) -> bool:
    pairs = zip(weights(one).values(), weights(other).values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("block", ["ligr", "sasrec"])
def test_a_planted_pattern_is_learned(block: str) -> None:
    model, run = trained(teaching(), block=block)
    assert hits(model) > 0.9
    assert run.epochs[-1].loss < run.epochs[0].loss / 10
    assert run.epochs[-1].held_out < 0.2
    assert [epoch.number for epoch in run.epochs] == list(range(12))
    assert run.predictions == (303, 33)
    assert not model.training


@pytest.mark.parametrize("loss", ["sampled", "gbce"])
def test_a_planted_pattern_is_learned_from_samples(loss: Any) -> None:
    model, _ = trained(teaching(loss=loss, negatives=6, epochs=24))
    assert leads(model) > 0.9


@pytest.mark.parametrize("loss", ["softmax", "sampled", "gbce"])
def test_one_seed_and_one_material_give_the_same_weights(loss: Any) -> None:
    def once(seed: int) -> tuple[SequenceModel, Trained]:
        torch.manual_seed(99)  # what was drawn before does not count
        return trained(teaching(epochs=2, loss=loss, negatives=6, seed=seed), **DROPPING)

    (one, run), (other, again), (third, _) = once(0), once(0), once(1)
    assert same(one, other)
    assert run == again
    assert not same(one, third)


def test_an_item_that_nobody_touched_stays_what_its_content_says() -> None:
    model = network(contents(ITEMS + 3))
    train(model, material(), teaching(epochs=2))
    assert bool(model.ids[:ITEMS].abs().sum(dim=1).gt(0).all())
    assert not model.ids[ITEMS:].any()


def test_progress_is_told_step_by_step() -> None:
    told: list[tuple[int, int, float]] = []
    run = train(network(), material(), teaching(epochs=2), watch=lambda *step: told.append(step))
    assert len(told) == sum(-(-epoch.sequences // 16) for epoch in run.epochs)
    steps = [(done, of) for done, of, _ in told if done == of]
    assert len(steps) == 2
    assert all(np.isfinite(loss) for _, _, loss in told)


# --- logs


def logged(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard reads in a folder."""
    read = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def near(values: list[tuple[int, float]]) -> Any:
    return [pytest.approx(value) for value in values]


def test_the_passes_and_steps_of_a_run_are_logged(tmp_path: Path) -> None:
    config, told = teaching(epochs=3), []
    run = train(
        *(network(), material(), config),
        logs=tmp_path,
        watch=lambda *step: told.append(step[2]),
    )
    (folder,) = tmp_path.iterdir()
    assert folder.name == stamp(material().until_ms) == run_name(material())
    assert run_name(replace(material(), parent="p")) == f"{folder.name}-from-p"
    found = logged(folder)
    passes = [(epoch.number + 1, epoch.loss, epoch.held_out) for epoch in run.epochs]
    assert found["loss/pass"] == near([(n, loss) for n, loss, _ in passes])
    assert found["loss/held out"] == near([(n, held) for n, _, held in passes])
    assert found["sequences"] == [(e.number + 1, e.sequences) for e in run.epochs]
    assert found["loss/step"] == near(list(enumerate(told, start=1)))
    rates = [rate for _, rate in found["rate"]]
    assert max(rates) == pytest.approx(config.learning_rate) and rates[-1] < max(rates) / 10


def test_a_run_without_logs_writes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train(network(), material(), teaching(epochs=1))
    assert not list(tmp_path.iterdir())


# --- interruptions


class Killed(Exception):
    """What a kill is here."""


def kill_in(epoch: int) -> Callable[[int, int, float], None]:
    """Return a watch that ends the run in the middle of an epoch."""
    begun = 0

    def watch(step: int, steps: int, loss: float) -> None:
        nonlocal begun
        begun += step == 1
        if begun > epoch and step == 2:
            raise Killed

    return watch


def resumed(folder: Path, config: TrainConfig, **more: Any) -> tuple[SequenceModel, Trained]:
    model = network(**DROPPING)
    return model, train(model, material(), config, folder=folder, **more)


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path: Path, epoch: int) -> None:
    config = teaching(epochs=FEW)
    with pytest.raises(Killed):
        resumed(tmp_path, config, watch=kill_in(epoch))
    assert (tmp_path / STATE).exists() == (epoch > 0)
    (model, run), (whole, expected) = resumed(tmp_path, config), trained(config, **DROPPING)
    assert same(model, whole)
    assert run == expected


def never(step: int, steps: int, loss: float) -> None:
    raise Killed


@pytest.mark.parametrize("patience", [1, 9])
def test_a_run_that_was_killed_after_its_last_epoch_is_over(tmp_path: Path, patience: int) -> None:
    """Also where it had stopped early: no epoch is added to it."""
    config = teaching(epochs=9, patience=patience, learning_rate=0.4)
    model, run = resumed(tmp_path, config)
    assert (len(run.epochs) < 9) == (patience == 1)
    again, other = resumed(tmp_path, config, watch=never)
    assert same(again, model)
    assert other == run


def keep(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the tensors of a run that is kept in a folder."""
    with safe_open(folder / STATE, framework="pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(folder / STATE)
    change(tensors)
    save_file(tensors, folder / STATE, metadata=metadata)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "no books"])
def test_a_run_that_cannot_be_read_is_begun_anew(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = teaching(epochs=2)
    expected, _ = resumed(tmp_path, config)
    raw = (tmp_path / STATE).read_bytes()
    if damage == "no books":
        save_file({"x": torch.zeros(1)}, tmp_path / STATE)
    else:
        worse = {"cut": raw[: len(raw) // 2], "garbage": b"garbage" * 99, "empty": b""}
        (tmp_path / STATE).write_bytes(worse[damage])
    with caplog.at_level(logging.WARNING):
        model, run = resumed(tmp_path, config)
    assert "cannot be read" in caplog.text
    assert same(model, expected)
    assert len(run.epochs) == 2


@pytest.mark.parametrize("name", ["model.ids", "best.norm.weight"])
@pytest.mark.parametrize("how", ["gone", "bent"])
def test_a_run_whose_weights_do_not_fit_is_an_error(tmp_path: Path, name: str, how: str) -> None:
    config = teaching(epochs=1)
    resumed(tmp_path, config)

    def change(tensors: dict[str, Tensor]) -> None:
        tensor = tensors.pop(name)
        if how == "bent":
            tensors[name] = tensor[:-1].clone()

    keep(tmp_path, change)
    with pytest.raises(ModelError, match="cannot be continued"):
        resumed(tmp_path, config)


def test_a_run_about_something_else_is_left_alone(tmp_path: Path) -> None:
    resumed(tmp_path, teaching(epochs=1, seed=1))
    config = teaching(epochs=2)
    model, _ = resumed(tmp_path, config)
    assert same(model, trained(config, **DROPPING)[0])


def test_a_run_that_began_with_another_model_is_left_alone(tmp_path: Path) -> None:
    config, start = teaching(epochs=FEW), network(**DROPPING)
    with pytest.raises(Killed):
        train(start, material(), config, folder=tmp_path, watch=kill_in(2))
    other = network(**DROPPING)
    with torch.no_grad():
        other.place.weight.mul_(3)
    expected = network(**DROPPING)
    expected.load_state_dict(other.state_dict())
    about = replace(material(), parent="another")
    train(expected, about, config)
    train(other, about, config, folder=tmp_path)
    assert same(other, expected)


# --- the same run in parts and in processes


@pytest.mark.parametrize("accumulate", [2, 20])
def test_a_step_in_parts_is_the_same_step(accumulate: int) -> None:
    """Also where there are more parts than sequences."""
    (whole, run), (parts, other) = (
        trained(teaching(epochs=2, accumulate=n, learning_rate=0.003)) for n in (1, accumulate)
    )
    for one, two in zip(run.epochs, other.epochs, strict=True):
        assert (two.loss, two.held_out) == pytest.approx((one.loss, one.held_out), abs=1e-5)
    for name, tensor in weights(parts).items():
        assert torch.allclose(tensor, weights(whole)[name], atol=1e-5), name


@pytest.mark.integration
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    script = Path(__file__).with_name("processes.py")
    out = tmp_path / "losses.json"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master_addr", "127.0.0.1", "--master_port", port, str(script), str(out)]
    root = script.parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert found["processes"] == 2
    for name, expected in losses().items():
        assert np.array(found["losses"][name]) == pytest.approx(np.array(expected), abs=1e-4)


# --- when to stop


def held_out(model: SequenceModel, known: Material, config: TrainConfig) -> float:
    _, held = split(known, config.holdout, config.past, config.seed)
    cut = windows(known.data, model.config.length, held)
    queries = torch.from_numpy(known.queries)
    with torch.no_grad():
        table = model.items()
        outputs = model(batch_of(known.data, cut.at, queries, cut.after), table)
        asked = torch.from_numpy(cut.share > 0)
        target = torch.from_numpy(known.data.item[cut.after[cut.share > 0]]).long()
        return float(softmax(outputs[asked], table, target).mean())


def turning() -> Material:
    """Return the circle, whose last steps go the other way."""
    return material([[*one[:-1], (one[-2] - 1) % ITEMS] for one in walks()])


def test_it_stops_early_and_keeps_the_best() -> None:
    config = teaching(patience=2)
    model, run = trained(config, turning())
    lowest = [epoch.held_out for epoch in run.epochs]
    assert run.best == int(np.argmin(lowest)) < len(run.epochs) - 1
    assert len(run.epochs) == run.best + 1 + config.patience < config.epochs
    assert held_out(model, turning(), config) == pytest.approx(lowest[run.best], abs=1e-4)


def test_without_anything_held_out_the_loss_itself_decides() -> None:
    model, run = trained(teaching(epochs=3, holdout=0.0))
    assert [epoch.held_out for epoch in run.epochs] == [epoch.loss for epoch in run.epochs]
    assert run.predictions == (336, 0)


# --- further tasks


def labelled(items: list[list[int]]) -> Material:
    """Return interactions of which the even items are bought, and whose value is their number."""
    flat = np.concatenate(items)
    return material(items, bought=flat % 2 == 0, value=(flat / ITEMS).astype(np.float32))


def judged(model: SequenceModel, task: Task) -> list[float]:
    """Return what a task says of each item after the one before it."""
    known = columns([[(k - 1) % ITEMS, k] for k in range(ITEMS)])
    cut = windows(known, 2, np.ones(len(known), np.bool_))
    with torch.no_grad():
        table = model.items()
        batch = batch_of(known, cut.at, torch.from_numpy(NO_QUERIES), cut.after)
        said: list[float] = model.judge(task, model(batch, table)[:, 0], table).tolist()
    return said


def test_purchases_and_values_are_learned_beside_the_next_item() -> None:
    tasks = ("next", "purchase", "value")
    config = teaching(weights={"purchase": 1.0, "value": 1.0})
    model, _ = trained(config, labelled(walks()), tasks=tasks)
    assert [odds > 0 for odds in judged(model, "purchase")] == [True, False] * (ITEMS // 2)
    truth = [k / ITEMS for k in range(ITEMS)]
    assert judged(model, "value") == pytest.approx(truth, abs=0.2)
    assert hits(model) > 0.9


def test_a_task_without_labels_costs_nothing() -> None:
    shape: dict[str, Any] = {"tasks": ("next", "value")}
    without, run = trained(teaching(epochs=2), **shape)
    beside, other = trained(teaching(epochs=2, weights={"value": 1.0}), **shape)
    assert run == other
    for name, tensor in weights(beside).items():
        assert "heads" in name or torch.equal(tensor, weights(without)[name]), name


# --- what cannot be learned from

WRONG = {
    "nothing": (material([[]]), "0 positive interactions"),
    "one item": (material([[3, 3, 3]]), "with 1 items are too few"),
    "strangers": (material([[k] for k in range(ITEMS)]), "no sequence has two items"),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_said_when_there_is_nothing_to_learn_from(what: str) -> None:
    known, said = WRONG[what]
    with pytest.raises(ModelError, match=said):
        train(network(), known, teaching())


# --- later windows


def test_a_sample_of_the_past_keeps_what_was_learned_of_it() -> None:
    """The circle turns: what follows an item is now the fifth after it."""
    first, _ = trained(teaching())
    old, new = walks(), walks(step=5, seed=1)
    times = [
        [NOON + day * DAY + user * 1000 + k * 60_000 for k in range(7)]
        for day, some in enumerate((old, new))
        for user in range(len(some))
    ]
    known = Material(columns([*old, *new], times=times), NO_QUERIES, since_ms=NOON + DAY)
    left = []
    for past in (0.0, 1.0):
        model = first.over(contents().numpy())
        train(model, known, teaching(past=past))
        assert hits(model, step=5) > 0.3
        left.append(hits(model))
    without, beside = left
    assert without < 0.05
    assert beside > without + 0.2


# --- rates


def test_the_rate_rises_and_falls() -> None:
    rates = [rate_at(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([(k + 1) / 10 for k in range(10)])
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-9)
    assert rate_at(0, 1, 0.0) == 1.0


def test_every_weight_is_trained_and_only_matrices_decay() -> None:
    model = network(tasks=("next", "purchase"))
    decayed, rest = groups_of(model, 0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.5, 0.0)
    both = [[names[id(p)] for p in group["params"]] for group in (decayed, rest)]
    assert sorted(sum(both, [])) == sorted(names.values())
    assert {"ids", "gap.weight", "place.weight", "kind.bias", "norm.weight"} <= set(both[1])
    assert {"project.weight", "ask.weight", "heads.purchase.weight"} <= set(both[0])
