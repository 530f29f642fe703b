from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import murmur2 as theirs  # type: ignore[import-untyped]

from stream.partition import murmur2, partition_of


@given(st.binary(max_size=64))
def test_murmur2_equals_kafka_python(key: bytes) -> None:
    assert murmur2(key) == theirs(key) & 0xFFFFFFFF


@given(st.text(max_size=40), st.integers(1, 64))
def test_partition_is_the_one_kafka_python_chooses(key: str, partitions: int) -> None:
    chosen = (theirs(key.encode()) & 0x7FFFFFFF) % partitions
    assert partition_of(key, partitions) == partition_of(key.encode(), partitions) == chosen
