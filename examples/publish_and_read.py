"""Publish a few events, and read the recommendations that follow from them.

Needs Kafka and Redis (`make services`), the topics (`rillet init --topics`) and running
consumers (`rillet up`):

    python examples/publish_and_read.py
"""

from __future__ import annotations

import sys
import time

from rillet import Client, NothingYetError

SHELF = {"kilim": "Grand kilim", "runner": "Hall runner", "lamp": "Brass lamp", "mug": "Blue mug"}
WITHIN_S = 60


def main() -> int:
    """Publish, wait for the answer, print it; 1 where none comes."""
    with Client() as client:
        for item, title in SHELF.items():
            fields = [{"name": "title", "value": title}]
            client.publish({"event": "item", "item": item, "fields": fields})
        for user in ("bob", "carol", "alice"):
            for item in ("kilim", "runner")[: 1 if user == "alice" else 2]:
                view = {"event": "interaction", "type": "view", "user": user, "item": item}
                client.publish(view)
        client.flush()

        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            try:
                answer = client.recommend("alice", 3)
            except NothingYetError:
                answer = None
            if answer is not None and answer.user == "alice" and answer.items:
                break
            time.sleep(0.05)
        else:
            print("no list for alice yet: does `rillet up` run?", file=sys.stderr)
            return 1

        for listed in answer.items:
            why = ", ".join(reason.source for reason in listed.reasons)
            print(f"{SHELF.get(listed.item, listed.item):<12} {listed.score:.3f}  {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
