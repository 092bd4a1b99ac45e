# Two commands matter: `make demo` and `make test`. Both do all their own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11,$(shell $(name) -c \
  'import sys; print("$(name)") if (3, 11) <= sys.version_info < (3, 13) else None' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 1000
export ONCE

.PHONY: help demo test lint types contracts checks unit simulate machine mutants setup system proofs messages audit locks clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## A whole city on this machine: two real payments, then a trial balance (ONCE=1 exits)
	$(BIN)/python -m alatau_pay.devnet.demo

test: setup system lint types contracts checks unit ## All checks and all tests

setup: $(VENV)/.installed ## The virtual environment and the compiled translations
	$(BIN)/pybabel --quiet compile --domain django --directory locale

$(VENV)/.installed: requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null || { echo "Python 3.11 or 3.12 is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing what requirements-dev.lock lists into $(VENV): about two minutes and 700 MB."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

system: ## Chromium and Pango, from the system's packages, where missing
	@bash tools/system.sh

lint: ## Style, templates, Django idioms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files --cached --others --exclude-standard 'templates/*.html' | xargs $(BIN)/djade --check --target-version 5.2
	git ls-files --cached --others --exclude-standard '*.py' | xargs $(BIN)/django-upgrade --target-version 5.2

types: ## Static types
	DEVNET=1 $(BIN)/mypy alatau_pay chains settlement merchants tools

contracts: ## Which room may import which
	$(BIN)/lint-imports --no-cache

checks: ## Migrations are complete, the deployment checks are clean
	DEVNET=1 $(BIN)/python manage.py makemigrations --check --dry-run
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))') \
	  PUBLIC_URL=https://pay.example TRUST_PROXY=1 \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING

unit: ## The tests alone
	$(BIN)/python -m pytest

proofs: setup ## Many random schedules of faults, partitions and reorgs on real nodes (SCHEDULES=100)
	PROOF_SCHEDULES=$${SCHEDULES:-100} $(BIN)/python -m pytest -q tests/proof

simulate: setup ## Seeds of the simulator, side by side (SEEDS=10000)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS)

machine: setup ## The ledger against its model, longer than the tests look: 2,000 examples of 50 steps
	LEDGER_EXAMPLES=2000 LEDGER_STEPS=50 $(BIN)/python -m pytest -q -n 0 tests/settlement/test_machine.py

mutants: setup ## Plant bugs, and see the simulator catch each within 1000 seeds
	$(BIN)/python -m tests.simulation.mutants

messages: ## Gather the sentences of code and templates into the three catalogues
	$(BIN)/python -m tools.messages

audit: ## Ask the advisory database about the locked dependencies (needs the internet)
	$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock

locks: ## Compile the hash-pinned locks anew (needs uv)
	uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --exclude-newer "7 days" \
	  --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --exclude-newer "7 days" \
	  pyproject.toml -c requirements-dev.lock -o requirements.lock

clean: ## Remove what set-up made
	rm -rf $(VENV) .cache var staticfiles tools/node_modules locale/*/LC_MESSAGES/*.mo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
