"""A member of a group in a process of its own: says which partitions it has, until it is killed."""

from __future__ import annotations

import json
import sys

from stream.kafka import KafkaSource
from stream.settings import KafkaSettings


def main() -> None:
    given = json.loads(sys.argv[1])
    settings = KafkaSettings.model_validate(given)
    source = KafkaSource(settings, [settings.events], settings.group)
    said: list[int] | None = None
    while True:
        source.poll(100, 100)
        held = sorted(place.partition for place in source.assignment())
        if held != said:
            said = held
            sys.stdout.write(f"{json.dumps(held)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
