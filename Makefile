# What a newcomer types. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
LITELLM := $(VENV)/litellm
CODE := src tests tools benchmarks
BUILT := src/polyforge/server/console/static
SOURCES := $(wildcard $(CODE))
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Only hashed wheels, no resolving and no building: what the lock says, or nothing.
SYNC := $(PIP) install --quiet --no-compile --no-deps --only-binary :all: --require-hashes --requirement
CONSOLE := $(BIN)/python tools/build_console.py
COMPILE := $(BIN)/python -m compileall -q -j 0
# Tests that share a file share a process, since what that file started is theirs.
PROCESSES ?= 2
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--custom-compile-command "make lock"

##@ Use it
.PHONY: up
up: install ## Start Polyforge on http://127.0.0.1:8080 (ARGS="--port 9000" for options)
	@$(CONSOLE) build --in-background
	@$(BIN)/polyforge up $(ARGS)

.PHONY: console
console: install ## Build the console, which `make up` does in the background (Node comes as a wheel)
	@$(CONSOLE) build

.PHONY: install
install: $(VENV)/installed ## Make .venv with Polyforge and what it needs, from the lock

##@ Work on it
.PHONY: test
test: $(VENV)/installed-dev $(LITELLM)/installed ## Run the whole suite, with what it needs installed (ARGS="-k name" to choose; PROCESSES=0: one by one)
	@tools/need-programs postgres redis-server nginx wrk chromium fonts-noto-core
	@$(CONSOLE) build
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile $(ARGS)

.PHONY: check
check: $(VENV)/installed-dev ## Format, lint, types, import contract, licences, drift of the docs, the console's own
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tools/licences.py
	$(BIN)/python tools/docs.py --check
	$(CONSOLE) check

.PHONY: fix
fix: $(VENV)/installed-dev ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

.PHONY: docs
docs: $(VENV)/installed-dev ## Write the generated pages of docs/reference
	$(BIN)/python tools/docs.py

.PHONY: client
client: $(VENV)/installed-dev ## Write what the console knows of the API, after a change of the API
	$(BIN)/python tools/console_client.py

.PHONY: screenshots
screenshots: $(VENV)/installed-dev ## Write the pictures of the console in docs/images
	@tools/need-programs chromium
	@$(CONSOLE) build
	$(BIN)/python tools/screenshots.py

.PHONY: soak
soak: $(VENV)/installed-dev ## Run the long tests at their full counts (`make test` runs a tenth)
	@tools/need-programs postgres redis-server nginx wrk
	POLYFORGE_SOAK=1 $(BIN)/python -m pytest -m soak --timeout 7200 $(ARGS)

.PHONY: bench
bench: $(VENV)/installed-dev ## Measure against other gateways; results go to benchmarks/results
	@tools/need-programs nginx wrk
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-serving
bench-serving: $(VENV)/installed-dev ## Measure against other model servers (ARGS="--models FOLDER --quick")
	@tools/need-programs wrk
	$(BIN)/python -m benchmarks serving $(ARGS)

.PHONY: scorecard
scorecard: $(VENV)/installed-dev ## Try faults and races on us and on other gateways: who does the right thing
	$(BIN)/python -m benchmarks scorecard $(ARGS)

.PHONY: lock
lock: $(VENV)/installed-dev ## Resolve the locks again (ARGS=--upgrade for newer versions)
	$(LOCK) --group pyproject.toml:installer --output-file requirements/installer.lock $(ARGS)
	$(LOCK) --group pyproject.toml:litellm --output-file requirements/litellm.lock $(ARGS)
	$(LOCK) --group pyproject.toml:console --output-file requirements/console.lock $(ARGS)
	$(LOCK) pyproject.toml --group build --output-file requirements/core.lock $(ARGS)
	$(LOCK) pyproject.toml --group build --group dev --constraint requirements/core.lock \
		--constraint requirements/console.lock --output-file requirements/dev.lock $(ARGS)

.PHONY: clean
clean: ## Remove .venv, the built console and caches (not the data folder)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache benchmarks/.peers
	rm -rf console/node_modules console/dist $(BUILT) $(dir $(BUILT))build.json
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List these commands
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@tools/make-venv $(VENV)
	@$(SYNC) requirements/installer.lock

# The package itself is installed in place, so its code is what src holds; the stamps follow the locks and pyproject.toml.
$(VENV)/installed: requirements/core.lock pyproject.toml | $(BIN)/python
	@$(SYNC) requirements/core.lock
	@$(PIP) install --quiet --no-index --no-deps --no-build-isolation --editable .
	@$(COMPILE) $(VENV)/lib src
	@touch $@

$(VENV)/installed-dev: requirements/dev.lock $(VENV)/installed
	@$(SYNC) requirements/dev.lock
	@$(COMPILE) $(VENV)/lib
	@touch $@

# The tests call LiteLLM as a client; it is compiled where it is imported, which is less than all of it.
$(LITELLM)/installed: requirements/litellm.lock | $(VENV)/installed
	@echo "installing LiteLLM for the tests into $(LITELLM) (once, about half a minute)"
	@$(BIN)/python -m venv --clear --without-pip $(LITELLM)
	@PIP_PYTHON=$(LITELLM)/bin/python $(SYNC) requirements/litellm.lock
	@touch $@
