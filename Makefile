# `make help` says what there is. Python 3.11 or newer and make are all it needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test bench lint format lock strings licences sbom audit clean settings-page

PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	&& { echo $$name; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
STAMP := $(VENV)/.installed
# The venv holds 2.3 GB with the CPU build of torch and about 8 GB with the CUDA build
DISK_GB ?= 4
WORKERS ?= 2

help: ## Say what each target does
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' \
	| while IFS=$$'\t' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## Make .venv with exactly what was tested

$(STAMP): requirements.lock requirements-torch.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "ActiveDPO needs Python 3.11 or newer; this machine has" \
		"$$(python3 --version 2>/dev/null || echo none). Install one, or name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual" \
		"environments: install its venv package (Debian: apt-get install python3-venv)"; exit 1; }
	@$(PYTHON) -c 'import shutil, sys; free = shutil.disk_usage(".").free / 1e9; \
		sys.exit(f"{free:.1f} GB free here, $(DISK_GB) GB are needed" if free < $(DISK_GB) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# torch first: what needs it must find it there and not choose a build of its own
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-torch.lock
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## Run everything with a small model and a project; Ctrl-C ends it
	@$(BIN)/activedpo demo fetch
	@exec $(BIN)/activedpo up --demo

test: lint ## Check the code and run every test on real Postgres and Redis
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

lint: $(STAMP) ## Check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Run every benchmark beside its peer; results in bench/results
	$(BIN)/python -m bench

lock: $(TOOLS)/.installed ## Write requirements.lock from what .venv holds, with hashes
	@$(BIN)/python deploy/lock.py $(TOOLS)/bin/uv

strings: $(STAMP) ## Bring the catalogues in app/locale up to what the code says
	@$(BIN)/python deploy/strings.py

licences: $(STAMP) ## Write docs/licences.md from the installed packages
	$(BIN)/python deploy/supply.py licences

$(TOOLS)/.installed: requirements-tools.lock
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --disable-pip-version-check -q --require-hashes \
	-r requirements-tools.lock \
	|| { echo "The package index could not be reached: no tools, nothing was done"; exit 2; }
	@touch $@

sbom: $(STAMP) $(TOOLS)/.installed ## Write dist/sbom.json: what .venv holds, as CycloneDX
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.json $(BIN)/python

audit: $(TOOLS)/.installed ## Ask for known vulnerabilities; says so where nobody can be asked
	@$(TOOLS)/bin/python deploy/supply.py audit $(TOOLS)/bin/pip-audit

settings-page: $(STAMP) ## Write docs/settings.md
	$(BIN)/python deploy/settings_page.py

clean: ## Remove .venv and caches; data in HOME stays
	rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
