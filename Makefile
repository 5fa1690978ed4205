# All checks are run from here. They use .venv, which make creates and keeps up to date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# What `make proof` runs: all long proofs, and the tests of `make test` that try many examples with ten times as many;
# or only the short proofs with ONLY="proof and short".
ONLY ?= proof or hypothesis

# Which tests to run, for example: make test TESTS=tests/domain
TESTS ?=

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
UV := .venv-lock/bin/uv
COMPILE := $(UV) pip compile --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command 'make lock' --quiet $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help install run test check words bench proof docs lock clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Create .venv with the third-thursday command

run: $(VENV)/.installed ## Run the demo on http://127.0.0.1:8000, with forty made-up members
	@exec $(BIN)/third-thursday demo

test: $(VENV)/.installed-dev ## Run the tests on all cores; tests that need PostgreSQL or a browser are skipped without it
	$(BIN)/python -m pytest -n auto --dist worksteal $(TESTS)

check: $(VENV)/.installed-dev ## Run ruff, mypy --strict and import-linter, and compare the catalogues with the sources
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python locales/words.py --check

words: $(VENV)/.installed-dev ## Update the catalogues of the languages, compile them, and fail where a translation is missing
	$(BIN)/python locales/words.py

bench: $(VENV)/.installed-dev ## Run the benchmarks; results are ratios
	$(BIN)/python bench/run.py
	$(BIN)/python bench/feeds.py
	$(BIN)/python bench/latency.py

proof: $(VENV)/.installed-dev ## Run the long proofs
	THIRD_THURSDAY_TEST_PROFILE=$${THIRD_THURSDAY_TEST_PROFILE:-proof} $(BIN)/python -m pytest -n 2 -m "$(ONLY)" $(TESTS) || [ $$? -eq 5 ]  # exit code 5: no test was selected

docs: $(VENV)/.installed-dev ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lock: ## Update the lock files; UPGRADE=1 also takes newer versions
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --disable-pip-version-check --quiet install 'uv>=0.9,<1'
	$(COMPILE) pyproject.toml --extra postgres -o requirements.lock
	$(COMPILE) --group build -c requirements.lock -o requirements-build.lock
	$(COMPILE) pyproject.toml --extra postgres --extra otel --group dev -c requirements.lock -c requirements-build.lock -o requirements-dev.lock
	$(COMPILE) --group docs -c requirements-dev.lock -o requirements-docs.lock
	rm -rf .venv-lock

clean: ## Remove everything that make and the tools created, but not var/
	rm -rf $(VENV) .venv-lock .readers build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f locales/*/LC_MESSAGES/*.mo
	find scheduler tests bench locales -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; choose it with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# Each stamp file records the last installation; make repeats it only if one of its inputs is newer. The installation
# compiles the catalogues.
$(VENV)/.installed: requirements.lock requirements-build.lock pyproject.toml $(wildcard locales/*/LC_MESSAGES/*.po) | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock requirements-docs.lock $(VENV)/.installed
	$(PIP) install --require-hashes -r requirements-dev.lock -r requirements-docs.lock
	@touch $@
