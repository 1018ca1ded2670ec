# Everything runs in .venv, which every verb that needs it makes by itself. Needs Python 3.11 or newer, and make.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install run test check bench bench-peers fix lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: .venv/installed ## set up .venv with what the service needs

run: .venv/installed ## run everything on this machine until Ctrl-C, and show one interaction
	@$(BIN)/orchestrator up --hello $(ARGS)

# What tests write need not survive the machine, and memory takes it quicker than a disk; where there is enough of it.
SCRATCH := $(shell df -Pm /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000 { print "/dev/shm" }')

test: export TMPDIR := $(or $(TMPDIR),$(SCRATCH),/tmp)
test: .venv/installed-dev .venv/installed-node ## run the tests against real processes; ARGS="tests/api -k name" runs a part
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: .venv/installed-dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: .venv/installed-dev ## format, and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed-bench ## measure speed beside plainer ways to build it; QUICK=1: the main ratios, in two minutes
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

bench-peers: .venv/installed-bench .venv-peers/installed ## the same, beside the LiteLLM proxy too
	@$(BIN)/python -m bench --peers $(if $(QUICK),--quick) $(ARGS)

lock: .venv/installed-dev ## choose the newest versions that pyproject.toml allows and lock them
	$(BIN)/pip install --quiet pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade $(LOCK) --build-deps-for=editable --output-file=requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade $(LOCK) --extra=dev --constraint=requirements.lock --output-file=requirements-dev.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade $(LOCK) --extra=bench --constraint=requirements-dev.lock --output-file=requirements-bench.lock pyproject.toml

LOCK := --allow-unsafe --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-options

clean: ## remove .venv and caches; conversations in .orchestrator stay
	rm -rf .venv .venv-peers tests/clients/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another with PYTHON=…") if sys.version_info < (3, 11) else None'
	@echo "making .venv"
	@$(PYTHON) -m venv .venv

.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing the service (once)"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar on --requirement requirements.lock
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: requirements-dev.lock .venv/installed
	@echo "installing what tests and checks need (once)"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar on --requirement requirements-dev.lock
	@touch $@

.venv/installed-bench: requirements-bench.lock .venv/installed-dev
	@echo "installing what the bench draws with (once)"
	@$(BIN)/pip install --disable-pip-version-check --progress-bar on --requirement requirements-bench.lock
	@touch $@

# What the service is compared with has dependencies of its own, which are none of ours.
.venv-peers/installed: bench/peers.txt | .venv/bin/python
	@echo "making .venv-peers (once)"
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/pip install --disable-pip-version-check --progress-bar on --requirement bench/peers.txt
	@touch $@

# Clients of ours that are written in JavaScript: without npm, or without a network, their tests are skipped and say so.
.venv/installed-node: tests/clients/node/package.json | .venv/installed-dev
	@if command -v npm >/dev/null; then \
		echo "installing the JavaScript clients that the tests use (once)"; \
		(cd tests/clients/node && npm install --silent --no-audit --no-fund --fetch-retries=1) && touch $@ \
			|| echo "they could not be installed: their tests are skipped"; \
	fi
