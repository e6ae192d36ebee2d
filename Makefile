# `make demo` and `make test` do all their own set-up on a fresh Linux machine with Python 3.11 or 3.12.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
DEMO_HOME ?= .ecos/demo
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help demo test unit lint types imports services lock docs bench clean

help: ## Print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

.venv/.installed: requirements/lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "ecos: Python 3.11 or 3.12 is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Installing the locked packages into .venv (about 6 GB, a few minutes) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements/lock.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

demo: .venv/.installed ## The whole job on embedded images
	$(BIN)/ecos demo --home $(DEMO_HOME)

test: .venv/.installed services ## The whole test suite
	$(BIN)/python -m pytest -q

unit: .venv/.installed ## The tests that start no server or process
	$(BIN)/python -m pytest -q -m "not integration and not slow"

services: ## Debian's packages that the integration tests need (Chromium, PostgreSQL)
	@bash tests/integration/install_services.sh

lint: .venv/.installed ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed ## Types
	$(BIN)/mypy

imports: .venv/.installed ## Imports point one way
	$(BIN)/lint-imports

docs: .venv/.installed ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: .venv/.installed ## Speed against peers, small
	$(BIN)/ecos bench k_center --quick
	$(BIN)/ecos bench kmeans --quick

lock: ## Write requirements/lock.txt anew from pyproject.toml
	bash requirements/lock.sh

clean: ## Remove what the demo wrote
	rm -rf $(DEMO_HOME)
