# Every target does its own set-up in .venv, again only after requirements.lock or pyproject.toml
# changed. Another interpreter: make PYTHON=python3.13 demo

PYTHON := python3
BIN := .venv/bin
READY := .venv/.ready
CI_CONFIG := --configfile config/presets/ci.yaml
BENCH_DATA = $(if $(SMOOTHCERT_DATA),--data-dir "$(SMOOTHCERT_DATA)")

.PHONY: help install demo test lint bench ci lock schema

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

install: $(READY) ## Install everything into .venv

demo: $(READY) ## Run the default experiment to its finished report
	$(BIN)/snakemake --cores all
	@$(BIN)/python -c 'import yaml; config = yaml.safe_load(open("config/config.yaml")); \
	  [print("Report: reports/%s/index.html" % one["name"]) for one in config["experiments"]]'

test: $(READY) ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --max-worker-restart 0 --dist loadfile \
	  --no-loadscope-reorder tests

lint: $(READY) ## Check format and style of the code and the workflow
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint

bench: $(READY) ## Measure certification, training and reports (20 minutes on two cores)
	$(BIN)/python benchmarks/sampling.py
	$(BIN)/python benchmarks/certification.py $(BENCH_DATA)
	$(BIN)/python benchmarks/training.py $(BENCH_DATA)
	$(BIN)/python benchmarks/report.py

ci: lint test ## Lint, test, and run the whole workflow on a reduced configuration
	$(BIN)/snakemake --cores all $(CI_CONFIG)
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	  $(BIN)/snakemake $(CI_CONFIG) --report "$$scratch/report.html"

lock: ## Add what pyproject.toml needs to requirements.lock (delete the lock first to renew all)
	$(require-python)
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	  $(PYTHON) -m venv "$$scratch" && "$$scratch/bin/python" -m pip install --quiet uv && \
	  "$$scratch/bin/uv" pip compile --quiet --universal --all-extras --no-annotate --no-header \
	    --output-file requirements.lock pyproject.toml
	{ sed '/- pip:$$/q' environment.yml; sed 's/^/      - /' requirements.lock; } > environment.new
	mv environment.new environment.yml

schema: $(READY) ## Rewrite the configuration's schema and its table of keys from the code
	$(BIN)/python -m smoothcert.config_docs

# The stamp goes first and comes last: an installation that was cut short leaves none, and the next
# starts from nothing. The lock is complete, so pip has nothing to resolve (--no-deps).
$(READY): requirements.lock pyproject.toml
	$(require-python)
	@echo "Installing into .venv: about 6 GB, mostly CUDA libraries"
	$(PYTHON) -m venv $(if $(wildcard $@),,--clear) .venv
	rm -f $@
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-compile \
	  -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Stops with one line that says what keeps PYTHON from making a virtual environment.
require-python = $(if $(python-problem),$(error $(python-problem)))
python-problem = $(shell \
  if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
    echo "smoothcert needs Python 3.11 or newer, $(PYTHON) is:" \
      "$$($(PYTHON) --version 2>&1 | head -n 1); name another: make PYTHON=python3.12"; \
  elif ! $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
    echo "$(PYTHON) cannot make virtual environments: install the package python3-venv"; \
  fi)
