"""Read recommendations with nothing but a Redis client: one round trip, no Rillet needed.

python examples/read_with_redis_py.py alice
python examples/read_with_redis_py.py alice unix:///path/to/redis.sock
"""

from __future__ import annotations

import json
import sys

import redis

PREFIX = "rillet:1"


def main(user: str, url: str) -> int:
    """Print a user's list, or the one for everybody."""
    client = redis.Redis.from_url(url)
    own, everybodys = client.mget(f"{PREFIX}:recs:{user}", f"{PREFIX}:recs:*default*")
    raw = own or everybodys
    if raw is None:
        print("there are no recommendations yet", file=sys.stderr)
        return 1
    answer = json.loads(raw)
    print(f"list of {answer['user']}, by {answer['model']}")
    for listed in answer["items"][:5]:
        card = json.loads(client.get(f"{PREFIX}:item:{listed['item']}") or "{}")
        print(f"{listed['item']:<12} {listed['score']:.3f}  {card.get('title', '')}")
    client.close()
    return 0


if __name__ == "__main__":
    defaults = ["alice", "redis://127.0.0.1:6379/0"]
    sys.exit(main(*sys.argv[1:3], *defaults[len(sys.argv) - 1 :]))
