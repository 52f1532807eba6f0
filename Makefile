# Needs Python 3.11 to 3.13 and make; everything else is fetched, pinned and checked. `make` alone says what there is.
PYTHON ?= python3
UPGRADE ?=
LANES ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
SETUPTOOLS = sed -n '/^setuptools==/,/[^\\]$$/p' requirements/dev.txt
COMPILE = $(VENV)/uv/bin/uv pip compile --quiet $(UPGRADE) --universal --generate-hashes --no-emit-index-url --no-header --extra local
STOP_ALL = from pathlib import Path; from deploy.local.stack import Stack; [Stack(f.parent).stop() for f in Path(".touchline").glob("**/stack.json")]
.DEFAULT_GOAL := help
.PHONY: help setup dev demo test check bench lock clean

help: ## say what there is
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-14s%s\n", $$1, $$2 }'

setup: $(VENV)/.runtime ## make .venv with the touchline command

dev: $(VENV)/.dev ## the same, with the tools of tests and checks

demo: setup ## run the whole product on this machine
	$(BIN)/touchline demo

test: check ## run the checks, then every test, on real servers; LANES=1 for one after the other
	$(BIN)/python -m pytest --numprocesses $(LANES) --dist loadfile --no-loadscope-reorder

check: dev ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit/test_imports.py

bench: dev ## measure
	$(BIN)/touchline bench

lock: dev ## pin the Python packages and the servers' jars anew; newer versions with UPGRADE=--upgrade
	$(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/python -m pip install --quiet uv
	$(COMPILE) --output-file requirements/runtime.txt pyproject.toml
	$(COMPILE) --group dev --output-file requirements/dev.txt pyproject.toml
	@for list in runtime dev; do \
	  { echo '# Made by `make lock`; do not edit. Hashes, no addresses.'; cat requirements/$$list.txt; } > $(VENV)/list && mv $(VENV)/list requirements/$$list.txt; \
	done
	$(BIN)/python -m deploy.local.lock

clean: ## stop the local stacks, then remove .venv, data, caches of tools: all that was made in this folder
	@if [ -d .touchline ]; then $(BIN)/python -c '$(STOP_ALL)' || { echo 'A stack may run: `make setup` first.'; exit 1; }; fi
	rm -rf $(VENV) .touchline build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a list is installed again only when it, or the package's own metadata, changed. On top of what is there and never from scratch,
# because running servers may be using this folder's Java.
$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes -r requirements/runtime.txt
	@$(SETUPTOOLS) > $(VENV)/setuptools.txt
	$(PIP) --require-hashes -r $(VENV)/setuptools.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo 'Python 3.11 to 3.13 is needed: make PYTHON=/path/to/python3.12 setup'; exit 1; }
	$(PYTHON) -m venv $(VENV)
