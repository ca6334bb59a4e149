# Every target works from a clean clone: the first one that needs it makes .venv and installs everything there.
#   make demo   start a real Node server, load it, measure it, catch its planted leaks
#   make test   the project's tests
# Python 3.10 or newer is needed; Node.js is taken from PATH or, where there is none, from PyPI.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo $$p; break; }; done)
# Those that the 'node' extra's package offers; others (18, 26) are taken from npm when they are named.
NODE_MAJORS ?= 20 22 24
# A sample that needs no npm package: heap, external memory, descriptors and look-alikes; eight runs, a few minutes.
CORPUS_SLICE ?= mis-latency-samples,mis-buffer-slice-retained,mis-fd-error-path,ok-plain-http,ok-ring-buffer-frames
PYTEST_ARGS ?=
# Tests beside each other: they mostly wait for apps.  0 runs them one by one.
TEST_JOBS ?= 2

.PHONY: help demo test test-browser test-node-matrix lint types check docs fuzz heap-large corpus corpus-slice bench bench-load clean
help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,4p'
	@echo "  more: test-browser test-node-matrix lint types docs fuzz heap-large corpus corpus-slice bench clean"

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python >= 3.10 found; set PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; install its venv package (Debian: python3-venv)"; exit 2; }
	@echo "installing into $(VENV) (once) ..."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(PY) -m pip install -q --disable-pip-version-check --group dev -e '.[fast,xdist]'
	@command -v node >/dev/null 2>&1 || $(PY) -m pip install -q --disable-pip-version-check -e '.[node]'
	@touch $(STAMP)

demo: $(STAMP)
	cd examples/quickstart && ../../$(PY) -m pytest --memory-baseline=baseline.json --html=report.html \
		--self-contained-html --memory-report=memory-report.html $(PYTEST_ARGS)
	@echo "To look at: examples/quickstart/report.html (pytest-html) and examples/quickstart/memory-report.html"

test: $(STAMP)
	$(PY) -m pytest -m "not browser" -n $(TEST_JOBS) --dist worksteal $(PYTEST_ARGS)

test-browser: $(STAMP)
	$(PY) -m pip install -q --disable-pip-version-check --group browser
	$(PY) -m pytest -m browser $(PYTEST_ARGS)

# The live tests once per Node major that the 'node' extra's package offers.
test-node-matrix: $(STAMP)
	$(PY) benchmarks/node_matrix.py $(NODE_MAJORS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: lint types test

# docs/options.md and the JSON Schemas are written from the tables they describe; a test fails when they are stale.
docs: $(STAMP)
	$(PY) docs/generate.py

# The load engine beside autocannon (npm) and wrk (where it is installed); then ten million requests, c. 10 minutes.
bench-load: $(STAMP)
	$(PY) benchmarks/load.py --flat 10000000

# Coverage-guided fuzzing of the snapshot parser and everything behind it; FUZZ_S seconds, from the seeds on.
FUZZ_S ?= 300
fuzz: $(STAMP)
	$(PY) -m pip install -q --disable-pip-version-check --group fuzz
	$(PY) tests/fuzz_snapshot.py -max_total_time=$(FUZZ_S) -timeout=20 -rss_limit_mb=4096 -max_len=4096

# A snapshot file beyond 2^24 nodes, written directly, and every answer about it; some minutes.
heap-large: $(STAMP)
	$(PY) benchmarks/heap_large.py $(HEAP_LARGE_ARGS)

# All of it takes hours; what was interrupted goes on with CORPUS_ARGS=--resume.
corpus: $(STAMP)
	$(PY) benchmarks/corpus.py --repeat 3 --json corpus-runs.json $(CORPUS_ARGS)

# A few apps of the corpus, once: whether the leak verdict still tells leaky from healthy.
corpus-slice: $(STAMP)
	$(PY) benchmarks/corpus.py --repeat 1 --cases '$(CORPUS_SLICE)'

# What the plugin costs: to those who do not use it, and the app that is watched; how large the report of a large session
# is, and how long it takes to open (in Chromium, where there is one).  Wants a quiet machine.
bench: $(STAMP)
	$(PY) benchmarks/import_cost.py
	$(PY) benchmarks/monitor_overhead.py
	$(PY) benchmarks/report.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis memory-results
