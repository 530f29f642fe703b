"""The text encoder learns which items go together, though their texts share no words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from features.merging import Adapter, layers_of, merge, write_merged
from features.model_folder import find_base
from features.onnx_export import load_model
from features.trunk import Trunk
from models.adapter import adapt, adapter_of, put_adapter
from models.encoder_exam import ContentExam
from models.encoder_loss import batch_of, contrast
from models.encoder_pairs import DECAY, PAST, Pairs, pairs_of
from models.encoder_tuning import Lesson, TunedEncoder, tune
from models.examine import Exam
from models.training_data import Material
from models.weights import weights_file
from stream.errors import ModelError
from stream.events import Event
from stream.settings import EncoderSettings
from tests.builders import MINUTE, NOON, interaction, search
from tests.tiny_encoder import make_encoder
from tests.tuned import CLUSTERS, TEXTS, WORDS, a_lesson, home_of, recorded, tuning, walks

KNOWN = np.ones(len(TEXTS), dtype=bool)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EncoderSettings:
    folder = make_encoder(tmp_path_factory.mktemp("encoder") / "tiny", WORDS)
    return EncoderSettings.model_validate(home_of(folder))


def trunk_of(settings: EncoderSettings) -> Trunk:
    return Trunk(Path(settings.model), settings, 8)


def vectors_of(trunk: Trunk) -> Any:
    with torch.inference_mode():
        return trunk.eval()(trunk.tokens(TEXTS)).numpy()


@pytest.fixture(scope="module")
def lesson(settings: EncoderSettings) -> Lesson:
    return a_lesson(vectors_of(trunk_of(settings)))


@pytest.fixture(scope="module")
def tuned(settings: EncoderSettings, lesson: Lesson) -> tuple[TunedEncoder, Any]:
    trunk = trunk_of(settings)
    return tune(trunk, lesson, tuning()), vectors_of(trunk)


def test_the_loss_of_what_was_held_out_falls(tuned: tuple[TunedEncoder, Any]) -> None:
    run, _ = tuned
    assert run.best >= 1
    assert run.epochs[run.best].held_out < run.before - 0.3
    assert run.epochs[-1].loss < run.epochs[0].loss


def test_items_that_go_together_come_near(lesson: Lesson, tuned: tuple[TunedEncoder, Any]) -> None:
    before, after = (apart(vectors) for vectors in (lesson.vectors, tuned[1]))
    assert abs(before) < 0.1
    assert after > 0.3


def apart(vectors: Any) -> float:
    """Return how much nearer items of one cluster are than those of two, in the mean."""
    moved = vectors - vectors.mean(axis=0)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    near = moved @ moved.T
    rows = np.arange(len(TEXTS))
    same = rows[:, None] % CLUSTERS == rows % CLUSTERS
    other = ~np.eye(len(TEXTS), dtype=bool)
    return float(near[same & other].mean() - near[~same].mean())


def test_the_exam_tells_the_tuned_one_from_the_untouched_and_a_scrambled_one(
    lesson: Lesson, tuned: tuple[TunedEncoder, Any]
) -> None:
    run, vectors = tuned
    material = Material(lesson.data, np.zeros((0, 1), np.float32))
    exam = ContentExam.of(Exam(material, run.held, KNOWN), KNOWN)
    scrambled = vectors[np.random.default_rng(0).permutation(len(vectors))]
    good, plain, bad = (
        exam.marks(v)["ndcg@10"].mean() for v in (vectors, lesson.vectors, scrambled)
    )
    assert good > plain + 0.15
    assert good > bad + 0.15
    assert len(exam.questions().users) > 50


def test_the_same_seed_gives_the_same_adapter_and_another_one_another(
    settings: EncoderSettings, lesson: Lesson
) -> None:
    def bytes_of(seed: int) -> bytes:
        run = tune(trunk_of(settings), lesson, tuning(seed=seed, epochs=1))
        return weights_file(run.arrays)

    assert bytes_of(1) == bytes_of(1)
    assert bytes_of(1) != bytes_of(2)


def test_a_run_goes_on_from_an_adapter(
    settings: EncoderSettings, lesson: Lesson, tuned: tuple[TunedEncoder, Any]
) -> None:
    run, vectors = tuned
    later = Lesson(lesson.data, lesson.texts, vectors)
    again = tune(trunk_of(settings), later, tuning(epochs=1, learning_rate=1e-6), run.arrays)
    assert again.before < run.epochs[run.best].held_out + 0.1 < run.before
    for name, array in run.arrays.items():
        np.testing.assert_allclose(again.arrays[name], array, atol=1e-4)
    with pytest.raises(ModelError, match="of another shape"):
        tune(trunk_of(settings), later, tuning(rank=2), run.arrays)


def test_merging_equals_what_peft_computes(
    settings: EncoderSettings, tuned: tuple[TunedEncoder, Any], tmp_path: Path
) -> None:
    run, vectors = tuned
    adapter = Adapter("a", run.arrays, 4, 8)
    merged = merge(load_model(Path(settings.model)), adapter)
    trunk = trunk_of(settings)
    trunk.model = merged
    np.testing.assert_allclose(vectors_of(trunk), vectors, atol=1e-5)
    write_merged(find_base(settings), adapter, tmp_path / "out")
    written = trunk_of(settings.model_copy(update={"model": str(tmp_path / "out")}))
    np.testing.assert_allclose(vectors_of(written), vectors, atol=1e-5)


def test_a_new_adapter_changes_nothing_and_all_but_it_is_frozen(settings: EncoderSettings) -> None:
    trunk = trunk_of(settings)
    before = vectors_of(trunk)
    trunk.model = adapt(trunk.model, rank=4, alpha=8, dropout=0.0)
    np.testing.assert_allclose(vectors_of(trunk), before, atol=1e-6)
    arrays = adapter_of(trunk.model)
    assert len(layers_of(arrays)) == 4  # query and value of two layers
    learned = sum(p.numel() for p in trunk.model.parameters() if p.requires_grad)
    assert learned == sum(array.size for array in arrays.values())


def test_a_model_without_attention_is_a_clear_error() -> None:
    with pytest.raises(ModelError, match="has no attention"):
        adapt(torch.nn.Sequential(torch.nn.Linear(2, 2)), rank=1, alpha=1, dropout=0.0)


def test_an_adapter_of_other_layers_is_refused(settings: EncoderSettings) -> None:
    trunk = trunk_of(settings)
    model = adapt(trunk.model, rank=4, alpha=8, dropout=0.0)
    arrays = {name.replace("layer.0", "layer.7"): one for name, one in adapter_of(model).items()}
    with pytest.raises(ModelError, match="of another shape"):
        put_adapter(model, arrays)
    with pytest.raises(ModelError, match=r"has no layer .*layer\.7"):
        merge(load_model(Path(settings.model)), Adapter("a", arrays, 4, 8))
    half = {name: one for name, one in arrays.items() if name.endswith("lora_A")}
    with pytest.raises(ModelError, match="do not fit each other"):
        layers_of(half)


@pytest.mark.parametrize(
    ("texts", "events", "words"),
    [
        ([""] * len(TEXTS), walks(), "no item has a text"),
        (TEXTS, walks(2, each=3), r"pairs of items with texts .* are too few"),
        (TEXTS, walks(0), "are too few to learn"),
    ],
    ids=["no texts", "few pairs", "nothing"],
)
def test_too_little_is_a_clear_error(
    texts: list[str], events: Any, words: str, settings: EncoderSettings, lesson: Lesson
) -> None:
    with pytest.raises(ModelError, match=words):
        tune(trunk_of(settings), Lesson(recorded(events), texts, lesson.vectors), tuning())


def test_a_run_that_diverges_is_a_clear_error(settings: EncoderSettings, lesson: Lesson) -> None:
    with pytest.raises(ModelError, match="diverged"):
        tune(trunk_of(settings), lesson, tuning(learning_rate=1e30))


def test_pairs_are_bounded(settings: EncoderSettings, lesson: Lesson) -> None:
    run = tune(trunk_of(settings), lesson, tuning(max_pairs=40, batch=4, epochs=2))
    assert all(40 <= epoch.sequences < 40 + 4 * 8 for epoch in run.epochs)


def one_user(items: list[str]) -> Any:
    events: list[Event] = [search("query", NOON, "ann")]
    events += [interaction(name, NOON + 1 + n * MINUTE, "ann") for n, name in enumerate(items)]
    return recorded(events)


def pairs(items: list[str], known: Any = KNOWN) -> Pairs:
    data = one_user(items)
    (found,) = pairs_of(data, np.ones(len(data), dtype=bool), known, 10)
    return found


def test_a_past_is_what_the_source_content_pools() -> None:
    found = pairs([f"i{n:02}" for n in range(7)])
    assert found.target.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.past[-1].tolist() == [5, 4, 3, 2, 1]
    np.testing.assert_allclose(found.weight[-1], DECAY ** np.arange(PAST), rtol=1e-6)
    assert found.past[0].tolist() == [0, -1, -1, -1, -1]
    assert found.weight[0].tolist() == [1, 0, 0, 0, 0]
    assert found.query.tolist() == [0] * 6


def test_what_is_taken_again_and_what_has_no_text_is_no_pair() -> None:
    assert pairs(["i00", "i01", "i00", "i02"]).target.tolist() == [1, 2]
    silent = KNOWN.copy()
    silent[1] = False
    found = pairs(["i00", "i01", "i02", "i03"], silent)
    assert found.target.tolist() == [2, 3]
    assert found.weight[0].tolist() == pytest.approx([0, 0.6, 0, 0, 0])


def test_the_loss_by_hand() -> None:
    pair = Pairs(
        past=np.array([[0, -1, -1, -1, -1]]),
        weight=np.array([[1, 0, 0, 0, 0]], np.float32),
        query=np.array([3]),
        target=np.array([2]),
        share=np.array([2.0], np.float32),
        user=np.array([0]),
    )
    other = Pairs(
        past=np.array([[1, -1, -1, -1, -1]]),
        weight=pair.weight,
        query=np.array([-1]),
        target=np.array([2]),
        share=np.array([0.0], np.float32),
        user=np.array([1]),
    )
    both = Pairs(
        **{n: np.concatenate([getattr(pair, n), getattr(other, n)]) for n in Pairs.__slots__}
    )
    batch = batch_of(both)
    assert batch.items.tolist() == [0, 1, 2]
    assert batch.queries.tolist() == [3]
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    popular = torch.tensor([0.0, 0.5, -0.5])
    asked = torch.tensor([[0.0, 1.0]])
    found = contrast(batch, vectors, torch.zeros(2), asked, (popular, 0.5))
    # its own past, item 0, is no negative: items 1 and 2 are left
    taste = -np.log(np.exp(0.6 / 0.5 + 0.5) / (np.exp(0 - 0.5) + np.exp(0.6 / 0.5 + 0.5)))
    query = -np.log(np.exp(0.8 / 0.5 + 0.5) / (np.exp(1 / 0.5 - 0.5) + np.exp(0.8 / 0.5 + 0.5)))
    assert float(found) == pytest.approx(2 * (taste + query), rel=1e-5)
