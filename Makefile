# Rillet's chores. `make` alone lists them.

PYTHON ?= python3

BIN := .venv/bin
SERVICES := $(PYTHON) scripts/services.py
DEMO := build/demo
DEMO_USER ?= u00217
PORT ?= 0

SCHEDULES ?= 200
SEED ?= 0

# Small matrices gain nothing from threads, which would fight for the cores.
export OPENBLAS_NUM_THREADS ?= 1

# Half of a test run is waiting for processes; a file's tests stay together, for their fixtures.
SHARED := -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help venv demo console test test-fast check format services services-stop services-status bench bench-compare faults lock audit fuzz clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: .venv/.installed  ## make .venv with Rillet and its tools, once per change of pyproject.toml

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Rillet needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/it" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { test "$$(id -u)" = 0 && apt-get update -q && apt-get install -yq python3-venv; } \
	  || { echo "Python's venv module is missing: install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' \
	  || $(BIN)/pip install -q torch
	$(BIN)/pip install -q -e '.[dev]'
	@touch $@

demo: export RILLET_REDIS__URL := embedded:$(DEMO)/redis
demo: venv  ## simulate a shop, replay it, show a list and, on a terminal, the console; OPEN=0 or 1
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(BIN)/rillet simulate -o $(DEMO)/events.jsonl.gz --users 500 --items 800 --days 7
	$(BIN)/rillet replay $(DEMO)/events.jsonl.gz --plot $(DEMO)/metrics.png --json $(DEMO)/report.json
	$(BIN)/rillet recommend $(DEMO_USER)
	@if test "$(OPEN)" = 1 || { test -t 1 && test -z "$(OPEN)"; }; \
	then exec $(MAKE) --no-print-directory console; \
	else echo "make console: click in the shop, and see the list follow" >&2; fi

console: export RILLET_SERVE__REPORT := $(DEMO)/report.json
console: venv  ## open the demo's shop in a browser: click, and see the list follow; PORT=N
	@test -d $(DEMO)/redis || { echo "there is no shop yet: make demo" >&2; exit 1; }
	$(BIN)/rillet serve --embedded $(DEMO)/redis --resume-clock --port $(PORT) --open

test: check  ## check, then every test, with a real Kafka and a real Redis that it starts and stops
	$(PYTHON) scripts/browser.py
	$(PYTHON) scripts/promtool.py
	$(SERVICES) run -- $(BIN)/python -m pytest -q $(SHARED)

test-fast: venv  ## the tests that need no service
	$(BIN)/python -m pytest -q $(SHARED) -m 'not integration'

check: venv  ## format, lint and types; changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: venv  ## rewrite the code in the project's format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

services:  ## start a real Kafka and Redis on loopback; ports: RILLET_TEST_KAFKA_PORT=N, ..._REDIS_PORT=N
	$(SERVICES) start

services-stop:  ## stop what `make services` started, and drop its data
	$(SERVICES) stop

services-status:  ## show whether they run, and where
	$(SERVICES) status

bench: venv  ## measure speed, freshness, size and quality; prints tables, writes build/bench.json; ARGS=--quick
	$(SERVICES) run -- $(BIN)/python -m benchmarks $(ARGS)

bench-compare: venv  ## replay in turns with the engine of BASE=ref and this one; fails where it got worse
	$(BIN)/python -m benchmarks.refs $(or $(BASE),$(error BASE=ref is missing: the commit to compare with)) $(ARGS)

lock: venv  ## write requirements*.lock anew after a change of pyproject.toml; ARGS=--upgrade for all
	$(BIN)/pip install -q -e '.[supply]'
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python scripts/lock.py $(ARGS)

audit: venv  ## look the locked versions up among known vulnerabilities; needs the internet
	$(BIN)/pip install -q -e '.[supply]'
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock -r requirements-torch.lock

fuzz: venv  ## random bytes through the decoder of events; FUZZ_S=600
	$(BIN)/pip install -q -e '.[fuzz]'
	$(BIN)/python -m benchmarks.fuzz --seconds $(or $(FUZZ_S),60)

faults: venv  ## kill consumers and servers by seeded schedules, compare with a replay: SCHEDULES=N, SEED=N
	$(BIN)/python -m tests.faults --schedules $(SCHEDULES) --seed $(SEED)

clean:  ## stop the services and remove what was built; keeps .venv
	$(SERVICES) stop
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
