# The two commands a newcomer needs: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Which build of it pip takes, CPU or CUDA, is up to the index pip is configured with.
TORCH ?= torch==2.13.0
DATA ?= ../shared/data

MINUTES ?= 5
ROWS ?= 200000

.PHONY: help demo test check bench bench-bulk chaos calm codebook quality settings lock audit clean

help:                 ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

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
	$(PIP) install --quiet --editable '.[torch,embedded,calibrate,export,bulk,bench,dev]'
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

# Peers that need older libraries than we do, each in an environment of its own; torch comes from the first.
.venv-infinity: PEER = 'infinity-emb==0.0.78' 'transformers<5' 'sentence-transformers<5.2'
.venv-batches: PEER = 'celery-batches>=0.11' 'celery<5.7'
.venv-infinity .venv-batches: $(VENV)/.dev
	$(BIN)/python -m venv $@
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$($@/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/parent.pth"
	$@/bin/python -m pip --disable-pip-version-check install --quiet $(PEER)

bench: $(VENV)/.dev .venv-infinity .venv-batches ## measure speed in under ten minutes (QUICK=1: five); prints a table
	QUICK=$(QUICK) $(BIN)/python -m benchmarks

bench-bulk: $(VENV)/.dev ## screen ROWS in bulk, killed twice; memory, interactive latency meanwhile, recalibration
	$(BIN)/python -m benchmarks.bulk --rows $(ROWS)

chaos: $(VENV)/.dev   ## break workers and Redis for MINUTES, with JOBS and KILLS at least, and count lost and doubled jobs
	$(BIN)/python -m tests.integration.chaos --minutes $(MINUTES) $(if $(JOBS),--jobs $(JOBS)) $(if $(KILLS),--kills $(KILLS))

calm: $(VENV)/.dev    ## full load without faults for MINUTES: does speed or memory drift?
	$(BIN)/python -m tests.integration.chaos.calm --minutes $(MINUTES)

codebook: $(VENV)/.dev ## fit a codebook from the project's own corpus alone
	$(BIN)/alknet-firewall calibrate --train data/train --parts data/parts --commercial-only --out codebook.safetensors

quality: $(VENV)/.dev ## measure the shipped codebook; DATA holds train, validation and ood files
	$(BIN)/python -m worker.fitting.quality --data $(DATA)

settings: $(VENV)/.dev  ## write .env.example and docs/settings.md anew
	$(BIN)/python -m worker.settings

LOCKING := .venv-lock
COMPILE := $(LOCKING)/bin/pip-compile --quiet --upgrade --allow-unsafe --generate-hashes --strip-extras --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

$(LOCKING):
	$(PYTHON) -c 'import sys; sys.exit("the lock files are for Python 3.11, as the image is; say PYTHON=") if sys.version_info[:2] != (3, 11) else None'
	$(PYTHON) -m venv $@
	$@/bin/python -m pip --disable-pip-version-check install --quiet pip-tools pip-audit

# torch, and the CUDA libraries of some of its builds, are left to the Dockerfile: which build is wanted is not known here.
lock: $(LOCKING)      ## choose the newest versions for the image and write their hashes
	$(COMPILE) --only-build-deps --build-deps-for wheel --output-file docker/build.lock pyproject.toml
	$(COMPILE) --extra torch --extra embedded --output-file $(LOCKING)/all.lock pyproject.toml
	awk '/^(#|$$)/ { next } /^[a-z]/ { ours = !/^(torch|triton|cuda-|nvidia-)/ } ours' $(LOCKING)/all.lock > docker/requirements.lock

audit: $(LOCKING)     ## ask for known vulnerabilities of what the image installs
	$(LOCKING)/bin/pip-audit --strict --disable-pip --require-hashes -r docker/requirements.lock

clean:                ## remove what the targets made
	rm -rf $(VENV) $(LOCKING) .venv-infinity .venv-batches dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
