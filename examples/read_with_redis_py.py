"""Read recommendations with nothing but a Redis client: one round trip, no Rillet needed.

python examples/read_with_redis_py.py alice
python examples/read_with_redis_py.py alice unix:///path/to/redis.sock

Without a URL it takes that of RILLET_REDIS__URL, else redis://127.0.0.1:6379/0.
"""

from __future__ import annotations

import json
import os
import sys

import redis

PREFIX = "rillet:1"
URL = os.environ.get("RILLET_REDIS__URL", "redis://127.0.0.1:6379/0")


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
    user, url = [*sys.argv[1:3], *["alice", URL][len(sys.argv) - 1 :]]
    try:
        sys.exit(main(user, url))
    except (ValueError, redis.RedisError) as error:  # no URL, or nobody answers there
        sys.exit(f"Redis cannot be read: {error}")
