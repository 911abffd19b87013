# Two commands: `make serve` (install, index, serve) and `make test` (everything, offline).
# Overrides: PORT=8001  DOCS="folder file.pdf"  WINNOW_HOME=/data/winnow  PYTHON=python3.12  VENV=.venv

SHELL       := /bin/bash
PYTHON      ?= python3
VENV        ?= .venv
PORT        ?= 8000
HOST        ?= 127.0.0.1
TEST_WORKERS ?= 2
DOCS        ?=
WINNOW_HOME ?= .winnow
VLLM_ENV    ?=
export WINNOW_HOME

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --prefer-binary --no-compile -c constraints.txt

.PHONY: serve test test-vllm nightly lint types suite browser bench clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

serve: $(VENV)/.default  ## install, index Python's language reference and DOCS, serve on PORT
	@$(BIN)/python -m indexing pydoc
	@if [ -n "$(DOCS)" ]; then $(BIN)/python -m indexing add $(DOCS) || [ $$? -eq 1 ]; fi
	@exec $(BIN)/python -m serving --host $(HOST) --port $(PORT)

test: lint types suite  ## lint, types and the whole suite, offline

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

# Most tests wait for a process they started, so two run at once; TEST_WORKERS=0: one by one, in one process.
suite: $(VENV)/.test browser
	HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

test-vllm: $(VENV)/.test  ## the tests that need a real vLLM; VLLM_ENV=/path names an installed one (3.4 GB)
	$(BIN)/python -m tests.serving.vllm.run $(if $(VLLM_ENV),--environment $(VLLM_ENV))

# Each prints its seed; NIGHTLY_SEED=N repeats it.
nightly: $(VENV)/.test  ## the long random runs: 20,000 index operations, many requests for each route
	NIGHTLY_OPERATIONS=$${NIGHTLY_OPERATIONS:-20000} $(BIN)/python -m pytest -s tests/indexing/test_state_machine.py
	NIGHTLY_EXAMPLES=$${NIGHTLY_EXAMPLES:-200} $(BIN)/python -m pytest -s tests/serving/test_schemathesis.py

# The page's tests drive a real Chromium. Where there is none and apt can bring it, it is installed;
# elsewhere the suite says so and runs without them: WINNOW_TEST_BROWSER=off make test
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  [ "$$WINNOW_TEST_BROWSER" = off ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver fonts-noto-cjk >/dev/null; } || { \
	  echo "the page's tests need Chromium: apt-get install chromium chromium-driver fonts-noto-cjk"; \
	  echo "or leave them out: WINNOW_TEST_BROWSER=off make test"; exit 1; }; }

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.default: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) ..." >&2
	@$(PIP) -e .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the suite's packages into $(VENV) ..." >&2
	@$(PIP) torch
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.default

clean:  ## remove the environment; the index in WINNOW_HOME stays
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
