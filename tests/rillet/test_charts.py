"""What the picture of a replay shows."""

from __future__ import annotations

from models.evaluation import Evaluation
from rillet.cli.charts import _panels


def test_features_and_who_said_nothing_are_not_drawn_among_sources() -> None:
    report = {
        "next": {},
        "rerank": {
            "shown": {"ndcg@10": 0.5, "mrr": 0.4},
            "blend": {"ndcg@10": 0.5, "mrr": 0.4},
            "content": {"ndcg@10": 0.6, "mrr": 0.5},
            "transformer": {"ndcg@10": 0.5, "mrr": 0.4},
            "list.rate": {"ndcg@10": 0.7, "mrr": 0.5},
        },
    }
    (panel,) = _panels(Evaluation(0, ["content", "transformer"]), report)
    assert panel.means == {"shown": 0.5, "blend": 0.5, "content": 0.6}
