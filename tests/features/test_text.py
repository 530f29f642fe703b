from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features.onnx_export import LEAST_COSINE
from features.text import Encoder, load_encoder, normalise, text_hash
from stream.errors import EncoderError
from stream.settings import EncoderSettings

TEXTS = [
    "Copper kettle for the stove, two litres",
    "HAND WARMER OWL DESIGN",
    "The Cartographer. drama, war. A map maker is asked to draw a border through his own village, "
    "and finds that a pencil line can be moved at night.",
    "how to prune roses",
    "陶瓷茶壶",
    "Café crème: 12 recettes",
    "Bicycle pump 🚲 with gauge",
    "x",
    "SKU-1190-B",
    "Rain expected across the north as ferries are cancelled",
]


@pytest.fixture(scope="module")
def torch_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """The original: where nothing can be exported, the encoder runs in torch."""
    blocked = tmp_path_factory.mktemp("cache") / "file"
    blocked.write_text("a file is no folder to export into")
    return load_encoder(EncoderSettings(cache_dir=str(blocked)))


def test_rows_are_units(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_cosine_to_fp32(encoder: Encoder, torch_encoder: Encoder) -> None:
    assert "-torch-" in torch_encoder.version
    cosine = (encoder.encode(TEXTS) * torch_encoder.encode(TEXTS)).sum(axis=1)
    assert cosine.min() >= 0.99


def test_fp32_export_is_the_original(torch_encoder: Encoder) -> None:
    encoder = load_encoder(EncoderSettings(int8=False))
    assert "-fp32-" in encoder.version
    np.testing.assert_allclose(encoder.encode(TEXTS), torch_encoder.encode(TEXTS), atol=1e-4)


def test_like_texts_are_near(encoder: Encoder) -> None:
    kettle, pot, strike = encoder.encode(
        ["Copper kettle for the stove", "Enamel tea pot, 1 litre", "Dock workers on strike"]
    )
    assert kettle @ pot > kettle @ strike + 0.2


def test_vector_does_not_depend_on_the_batch(encoder: Encoder) -> None:
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], alone, atol=1e-6)


@pytest.mark.parametrize("blank", ["", "   ", "\n\t", "\u3000"])
def test_blank_text_has_the_zero_row(encoder: Encoder, blank: str) -> None:
    first, second = encoder.encode([blank, "tea"])
    assert not first.any()
    assert second.any()
    assert text_hash(blank) == ""


def test_no_texts(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_long_text_is_cut(encoder: Encoder) -> None:
    long = "a walk along the canal in the rain " * 20_000
    short = encoder.encode(["a walk along the canal in the rain " * 40])[0]
    assert encoder.encode([long])[0] @ short > 0.999


def test_spelling_of_unicode_and_spaces_is_no_difference(encoder: Encoder) -> None:
    one, other = "Cafe\u0301  cre\u0300me", "Café crème"
    assert normalise(one) == normalise(other)
    assert text_hash(one) == text_hash(other)
    np.testing.assert_array_equal(*encoder.encode([one, other]))


def test_lone_surrogates_do_not_raise(encoder: Encoder) -> None:
    text = "broken \ud83d emoji"
    assert len(text_hash(text)) == 64
    assert np.linalg.norm(encoder.encode([text])[0]) == pytest.approx(1, abs=1e-5)


def test_version_names_what_the_vectors_depend_on(encoder: Encoder) -> None:
    shorter = load_encoder(EncoderSettings(max_tokens=16))
    assert shorter.version != encoder.version
    assert "-mean-" in encoder.version
    assert encoder.version.startswith("all-MiniLM-L6-v2-")


def test_progress_reaches_the_end(encoder: Encoder) -> None:
    told: list[tuple[int, int]] = []
    encoder.encode([*TEXTS, ""], lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (len(TEXTS) + 1, len(TEXTS) + 1)


def test_says_which_form_was_chosen(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "features.text"):
        load_encoder(EncoderSettings())
    (said,) = (one for one in caplog.messages if "worst cosine" in one)
    # which one holds depends on the processor: without VNNI, products of 8 bits overflow
    form = "int8" if "ONNX int8" in said else "fp32"
    assert f"ONNX {form}, worst cosine to fp32 " in said
    assert float(said.split("to fp32 ")[1].split()[0]) >= LEAST_COSINE
    if form == "fp32":
        assert float(said.split("int8 had ")[1].rstrip(")")) < LEAST_COSINE


def test_damaged_export_is_made_anew(
    encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual = EncoderSettings()
    name = re.sub("-(int8|fp32)-mean-96-r1$", "-int8-r1", encoder.version)
    assert (usual.cache_folder / name).is_dir()
    home = tmp_path / name
    home.mkdir()
    (home / "manifest.json").write_text('{"kind":"int8","dim":384,"worst_cosine":1.0}')
    (home / "model.onnx").write_bytes(b"half a file")
    damaged = load_encoder(EncoderSettings(cache_dir=str(tmp_path)))
    assert "-torch-" in damaged.version
    assert "failed" in caplog.text
    assert not home.exists()


def test_missing_models_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="there is no folder"):
        load_encoder(EncoderSettings(model="/no/such/folder"))
    with pytest.raises(EncoderError, match=r"holds no config\.json"):
        load_encoder(EncoderSettings(model=str(tmp_path)))
    with pytest.raises(EncoderError, match="cannot fetch no/such/name"):
        load_encoder(EncoderSettings(model="no/such/name"))


@pytest.mark.parametrize(
    "code",
    [
        "import stream.store, stream.settings, features.card, features.catalogue, features.text",
        "from features.text import load_encoder; from stream.settings import EncoderSettings\n"
        "assert load_encoder(EncoderSettings()).encode(['tea']).any()",
    ],
    ids=["imports", "cached export"],
)
def test_torch_is_not_loaded(encoder: Encoder, code: str) -> None:
    heavy = "{'torch', 'transformers', 'sentence_transformers'}"
    program = f"import sys\n{code}\nassert not {heavy} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", program], check=True)
