"""RecTools' SASRec, trained and asked: run by the environment that has it, not by ours.

    python rectools_side.py TASK.npz ANSWER.npz

Nothing of Rillet is imported here, and nothing of RecTools elsewhere.
:mod:`benchmarks.leave_one_out` writes the task, calls this and reads the answer.

Task: ``user``, ``item`` (E,) rows of the interactions to train on, in the order of
time; ``asked`` (Q,) users; ``shape``, JSON of :class:`SASRecModel`'s arguments and of
``threads``, ``seed``, ``top``; ``category`` (C, 2) pairs of an item and one of its
categories, none where items have ids alone. Answer: ``lists`` (Q, top) item rows, best
first, unseen ones only, -1 where a list is shorter; ``books``, JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np


def main() -> None:
    """Read the task, train, ask, write the answer."""
    task = dict(np.load(sys.argv[1]))
    shape: dict[str, Any] = json.loads(str(task["shape"]))
    threads, seed, top = (int(shape.pop(name)) for name in ("threads", "seed", "top"))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)
    lists, books = run(task, shape, seed, top)
    np.savez(sys.argv[2], lists=lists, books=np.array(json.dumps(books)))


def run(
    task: dict[str, Any], shape: dict[str, Any], seed: int, top: int
) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Return the lists, and what training took."""
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]
    import pytorch_lightning  # type: ignore[import-not-found, unused-ignore]
    import rectools  # type: ignore[import-not-found, unused-ignore]
    from rectools.dataset import Dataset  # type: ignore[import-not-found, unused-ignore]
    from rectools.models import SASRecModel  # type: ignore[import-not-found, unused-ignore]

    pytorch_lightning.seed_everything(seed)
    # Its days are places in the order: what has one time keeps the order that all are given.
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(task["user"])), unit="s")
    table = pd.DataFrame(
        {"user_id": task["user"], "item_id": task["item"], "weight": 1.0, "datetime": when}
    )
    features: dict[str, Any] = {}
    if len(task["category"]):
        pairs = pd.DataFrame({"id": task["category"][:, 0], "value": task["category"][:, 1]})
        pairs = pairs[pairs["id"].isin(table["item_id"])]
        features = {
            "item_features_df": pairs.assign(feature="category"),
            "cat_item_features": ["category"],
        }
    dataset = Dataset.construct(table, **features)
    model = SASRecModel(**shape)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    model.fit(dataset)
    books = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - begun_cpu}
    found = model.recommend(task["asked"], dataset, k=top, filter_viewed=True)
    lists = np.full((len(task["asked"]), top), -1, dtype=np.int64)
    row = {user: place for place, user in enumerate(task["asked"].tolist())}
    places = found["user_id"].map(row).to_numpy()
    lists[places, found["rank"].to_numpy() - 1] = found["item_id"].to_numpy()
    counts = np.bincount(task["user"])
    counts = counts[counts >= 2]  # noqa: PLR2004
    taught = int(np.minimum(counts - 1, shape["session_max_len"]).sum())
    books |= {"sequences": len(counts) * shape["epochs"], "interactions": taught * shape["epochs"]}
    return lists, books | {"version": rectools.__version__}


if __name__ == "__main__":
    main()
