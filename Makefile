# Needs Python 3.11 to 3.13 and make; everything else is fetched, pinned and checked. `make` alone says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help setup dev demo test check bench lock clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(VENV)/.runtime  ## make .venv with the `touchline` command

dev: $(VENV)/.dev  ## the same, with the tools for tests and checks

demo: setup  ## run the whole product on this machine
	$(BIN)/touchline demo

test: check  ## run the checks and every test, on real servers
	$(BIN)/python -m pytest

check: dev  ## lint, format, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit/test_imports.py

bench: dev  ## measure, side by side with peers
	$(BIN)/touchline bench

lock: $(VENV)/.dev  ## pin everything anew: Python packages and the servers' jars
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --extra local --generate-hashes --no-emit-index-url --no-header --output-file requirements/runtime.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --extra local --group dev --generate-hashes --no-emit-index-url --no-header --output-file requirements/dev.txt pyproject.toml
	$(BIN)/python -m deploy.local.lock

clean:  ## stop the local stack, then remove .venv and everything that was made here, data too
	@if [ -x $(BIN)/touchline ]; then $(BIN)/touchline down --wipe; elif [ -d .touchline ]; then echo "make setup first: the stack may run"; exit 1; fi
	rm -rf $(VENV) .touchline build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
