#!/usr/bin/env python3
"""Write the lock files of the application's image: every package, by version and hash.

requirements.lock has all that `pyproject.toml` needs without its extras, but torch and the GPU
libraries that come with it; those are in requirements-torch.lock, since another build of torch
(for the CPU alone) has other hashes, and none of the libraries. Versions that are locked stay as
they are unless told otherwise. Needs uv: pip install -e '.[supply]'.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-torch.lock")
TORCH = re.compile(r"(torch|triton|cuda-|nvidia-)")
HEAD = """\
# Written by scripts/lock.py from pyproject.toml, for Python 3.11 and newer; see docs/supply.md.
"""
EXAMPLES = """\
examples:
  scripts/lock.py                      after a change of pyproject.toml
  scripts/lock.py --upgrade            everything to its newest version
  scripts/lock.py --upgrade-package redis
  scripts/lock.py --check              exit status 1 where the files are not what they should be
"""


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upgrade", action="store_true", help="take the newest of everything")
    parser.add_argument("--upgrade-package", action="append", default=[], metavar="NAME")
    parser.add_argument("--check", action="store_true", help="change nothing; compare")
    arguments = parser.parse_args()
    options = ["--upgrade"] if arguments.upgrade else []
    for name in arguments.upgrade_package:
        options += ["--upgrade-package", name]
    texts = split(compiled(options))
    if arguments.check:
        stale = [path.name for path, text in zip(LOCKS, texts, strict=True) if read(path) != text]
        print(f"stale: {', '.join(stale)}" if stale else "the lock files are up to date")
        return bool(stale)
    for path, text in zip(LOCKS, texts, strict=True):
        path.write_text(text, "utf-8")
        print(f"{path.name}: {len(blocks(text))} packages")
    return 0


def read(path: Path) -> str:
    """Return what a lock file says; nothing where there is none."""
    return path.read_text("utf-8") if path.exists() else ""


def compiled(options: list[str]) -> str:
    """Resolve with uv, starting from what is locked; return one lock of everything."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.lock"
        whole.write_text("".join(map(read, LOCKS)), "utf-8")
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
        command += [*options, "--output-file", str(whole), str(ROOT / "pyproject.toml")]
        try:
            subprocess.run(command, check=True, cwd=ROOT)
        except FileNotFoundError:
            sys.exit("there is no uv: pip install -e '.[supply]'")
        except subprocess.CalledProcessError as error:
            sys.exit(error.returncode)
        return whole.read_text("utf-8")


def blocks(text: str) -> list[str]:
    """Return each package's lines: its version, its hashes."""
    return re.findall(r"^[a-z0-9].*\n(?:^[ ].*\n)*", text, re.MULTILINE)


def split(text: str) -> tuple[str, str]:
    """Return what all images have, and torch with what comes with it."""
    found = blocks(text)
    torch = [block for block in found if TORCH.match(block)]
    others = [block for block in found if not TORCH.match(block)]
    return HEAD + "".join(others), HEAD + "".join(torch)


if __name__ == "__main__":
    sys.exit(main())
