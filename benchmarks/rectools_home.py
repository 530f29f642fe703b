"""The environment that RecTools lives in, and how it is asked: it is no dependency of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream.errors import SettingsError

__all__ = ["Shape", "ask_rectools", "environment"]

WANTED: Final = "rectools[torch]==0.19.0"

SIDE: Final = Path(__file__).with_name("rectools_side.py")


@dataclass(frozen=True, slots=True)
class Shape:
    """Arguments of its ``SASRecModel``, by its names, its defaults where it has them.

    Attributes
    ----------
    n_factors, n_blocks, n_heads, session_max_len, batch_size
        Width, blocks, heads, interactions read, sequences of a step.
    epochs, seed, threads
        Of the training.
    dropout_rate, lr
        As it has them.
    """

    epochs: int
    seed: int = 0
    threads: int = 1
    n_factors: int = 256
    n_blocks: int = 2
    n_heads: int = 4
    session_max_len: int = 100
    batch_size: int = 128
    dropout_rate: float = 0.2
    lr: float = 0.001


def environment(folder: Path) -> Path:
    """Return the Python that has RecTools; make the environment where it is not there yet.

    Raises
    ------
    SettingsError
        pip could not install it.
    """
    python = folder / "bin" / "python"
    if any(folder.glob("lib/python*/site-packages/rectools-*.dist-info")):
        return python
    print(f"making {folder} with {WANTED}: takes minutes", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    torch = "torch==" + version("torch").partition("+")[0]  # that of ours: the same products
    for wanted in (torch, WANTED):
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=False)
        if done.returncode:
            raise SettingsError(
                f"pip could not install {wanted} into {folder}",
                "see its words above; `--system rillet` measures without RecTools",
            )
    return python


def ask_rectools(
    python: Path, task: dict[str, NDArray[np.int64]], shape: Shape, top: int
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Let it train and answer in a process of its own.

    Parameters
    ----------
    python
        That of its environment.
    task
        Arrays as ``rectools_side.py`` describes them.
    shape
        Of the model.
    top
        Items of a list.

    Returns
    -------
    tuple
        (Q, top) items, and its books.

    Raises
    ------
    SettingsError
        It failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder, "task.npz"), Path(folder, "answer.npz")
        given = json.dumps(asdict(shape) | {"top": top})
        np.savez(asked, shape=np.array(given), **task)  # type: ignore[arg-type]
        command = [str(python), "-P", "-W", "ignore", str(SIDE), str(asked), str(answer)]
        # Ours is on the path of nothing else: its environment is complete by itself.
        mine = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if subprocess.run(command, check=False, env=mine).returncode:
            raise SettingsError("RecTools failed", f"see its words above; run again: {command}")
        with np.load(answer) as found:
            return found["lists"], json.loads(str(found["books"]))
