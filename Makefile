# Set-up, checks and the main job; each target sets up what it needs.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
OUT ?= out

# The system packages to install: all, or vm for those of the main job alone.
PACKAGES ?= all

# Without it each start would compile every module again: packages come without bytecode.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup first-packages system-packages dev engine browser images test-images lint docs test unit coverage \
	reproduce benchmark planned-against-measured outputs-document fidelity reliability latency-document \
	engines-document pages report-picture wheel clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: system-packages $(BIN)/.installed ## Install what pibench needs to run (apt with sudo when not root)

# What the environment and the images need to be made while the other packages are installed.
first-packages:
	@scripts/install-system-packages.sh first $(PACKAGES)

system-packages: first-packages
	@scripts/install-system-packages.sh rest $(PACKAGES)

$(BIN)/python: | first-packages
	$(PYTHON) -m venv $(VENV)

# A stamp for what runs pibench, and one for the tools that check it: each is renewed when the
# dependencies change.
$(BIN)/.installed: pyproject.toml scripts/install_packages.py | $(BIN)/python
	$(BIN)/python scripts/install_packages.py -e .
	@touch $@

$(BIN)/.installed-container: $(BIN)/.installed
	$(BIN)/python scripts/install_packages.py -e '.[container]'
	@touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(BIN)/python scripts/install_packages.py -e '.[dev]'
	@touch $@

dev: setup $(BIN)/.installed-dev ## Install the tools of lint, docs and tests too

images: $(BIN)/.installed | first-packages ## Build the images of the emulated board
	$(BIN)/pibench image build vm

test-images: $(BIN)/.installed | first-packages ## Build what most emulation tests need, before they wait for it
	$(BIN)/pibench image build vm blas-arm64 blas-amd64 carried

engine: setup $(BIN)/.installed-container ## Have a Docker Engine that runs arm64 containers (as root, or with sudo)
	@scripts/start-docker-engine.sh $(BIN)/python

lint: dev ## Style, types, workflows, and the documentation's links and references
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file .ci/mypy-tests.ini tests scripts benchmarks
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -m emulation --setup-plan --quiet --no-summary >/dev/null
	$(BIN)/shellcheck scripts/*.sh findings/*.sh .ci/run
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions action.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows examples/ci/github-workflow.yml examples/ci/release-workflow.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/problem.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.gitlab-ci examples/ci/gitlab-ci.yml
	$(BIN)/zizmor --offline --quiet --no-progress --config .ci/zizmor.yml action.yml examples/ci/github-workflow.yml examples/ci/release-workflow.yml
	$(BIN)/mkdocs build --quiet --strict

docs: dev ## The documentation as a site, into site/; no warning is let pass
	$(BIN)/mkdocs build --strict

browser: setup ## Have Chromium, in which the HTML report is tested and pictured
	@scripts/install-system-packages.sh browser

# By files, so that a worker loads the networks of a file's tests once. Tests of timeouts and
# signals mostly wait: one worker more than there are cores.
UNIT := -m pytest -m 'not system and not emulation and not browser' -n $$(($$(nproc) + 1)) --dist loadfile
# sys.monitoring, since Python 3.12, makes coverage cheap. Before, it takes twice the time.
HAS_MONITORING := import sys; sys.exit(sys.version_info < (3, 12))

unit: dev ## Tests that start few processes, and no engine or browser; from Python 3.12 on with coverage
	@if $(BIN)/python -c '$(HAS_MONITORING)'; then COVERAGE_CORE=sysmon $(MAKE) --no-print-directory coverage; \
	else $(BIN)/python $(UNIT); fi

coverage: dev ## The same tests, and how much of pibench they run in their own processes
	$(BIN)/python $(UNIT) --cov --cov-report=
	@echo "the unit tests run $$($(BIN)/coverage report --format=total) % of pibench's lines"

test: dev engine browser ## All tests, real Caffe in the emulated board and in containers included
	$(BIN)/python $(UNIT) --hypothesis-profile=thorough
	$(BIN)/python -m pytest -m 'system or browser' -n $$(($$(nproc) + 1)) --dist loadfile
	$(BIN)/python -m pytest -m emulation -n 2 --dist loadfile

# The packages are installed and the images built at the same time.
reproduce: ## The paper's 26 networks in the emulated board, beside the paper's table
	@$(MAKE) --no-print-directory $(if $(findstring --jobserver,$(MAKEFLAGS)),,-j) PACKAGES=vm setup images
	$(BIN)/pibench reproduce --out $(OUT)

benchmark: dev engine browser ## Memory-only against real compute, pibench run against docker run, counting, report
	$(BIN)/python benchmarks/memory_only_speed.py
	$(BIN)/python benchmarks/container_overhead.py
	$(BIN)/python benchmarks/counting_cost.py
	test -f $(OUT)/benchmark/records.jsonl || $(BIN)/pibench reproduce --target container --out $(OUT)/benchmark
	$(BIN)/python benchmarks/report_speed.py $(OUT)/benchmark/records.jsonl

planned-against-measured: setup ## Run the paper's networks, plan them, and write the table into docs/
	$(BIN)/python scripts/planned_against_measured.py $(OUT)/planned > docs/planned-against-measured.md

outputs-document: setup ## Run the paper's networks on two architectures and write docs/outputs.md
	$(BIN)/python scripts/outputs_document.py $(OUT)/outputs > docs/.outputs.md && mv docs/.outputs.md docs/outputs.md

fidelity: setup engine ## Run the paper's networks on every target; write the table of errors
	$(BIN)/python scripts/fidelity_table.py $(OUT)/fidelity | $(BIN)/python scripts/into_document.py fidelity README.md docs/trust.md

tables-document: setup ## Compare other people's tables with plans and predictions; write docs/trust.md's table of them
	$(BIN)/python scripts/tables_document.py | $(BIN)/python scripts/into_document.py tables docs/trust.md

PAPER = $$($(BIN)/python -c 'from pibench import networks as n; print(*(one.slug for one in n.catalog_entries() if one.in_paper))')

engines-document: setup ## Run the paper's networks with every engine, which takes hours; write docs/engines.md's table
	for engine in ncnn onnxruntime opencv opencv==4.5.1; do \
		$(BIN)/pibench run $(PAPER) --engine $$engine --target vm --repeats 0 --out $(OUT)/engines/engines.jsonl || exit; \
	done
	$(BIN)/pibench reproduce --engines caffe,opencv,opencv==4.5.1,onnxruntime,ncnn --out $(OUT)/engines
	$(BIN)/python scripts/into_document.py engines docs/engines.md < $(OUT)/engines/engines.md

reliability: dev engine ## Kill, fuzz and soak for an hour or two, and write docs/reliability.md
	$(BIN)/python scripts/install_packages.py -e '.[dev,fuzz]'
	$(BIN)/python scripts/reliability/document.py

latency-document: setup ## Write docs/latency.md and its pictures; count networks first for their rows
	$(BIN)/python scripts/latency_document.py docs > docs/.latency.md && mv docs/.latency.md docs/latency.md

pages: setup ## Run the commands of the Start page and of the first model; write what they print into them
	PIBENCH_CACHE_DIR=$(abspath $(OUT))/pages $(BIN)/python scripts/page_commands.py docs/first-model.md docs/index.md
	$(BIN)/pibench plan vgg16 --plot docs/vgg-16.svg >/dev/null

report-picture: dev browser ## Write docs/report.png, the head of the HTML report of OUT/records.jsonl
	$(BIN)/python scripts/report_picture.py $(OUT)/records.jsonl docs/report.png

wheel: $(BIN)/.installed ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove the environment and what tools left; images stay (pibench image prune)
	rm -rf $(VENV) dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
