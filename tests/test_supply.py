"""What the image is made of: packages by version and hash, and no code that runs what it reads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("stream", "features", "models", "consumers", "rillet", "benchmarks", "scripts")
LOCKS = ("requirements.lock", "requirements-torch.lock")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted() -> dict[str, str]:
    """Return each direct dependency's name, with its lowest version."""
    found = {}
    for line in PYPROJECT["project"]["dependencies"]:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?>=([0-9.]+)", line)
        assert match, line
        found[normal(match[1])] = match[2]
    return found


def locked() -> dict[str, str]:
    """Return each locked package's name, with its version."""
    text = "".join((ROOT / name).read_text("utf-8") for name in LOCKS)
    return {normal(n): v for n, v in re.findall(r"^([a-z0-9._-]+)==([^ \\]+)", text, re.MULTILINE)}


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition(".post")[0]))


def test_every_direct_dependency_is_locked_at_a_version_that_it_allows() -> None:
    found, lowest = locked(), wanted()
    assert len(lowest) > 20
    assert set(lowest) <= set(found)
    assert {n for n, least in lowest.items() if number(found[n]) < number(least)} == set()


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_its_hashes_and_comes_from_nowhere_in_particular(
    name: str,
) -> None:
    text = (ROOT / name).read_text("utf-8")
    blocks = re.findall(r"^[a-z0-9].*\n(?:^[ ].*\n)*", text, re.MULTILINE)
    assert len(blocks) >= 5
    assert [block.split("\n")[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links| @ ", text) == []
    rest = re.sub(r"^[a-z0-9].*\n(?:^[ ].*\n)*", "", text, flags=re.MULTILINE)
    assert all(line.startswith("#") for line in rest.splitlines())


def test_torch_and_its_libraries_are_apart_for_other_builds_have_other_hashes() -> None:
    apart = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / LOCKS[1]).read_text("utf-8"), re.MULTILINE))
    assert "torch" in apart
    assert {one for one in locked() if one.startswith(("nvidia-", "cuda-"))} <= apart


def test_the_image_installs_nothing_but_what_is_locked() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    assert "PIP_NO_DEPS=1" in text
    assert "PIP_ONLY_BINARY=:all:" in text
    installs = re.findall(r"pip install [^;&\n]+", text)
    strict = [f"pip install --require-hashes -r {name}" for name in LOCKS]
    by_the_locked_version = 'pip install $TORCH_FLAGS "$(grep'
    ourselves = "pip install --no-build-isolation ."
    for install in map(str.strip, installs):
        known = install in (*strict, ourselves) or install.startswith(by_the_locked_version)
        assert known, install
    assert len(installs) == 4


def test_bandits_rules_are_on() -> None:
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert {rule for rule in lint["ignore"] if rule.startswith("S")} == {"S101", "S603"}


PROBES = {
    "S301": "import pickle\npickle.loads(raw)\n",
    "S102": "exec(raw)\n",
    "S307": "eval(raw)\n",
    "S506": "import yaml\nyaml.load(raw)\n",
    "S602": "import subprocess\nsubprocess.run(raw, shell=True)\n",
    "S501": "import requests\nrequests.get(raw, verify=False, timeout=1)\n",
    "S108": "path = '/tmp/known'\n",
}


@pytest.mark.parametrize("rule", PROBES)
def test_the_linter_refuses_what_runs_what_it_reads(rule: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "S"]
    command += ["--output-format", "concise", "--stdin-filename", "stream/probe.py", "-"]
    done = subprocess.run(
        command, input=PROBES[rule], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert f" {rule} " in done.stdout, done.stderr


FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
UNSAFE = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "os.execv", "os.spawnv", "subprocess.getoutput"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("torch.load", "torch.jit.load", "torch.hub.load", "np.fromregex"),
}
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve"} | {
    "marshal",
    "jsonpickle",
}


def unsafe(tree: ast.Module) -> list[str]:
    """Return what of this code could run what it reads."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in UNSAFE_MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] if node.module.split(".")[0] in UNSAFE_MODULES else []
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if name in UNSAFE else []
            found += [
                f"{word.arg}=..."
                for word in node.keywords
                if word.arg in ("shell", "allow_pickle", "trust_remote_code", "weights_only")
                and not (isinstance(word.value, ast.Constant) and word.value.value is False)
            ]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_was_read_is_run(path: Path) -> None:
    assert unsafe(ast.parse(path.read_text("utf-8"))) == []


def test_the_search_finds_what_it_looks_for() -> None:
    for probe in [
        "import pickle",
        "from joblib import load",
        "eval(x)",
        "yaml.load(x)",
        "torch.load(x)",
        "run(x, shell=True)",
        "np.load(x, allow_pickle=True)",
    ]:
        assert len(unsafe(ast.parse(probe))) == 1, probe
    assert unsafe(ast.parse("re.compile(x); yaml.safe_load(x); run(x, shell=False)")) == []
