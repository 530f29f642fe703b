"""The network: it sees no future, padding is nothing, and everything that it is given counts."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.sequence import Batch, SequenceConfig, SequenceModel
from tests.models.planted import CONTENT, ITEMS, config, contents, network

DAY_S = 86_400.0
LENGTH = 6

both_blocks = pytest.mark.parametrize("block", ["ligr", "sasrec"])


def batch(rows: int = 3, length: int = LENGTH, seed: int = 1) -> Batch:
    """Return full sequences of which everything is drawn."""
    draw = torch.Generator().manual_seed(seed)
    shape = (rows, length)
    return Batch(
        items=torch.randint(0, ITEMS, shape, generator=draw),
        weight=torch.tensor([-1.0, 0.0, 0.5, 1.0])[torch.randint(0, 4, shape, generator=draw)],
        gap_s=torch.rand(shape, generator=draw) * DAY_S,
        query=torch.randint(-1, 2, shape, generator=draw),
        queries=contents(2, seed=7),
    )


def stirred(model: SequenceModel) -> SequenceModel:
    """Move all weights away from where they began."""
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model


def taught(block: str = "ligr", **more: Any) -> SequenceModel:
    """Return a network as if it had been trained."""
    return stirred(network(block=block, layers=2, **more)).eval()


def run(model: SequenceModel, given: Batch) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = model(given, model.items())
    return outputs


def changed(given: Batch, place: tuple[Any, ...], **values: Any) -> Batch:
    """Return a copy in which some columns differ at a place."""
    columns = {name: getattr(given, name).clone() for name in Batch.__slots__}
    for name, value in values.items():
        columns[name][place] = value
    return Batch(**columns)


@both_blocks
def test_what_comes_later_changes_no_earlier_output(block: str) -> None:
    model, given = taught(block), batch()
    before = run(model, given)
    for place in range(1, LENGTH):
        later = (slice(None), slice(place, None))
        other = changed(given, later, items=0, weight=-3.0, gap_s=7 * DAY_S, query=1)
        after = run(model, other)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.allclose(after[:, place], before[:, place])


@both_blocks
def test_what_came_earlier_changes_the_output(block: str) -> None:
    model, given = taught(block), batch()
    first = (slice(None), 0)
    other = changed(given, first, items=(given.items[:, 0] + 1) % ITEMS)
    assert not torch.allclose(run(model, other)[:, -1], run(model, given)[:, -1], atol=1e-4)


@both_blocks
def test_padding_changes_nothing(block: str) -> None:
    model, given = taught(block), batch(length=LENGTH - 2)
    none = {"items": -1, "weight": 0.0, "gap_s": 0.0, "query": -1}
    padded = {
        name: torch.cat([(column := getattr(given, name)), column.new_full((3, 2), value)], dim=1)
        for name, value in none.items()
    }
    outputs = run(model, Batch(**padded, queries=given.queries))[:, : LENGTH - 2]
    assert torch.allclose(outputs, run(model, given), atol=1e-6)


@both_blocks
def test_sequences_of_different_lengths_are_read_as_each_alone(block: str) -> None:
    model = stirred(network(block=block)).eval()
    full = batch()
    lengths = torch.tensor([4, 0, LENGTH])
    mixed = replace(
        full, items=torch.where(torch.arange(LENGTH) < lengths[:, None], full.items, -1)
    )
    outputs = model(mixed, model.items())
    alone = model(full, model.items())
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(outputs[row, :length], alone[row, :length])
        assert not outputs[row, length:].any()


@both_blocks
def test_sequences_do_not_disturb_each_other(block: str) -> None:
    model, given = taught(block), batch()
    together = run(model, given)
    for row in range(3):
        mine = {name: getattr(given, name)[row : row + 1] for name in Batch.__slots__[:-1]}
        alone = run(model, Batch(**mine, queries=given.queries))
        assert torch.allclose(alone[0], together[row], atol=1e-6)


@pytest.mark.parametrize(
    ("column", "value"), [("gap_s", 40 * DAY_S), ("weight", -2.0), ("query", 0), ("items", 11)]
)
def test_every_column_counts(column: str, value: float) -> None:
    model, given = taught(), changed(batch(), (0, 2), gap_s=60.0, weight=1.0, query=1, items=3)
    outputs = run(model, given)
    after = run(model, changed(given, (0, 2), **{column: value}))
    assert not torch.allclose(after[0, 2:], outputs[0, 2:], atol=1e-3)
    assert torch.equal(after[1:], outputs[1:])


def test_a_query_counts_by_its_vector_and_none_is_not_the_first() -> None:
    model, given = taught(), changed(batch(), (slice(None),), query=-1)
    outputs = run(model, given)
    assert torch.equal(run(model, replace(given, queries=contents(2, seed=8))), outputs)
    assert torch.equal(run(model, replace(given, queries=torch.zeros(0, 1))), outputs)
    asked = changed(given, (slice(None), -1), query=0)
    other = replace(asked, queries=contents(2, seed=8))
    assert not torch.allclose(run(model, asked), outputs, atol=1e-3)
    assert not torch.allclose(run(model, asked), run(model, other), atol=1e-3)


def test_gaps_fall_into_buckets_that_widen() -> None:
    model = network(gaps=8)
    seconds = torch.tensor([-5.0, 0.0, 1.0, 60.0, 3600.0, DAY_S, 30 * DAY_S, 1e12])
    buckets = model._bucket(seconds).tolist()
    assert buckets[:2] == [0, 0]
    assert buckets == sorted(buckets)
    assert len(set(buckets[1:])) == 7
    assert buckets[-1] == 7
    assert network(gaps=1)._bucket(seconds).tolist() == [0] * len(seconds)


DIFFERENT: dict[str, Any] = {
    "dim": 8,
    "layers": 2,
    "heads": 4,
    "length": 9,
    "block": "sasrec",
    "dropout": 0.5,
    "id_dropout": 0.9,
    "content": False,
    "ids": False,
    "content_dim": CONTENT + 1,
    "gaps": 4,
    "tasks": ("next", "value"),
}


def look(shape: SequenceConfig) -> tuple[dict[str, torch.Size], Tensor]:
    """Return the parameters' shapes of a network, and what it says in training."""
    torch.manual_seed(0)
    vectors = torch.nn.functional.pad(contents(), (0, shape.content_dim - CONTENT))
    model = stirred(SequenceModel(shape, vectors)).train()
    given = batch()
    wide = torch.nn.functional.pad(given.queries, (0, shape.content_dim - CONTENT))
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    torch.manual_seed(1)
    return shapes, run(model, replace(given, queries=wide))


def test_a_network_of_one_seed_is_one_network() -> None:
    shapes, outputs = look(config())
    again, same = look(config())
    assert shapes == again
    assert torch.equal(outputs, same)


@pytest.mark.parametrize("name", [field.name for field in fields(SequenceConfig)])
def test_every_field_of_the_config_has_an_effect(name: str) -> None:
    shapes, outputs = look(config())
    other_shapes, others = look(config(**{name: DIFFERENT[name]}))
    if shapes == other_shapes:
        assert not torch.allclose(others, outputs, atol=1e-3)
    else:
        assert name not in ("dropout", "id_dropout", "content", "heads")


@pytest.mark.parametrize("name", ["dropout", "id_dropout"])
def test_nothing_is_left_out_when_a_model_is_used(name: str) -> None:
    more: dict[str, Any] = {name: 0.9}
    usual, dropping = taught(), taught(**more)
    assert torch.equal(run(dropping, batch()), run(usual, batch()))
    dropping.train()
    assert not torch.allclose(run(dropping, batch()), run(usual, batch()), atol=1e-3)


def test_an_item_never_trained_on_is_what_its_content_says() -> None:
    model = network().eval()
    model.welcome(torch.arange(ITEMS - 1), torch.Generator().manual_seed(2))
    newest = model.items()[-1]
    assert torch.equal(model.ids[-1], torch.zeros(16))
    assert float(newest.detach().norm()) > 0.1
    assert torch.allclose(newest, model.project(model.contents[-1]))


def test_items_without_content_are_nothing_until_they_are_trained_on() -> None:
    vectors = contents()
    vectors[3] = 0
    model = network(vectors)
    assert torch.equal(model.items()[3], torch.zeros(16))
    model.welcome(torch.tensor([3]), torch.Generator().manual_seed(2))
    assert torch.equal(model.items()[3], model.ids[3])


def test_contents_are_told_apart_by_what_is_not_common() -> None:
    common = 5 + 0.1 * contents()
    model = network(common)
    assert torch.allclose(model.centre, common.mean(dim=0))
    assert torch.allclose(model.contents.norm(dim=1), torch.ones(ITEMS), atol=1e-5)
    assert float((model.contents @ model.contents.T).min()) < 0


def test_a_catalogue_without_any_content_is_none_to_fear() -> None:
    model = network(torch.zeros(ITEMS, CONTENT)).eval()
    assert bool(run(model, batch()).isfinite().all())
    assert torch.equal(model.centre, torch.zeros(CONTENT))


@pytest.mark.parametrize("ids", [True, False])
def test_another_catalogue_keeps_what_is_said_of_the_same_items(ids: bool) -> None:
    model = taught(ids=ids)
    rows = torch.randperm(ITEMS + 4, generator=torch.Generator().manual_seed(4))[:ITEMS]
    vectors = contents(ITEMS + 4, seed=9)
    vectors[rows] = contents()
    there, given = model.over(vectors.numpy(), rows.numpy()), batch()
    moved = replace(given, items=rows[given.items])
    assert torch.allclose(there.items()[rows], model.items(), atol=1e-6)
    assert torch.allclose(run(there, moved), run(model, given), atol=1e-5)
    assert not there.training
    if ids:
        others = sorted(set(range(ITEMS + 4)) - set(rows.tolist()))
        assert torch.equal(there.ids[others], torch.zeros(4, 16))


def test_another_catalogue_leaves_the_model_as_it_is() -> None:
    model = taught()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    there = model.over(contents(ITEMS + 1, seed=9).numpy())
    with torch.no_grad():
        for parameter in there.parameters():
            parameter.zero_()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_welcome_touches_new_rows_alone_and_is_seeded() -> None:
    def welcomed(seed: int) -> SequenceModel:
        model = network()
        with torch.no_grad():
            model.ids[2] = 1.0
        model.welcome(torch.tensor([1, 2, 5]), torch.Generator().manual_seed(seed))
        return model

    model = welcomed(0)
    assert torch.equal(model.ids[2], torch.ones(16))
    untouched = [row for row in range(ITEMS) if row not in (1, 2, 5)]
    assert not model.ids[untouched].any()
    assert bool((model.ids[[1, 5]].abs().sum(dim=1) > 0).all())
    assert torch.equal(welcomed(0).ids, model.ids)
    assert not torch.equal(welcomed(1).ids, model.ids)
    network(ids=False).welcome(torch.tensor([1]), torch.Generator())


def test_no_gradient_reaches_the_embedding_of_an_item_that_was_not_welcomed() -> None:
    model = network()
    model.welcome(torch.tensor([0, 1]), torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(model.items().sum(), [model.ids])
    assert gradient.any(dim=1).tolist() == [True, True] + [False] * (ITEMS - 2)


def test_further_tasks_judge_each_pair() -> None:
    model = taught(tasks=("next", "purchase", "value"))
    assert set(model.heads) == {"purchase", "value"}
    outputs, taken = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    said = {task: model.judge(task, outputs, taken) for task in ("purchase", "value")}
    for one in said.values():
        assert one.shape == (5,)
    assert not torch.allclose(said["purchase"], said["value"])
    swapped = model.judge("value", taken, outputs)
    assert not torch.allclose(swapped, said["value"])


@both_blocks
def test_a_state_dict_makes_the_same_model(block: str) -> None:
    model = taught(block, tasks=("next", "value"))
    weights = model.state_dict()
    assert "contents" not in weights
    other = network(block=block, layers=2, tasks=("next", "value"), seed=3).eval()
    assert not torch.allclose(run(other, batch()), run(model, batch()), atol=1e-3)
    other.load_state_dict(weights)
    assert torch.equal(run(other, batch()), run(model, batch()))
