"""From a Hugging Face encoder to an ONNX file, int8 where that holds.

The only file that imports torch and transformers for the encoder, and only
inside its functions: a process that finds a cached export loads neither.

Plain dynamic int8 does not hold: on film texts its worst cosine to fp32 is
0.96, because a few channels (mostly after the GELU) are ten times as large as
the rest and take the whole range of the one scale per tensor. So the inputs
of each matrix product are first divided by a factor per channel that moves the
size into the weights, which are quantised per channel anyway (SmoothQuant,
arXiv 2211.10438): worst cosine 0.992 at the same speed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from features.check_texts import CHECK_TEXTS

__all__ = ["MANIFEST", "Hidden", "Manifest", "export", "load_model", "onnx_model", "torch_model"]

MANIFEST: Final = "manifest.json"
LEAST_COSINE: Final = 0.99
"""The worst cosine to fp32 on the check set with which int8 is used."""

SHIFT: Final = 0.65
"""SmoothQuant's alpha: how much of a channel's size moves into the weights. 0.6 to 0.7 is best
for MiniLM on films, titles and the check set; at 0.8 long texts fall below 0.99."""

OPSET: Final = 17

Hidden = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Token ids and mask ``(n, length)`` to last hidden states ``(n, length, dim)``."""

Embed = Callable[[Hidden, Sequence[str]], NDArray[np.float32]]


class Manifest(Struct, frozen=True):
    """What lies in an export's folder.

    Attributes
    ----------
    kind
        ``int8`` or ``fp32``, which ``model.onnx`` is.
    dim
        Length of the vectors.
    worst_cosine
        To torch fp32, on the check set.
    int8_cosine
        The same of the int8 model, also where it was too far off to be used.
    """

    kind: Literal["int8", "fp32"]
    dim: int
    worst_cosine: float
    int8_cosine: float | None = None


def torch_model(folder: Path, threads: int) -> Hidden:
    """Load the model as it is, in float32, from ``model.safetensors``."""
    import torch

    torch.set_num_threads(threads)
    model = load_model(folder)

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode():
            out = model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))
        return np.asarray(out.last_hidden_state.numpy(), np.float32)

    return hidden


def onnx_model(file: Path, threads: int) -> Hidden:
    """Load an exported model into ONNX Runtime."""
    session = _session(file, threads)

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        feed = {"input_ids": ids, "attention_mask": mask}
        return np.asarray(session.run(["hidden"], feed)[0], np.float32)

    return hidden


def export(folder: Path, home: Path, embed: Embed, *, int8: bool, threads: int) -> Manifest:
    """Write ``model.onnx`` and the manifest into ``home``, whole or not at all.

    Parameters
    ----------
    folder
        The Hugging Face model.
    home
        Folder to make. Two processes may do so at once: the first to finish wins.
    embed
        How hidden states become the vectors that are compared.
    int8
        Whether to try int8.
    threads
        Threads for the check.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="export-", dir=home.parent))
    try:
        with _quiet():
            manifest = _export(folder, work, embed, int8=int8, threads=threads)
        (work / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        try:
            os.replace(work, home)
        except OSError:
            if not (home / MANIFEST).exists():
                raise
        return manifest
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the tracer's warnings, and what the quantiser says through the root logger."""
    root, handler = logging.getLogger(), logging.NullHandler()

    def refuse(record: logging.LogRecord) -> bool:
        return False

    root.addFilter(refuse)  # meets only records logged by the root itself
    root.addHandler(handler)  # or logging would set up handlers of its own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(refuse)


def _export(folder: Path, work: Path, embed: Embed, *, int8: bool, threads: int) -> Manifest:
    full, best = work / "fp32.onnx", work / "model.onnx"
    _trace(folder, full)
    truth = embed(torch_model(folder, threads), CHECK_TEXTS)
    dim, small_cosine = truth.shape[1], None
    if int8:
        _quantise(full, best, _seen(full, embed))
        small_cosine = _worst(truth, embed(onnx_model(best, threads), CHECK_TEXTS))
        if small_cosine >= LEAST_COSINE:
            full.unlink()
            return Manifest("int8", dim, small_cosine, small_cosine)
    full.replace(best)
    cosine = _worst(truth, embed(onnx_model(best, threads), CHECK_TEXTS))
    if cosine < LEAST_COSINE:
        raise RuntimeError(f"the ONNX export is off: cosine {cosine:.4f} to the original")
    return Manifest("fp32", dim, cosine, small_cosine)


def _worst(truth: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return round(float((truth * other).sum(axis=1).min()), 6)


def load_model(folder: Path) -> Any:
    """Load a Hugging Face encoder in float32, from safetensors alone."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging as talk

    talk_: Any = talk  # untyped
    shown = talk_.is_progress_bar_enabled()
    talk_.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,  # the other format is a pickle, which can run code
            dtype=torch.float32,
            attn_implementation="eager",
        )
    finally:
        if shown:
            talk_.enable_progress_bar()
    return model.eval()


def _trace(folder: Path, file: Path) -> None:
    import torch

    class Trunk(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = load_model(folder)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            return states

    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    names = ["input_ids", "attention_mask", "hidden"]
    torch.onnx.export(
        Trunk(),
        (ids, mask),
        str(file),
        input_names=names[:2],
        output_names=names[2:],
        dynamic_axes={name: {0: "n", 1: "length"} for name in names},
        opset_version=OPSET,
        dynamo=False,
    )


def _products(graph: Any) -> list[Any]:
    """Return the matrix products with constant weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [n for n in graph.node if n.op_type == "MatMul" and n.input[1] in weights]


def _seen(file: Path, embed: Embed) -> dict[str, NDArray[np.float32]]:
    """Return the largest size of each channel of each product's input on half the check set."""
    import onnx

    model = onnx.load(str(file))
    inputs = sorted({node.input[0] for node in _products(model.graph)})
    model.graph.output.extend([onnx.helper.make_empty_tensor_value_info(x) for x in inputs])
    session = _session(model.SerializeToString(), 1)
    largest = {name: np.zeros(1, np.float32) for name in inputs}

    def hidden(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        feed = {"input_ids": ids, "attention_mask": mask}
        states, *values = session.run(["hidden", *inputs], feed)
        for name, value in zip(inputs, values, strict=True):
            size = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest[name], size)
        return np.asarray(states, np.float32)

    embed(hidden, CHECK_TEXTS[::2])
    return largest


def _quantise(full: Path, small: Path, largest: dict[str, NDArray[np.float32]]) -> None:
    import onnx
    from onnxruntime.quantization import (  # type: ignore[import-untyped]
        QuantType,
        quantize_dynamic,
    )

    model = onnx.load(str(full))
    _smooth(model.graph, largest)
    smooth = small.with_suffix(".smooth")
    onnx.save(model, str(smooth))
    quantize_dynamic(
        str(smooth),
        str(small),
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
        extra_options={"MatMulConstBOnly": True},
    )
    smooth.unlink()


def _smooth(graph: Any, largest: dict[str, NDArray[np.float32]]) -> None:
    """Divide each product's input by a factor per channel, and multiply its weights by it."""
    from onnx import helper, numpy_helper

    products = _products(graph)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = {n.name: numpy_helper.to_array(tensors[n.input[1]]) for n in products}
    rows = {n.name: np.abs(weights[n.name]).max(axis=1) for n in products}
    factors: dict[str, NDArray[np.float32]] = {}
    for name, size in largest.items():
        row = np.max([rows[n.name] for n in products if n.input[0] == name], axis=0)
        factor = np.maximum(size, 1e-5) ** SHIFT / np.maximum(row, 1e-5) ** (1 - SHIFT)
        factors[name] = factor.astype(np.float32)
    nodes: list[Any] = []
    divided: set[str] = set()
    for node in graph.node:
        if node.name in weights:
            name = node.input[0]
            if name not in divided:
                divided.add(name)
                graph.initializer.append(numpy_helper.from_array(1 / factors[name], f"{name}_by"))
                nodes.append(helper.make_node("Mul", [name, f"{name}_by"], [f"{name}_even"]))
            scaled = weights[node.name] * factors[name][:, None]
            graph.initializer.append(numpy_helper.from_array(scaled, f"{node.name}_scaled"))
            node.input[:] = [f"{name}_even", f"{node.name}_scaled"]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _session(model: Path | bytes, threads: int) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
