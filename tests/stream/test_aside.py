"""Interrupts that come while a library works: they reach whoever waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream.aside import aside

ROOT = Path(__file__).resolve().parents[2]

# The signal comes amid a step of the library's own loop, which takes all exceptions for its own.
PROGRAM = """
import os, signal, socket, sys
from stream.kafka import KafkaSink
from stream.settings import KafkaSettings

def interrupted(*_arguments, **_options):
    os.kill(os.getpid(), signal.SIGTERM)
    raise socket.gaierror("no such host")

signal.signal(signal.SIGTERM, signal.default_int_handler)
socket.getaddrinfo = interrupted
try:
    KafkaSink(KafkaSettings(bootstrap="nowhere.invalid:9092", timeout_s=5))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_while_a_producer_connects_is_not_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
        text=True,
        timeout=100,
    )
    assert done.stdout == "interrupted\n", done.stderr
    assert done.returncode == 0


def test_results_and_errors_come_back() -> None:
    assert aside(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)
