# Each target is complete by itself: it installs into .venv first if that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo figures test test-slow check clean help

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(STAMP)  ## train GRPO and KRPO on the tiny policy, score them, render a report
	$(BIN)/krpo-ablate --grid ablations/quick.yaml
	$(BIN)/krpo-report runs/quick

figures: $(STAMP)  ## every figure and table of the study, from the stored results, into runs/paper
	$(BIN)/krpo-report --paper

test: $(STAMP)  ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto -m "not slow and not gpu and not network"

test-slow: $(STAMP)  ## the tests that take more than about a minute each
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow"

check: $(STAMP)  ## lint, format, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(STAMP): pyproject.toml requirements/cpu.lock requirements/install.sh
	PYTHON=$(PYTHON) VENV=$(VENV) bash requirements/install.sh
	@touch $@
