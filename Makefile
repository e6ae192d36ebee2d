# `make demo` and `make test` do all their own set-up on a fresh Linux machine with Python 3.11 or 3.12.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
# A process a core, four at most: each starts the servers that its tests need. A file's tests stay together.
PYTEST := $(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile
DEMO_HOME ?= .ecos/demo
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help install demo test unit lint types imports services lock docs bench clean

help: ## Print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

# $(call install,NAME): the packages of requirements/NAME.txt, with hashes, and this checkout, editable.
define install
	@test -n "$(PYTHON)" || { echo "ecos: Python 3.11 or 3.12 is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Installing the locked packages of requirements/$(1).txt into .venv (a few minutes) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements/$(1).txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
endef

# What the demo needs; `make test` adds its tools to the same environment.
.venv/.cloud: requirements/cloud.txt pyproject.toml
	$(call install,cloud)
	@touch $@

.venv/.dev: requirements/dev.txt pyproject.toml
	$(call install,dev)
	@touch $@ .venv/.cloud

install: .venv/.cloud ## What the cloud side needs, into .venv

demo: .venv/.cloud ## The whole job on embedded images
	$(BIN)/ecos demo --home $(DEMO_HOME)

test: .venv/.dev services ## The whole test suite
	$(PYTEST)

unit: .venv/.dev ## The tests that start no server or process
	$(PYTEST) -m "not integration and not slow"

services: .venv/.dev ## Debian's packages that the integration tests need (Chromium, PostgreSQL), and Label Studio
	@bash tests/integration/install_services.sh
	@bash deployments/label_studio/install.sh $(BIN)/python >/dev/null 2>&1 & # the tests wait for it

lint: .venv/.dev ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev ## Types
	$(BIN)/mypy

imports: .venv/.dev ## Imports point one way
	$(BIN)/lint-imports

docs: .venv/.dev ## Build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: .venv/.dev ## Speed against peers, small
	$(BIN)/ecos bench k_center --quick
	$(BIN)/ecos bench kmeans --quick

lock: ## Write the lock files of requirements/ anew from pyproject.toml
	PYTHON=$(PYTHON) bash requirements/lock.sh

clean: ## Remove what the demo wrote
	rm -rf $(DEMO_HOME)
