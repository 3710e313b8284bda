# Set-up, checks and the main job; each target sets up what it needs.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
OUT ?= out

.PHONY: help setup system-packages engine lint docs test unit reproduce benchmark \
	planned-against-measured latency-document wheel clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: system-packages $(BIN)/.installed ## Install all that is missing (apt with sudo when not root)

system-packages:
	@scripts/install-system-packages.sh

# One stamp for the environment: it is renewed when the dependencies change.
$(BIN)/.installed: pyproject.toml | system-packages
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

engine: setup ## Have a Docker Engine that runs arm64 containers (as root, or with sudo)
	@scripts/start-docker-engine.sh $(BIN)/python

lint: $(BIN)/.installed ## Style, types, and the documentation's links and references
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --quiet --strict

docs: $(BIN)/.installed ## The documentation as a site, into site/; no warning is let pass
	$(BIN)/mkdocs build --strict

unit: $(BIN)/.installed ## Tests that need no engine (under a minute)
	$(BIN)/python -m pytest -m 'not emulation' -n auto

test: setup engine ## All tests, real Caffe in the emulated board and in containers included
	$(BIN)/python -m pytest -m 'not emulation' -n auto
	$(BIN)/python -m pytest -m emulation

reproduce: setup ## The paper's 26 networks in the emulated board, beside the paper's table
	$(BIN)/pibench reproduce --out $(OUT)

benchmark: setup engine ## Memory-only against real compute, pibench run against docker run, counting
	$(BIN)/python benchmarks/memory_only_speed.py
	$(BIN)/python benchmarks/container_overhead.py
	$(BIN)/python benchmarks/counting_cost.py

planned-against-measured: setup ## Run the paper's networks, plan them, and write the table into docs/
	$(BIN)/python scripts/planned_against_measured.py $(OUT)/planned > docs/planned-against-measured.md

latency-document: setup ## Write docs/latency.md and its pictures; count networks first for their rows
	$(BIN)/python scripts/latency_document.py docs > docs/.latency.md && mv docs/.latency.md docs/latency.md

wheel: $(BIN)/.installed ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove the environment and what tools left; images stay (pibench image prune)
	rm -rf $(VENV) dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis
