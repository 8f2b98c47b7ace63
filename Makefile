# The commands of the README. A bare machine needs Python 3.11+, make and git: nothing else is installed by hand.
SHELL := /bin/sh
PYTHON ?= python3
PORT ?= 8787
# uv only saves time; without it the environment's own pip does the same work.
UV := $(shell command -v uv 2>/dev/null)
RUN := .venv/bin/python -m
PACKAGES := local_model_gateway mcp_server openai_shim broker catalog coordinator runtimes recipes
CODE := $(PACKAGES) tests benchmarks

ifdef UV
VENV = $(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
INSTALL = $(UV) pip install --quiet --python .venv/bin/python
else
VENV = $(PYTHON) -m venv .venv
INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.PHONY: help up test test-everyday test-slow test-engines test-properties check format docs bench bench-proxy bench-mcp bench-broker runbook lock clean

help: ## What there is to do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

.venv/.runtime: requirements/runtime.txt requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "local-model-gateway needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up .venv (once; about half a minute)"
	@$(VENV)
	@$(INSTALL) --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.runtime
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

# Real clients, agents, MCP servers and engines that tests drive; each in an environment of its own.
TOOLS := tests.broker.real_servers tests.clients.install tests.conformance.install tests.agents.install
.cache/.tools: .venv/.dev tests/broker/real_servers.py tests/clients/install.py tests/conformance/install.py tests/agents/install.py
	@mkdir -p .cache
	@for tool in $(TOOLS); do echo "$$tool"; $(RUN) $$tool || exit 1; done
	@touch $@

.cache/.engines: .venv/.dev tests/real_engines/install.py
	@mkdir -p .cache
	$(RUN) tests.real_engines.install
	@touch $@

up: .venv/.runtime ## Set up and start the gateway in the foreground, with a built-in model
	@$(RUN) local_model_gateway start --port $(PORT)

# What fails beside another worker is run once more, alone: see docs/decisions/a-second-look.md.
AGAIN := --last-failed --last-failed-no-failures none

test: .cache/.tools .cache/.engines ## The whole test suite, the slow parts too
	$(RUN) pytest -m "not engines" -n 2 --dist loadfile || $(RUN) pytest -m "not engines" $(AGAIN)
	$(RUN) pytest -m engines tests/real_engines || $(RUN) pytest -m engines tests/real_engines $(AGAIN)

test-everyday: .cache/.tools ## What to run while working: under five minutes
	$(RUN) pytest -m "not slow and not engines" -n 2 --dist loadfile

test-slow: .cache/.tools ## Real agents, long loads, crash loops
	$(RUN) pytest -m slow

test-engines: .cache/.engines ## Other real engines than llama.cpp: MLX and transformers on the CPU
	$(RUN) pytest -m engines tests/real_engines

check: .venv/.dev ## Format, lint, strict types, import rules, dead code, docs up to date
	$(RUN) ruff format --check $(CODE)
	$(RUN) ruff check $(CODE)
	$(RUN) mypy
	.venv/bin/python .venv/bin/lint-imports --no-cache
	$(RUN) deptry .
	.venv/bin/python .venv/bin/codespell
	$(RUN) tests.checks.tree
	$(RUN) local_model_gateway.config_schema --check

format: .venv/.dev ## Rewrite the code as `make check` wants it
	$(RUN) ruff format $(CODE)
	$(RUN) ruff check --fix $(CODE)

docs: .venv/.dev ## Write the generated pages again
	$(RUN) local_model_gateway.config_schema --write
	$(RUN) tests.checks.tree --write

bench: .venv/.dev ## Which benchmarks there are; each is one command
	@$(RUN) benchmarks

bench-proxy: .venv/.dev ## What the gateway adds to a request, beside going direct and through nginx
	$(RUN) benchmarks.proxy

bench-mcp: .venv/.dev ## What a call over MCP costs, beside a bare route
	$(RUN) benchmarks.mcp

bench-broker: .venv/.dev ## What searching ten thousand tools costs
	$(RUN) benchmarks.broker

test-properties: .venv/.dev ## The decision under random traffic, as long as CI does it, and its mutants
	LMG_EXAMPLES=2000 $(RUN) pytest tests/coordinator/plan

runbook: .venv/.dev ## Install from a clean clone of HEAD with docs/agent-install.md alone, and take it back
	$(RUN) tests.runbook.follow

lock: ## Resolve the dependencies again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra embedded -o requirements/runtime.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra embedded --group dev -c requirements/runtime.txt -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements/build.in -o requirements/build.txt

clean: ## Remove the environment and every cache
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
