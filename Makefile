# The two commands a newcomer needs: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Which build of it pip takes, CPU or CUDA, is up to the index pip is configured with.
TORCH ?= torch==2.13.0
DATA ?= ../shared/data

.PHONY: help demo test check bench codebook quality settings clean

help:                 ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(VENV)/.torch:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch, once; this takes a minute or two"
	$(PIP) install --quiet "$(TORCH)"
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "installing alknet-firewall"
	$(PIP) install --quiet --editable '.[torch,embedded]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "installing alknet-firewall with its development tools"
	$(PIP) install --quiet --editable '.[torch,embedded,bulk,calibrate,dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo   ## watch real texts go through a real worker, from nothing
	$(BIN)/alknet-firewall demo

test: $(VENV)/.dev    ## run all tests
	$(BIN)/python -m pytest

check: $(VENV)/.dev   ## lint, types, import direction
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev   ## measure speed; prints a table
	$(BIN)/python -m benchmarks

codebook: $(VENV)/.dev ## fit a codebook from the project's own corpus alone
	$(BIN)/alknet-firewall calibrate --train data/train --commercial-only --out codebook.safetensors

quality: $(VENV)/.dev ## measure the shipped codebook; DATA holds train, validation and ood files
	$(BIN)/python -m worker.fitting.quality --data $(DATA)

settings: $(VENV)/.dev  ## write .env.example and docs/settings.md anew
	$(BIN)/python -m worker.settings

clean:                ## remove what the targets made
	rm -rf $(VENV) dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
