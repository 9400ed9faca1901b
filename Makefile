# Everything a person does with graphinator; `make help` lists it. Needs Python 3.11 or newer and nothing else.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# The code that writes batches once had no test: its lines and branches have a limit of their own.
BATCH_CODE := pipeline/graph/*,pipeline/records/normalise.py,workers/state/*,workers/upstream/*,workers/batch_writer.py,workers/tasks.py
BATCH_COVERAGE = $(BIN)/coverage report --include='$(BATCH_CODE)' --fail-under=95

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help install demo test lint chaos mutants bench bench-quick lock docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## set up .venv from the locked, hash-checked requirements

# --no-deps: the lock is complete. Left to resolve, pip would look for extras (kombu[redis]) in versions that it does not name.
$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "graphinator needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv (once, about a minute) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements-dev.txt
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## start the stack, import the sample dumps, show the graph
	@$(BIN)/graphinator demo

test: $(STAMP) ## run every test, on real servers
	@$(BIN)/python -m pytest --cov -n 3 --dist worksteal
	@$(BATCH_COVERAGE) > /dev/null 2>&1 || { $(BATCH_COVERAGE); exit 1; }

lint: $(STAMP) ## ruff, mypy --strict, import-linter, ast-grep, words, compose file, Kubernetes manifests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/ast-grep scan -c tests/checks/sgconfig.yml --report-style short pipeline workers ops tests
	@$(BIN)/python -m tests.checks.words pipeline workers ops tests
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/kubernetes-validate --strict --quiet --no-warn ops/kubernetes/*/*.yaml

chaos: $(STAMP) ## the fault tests in their longer form (half an hour), many inputs and histories
	@CHAOS=1 FUZZ=20000 HISTORIES=200 $(BIN)/python -m pytest --timeout 3600 -o faulthandler_timeout=4000 tests/acceptance/faults tests/unit/test_dump_fuzz.py tests/integration/test_histories.py

mutants: $(STAMP) ## re-introduce async bugs one by one: what lint and tests notice
	@$(BIN)/python -m tests.checks.mutants

bench: $(STAMP) ## measure everything again (more than an hour) and render docs/benchmarks.md
	@$(BIN)/python -m ops.bench
	@$(BIN)/python -m tests.checks.docs

bench-quick: $(STAMP) ## three minutes: fail if a ratio fell by more than a fifth below the committed one
	@$(BIN)/python -m ops.bench --check

lock: $(STAMP) ## pin the newest allowed requirements and the Neo4j jars again
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --extra flower --extra fetch -c requirements.txt pyproject.toml -o requirements-image.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --all-extras -c requirements-image.txt pyproject.toml -o requirements-dev.txt
	@$(BIN)/python -m ops.stack.jars

docs: $(STAMP) ## write the generated parts of the documentation again
	@$(BIN)/python -m tests.checks.docs

clean: ## remove .venv and what tools leave behind; the stack's data stays
	@rm -rf .venv .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache htmlcov dist
	@find pipeline workers ops tests -name __pycache__ -type d -prune -exec rm -rf {} +
