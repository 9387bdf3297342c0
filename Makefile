# make run     set up what is missing, then retrain and release        PRESET=demo|paper|small SOURCE=simulator|obd|parquet DATA=folder
# make serve   serve the promoted Bento on port 3000
# make test    set up what is missing, then lint, types and tests
# make bench   measure, and write reports/bench.json                   PRESET=paper adds the long figures
# make experiments  the paper's tables in shops whose truth is known: reports/experiments.html      PRESET=demo|small|paper
# make tune    search for better params of section train, on the validation split alone         PRESET=demo|small|paper
# make coverage  hold the off-policy estimators against the truth on 200 simulated logs: reports/coverage.html
# make lock    bring the locks in line with pyproject.toml and serving.in

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
VENV := .venv
READY := $(VENV)/.ready
PRESET ?=
SOURCE ?=
DATA ?=

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := True
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# uv does not read pip's settings; a machine that gives pip a folder of wheels (a CPU build of torch, say) gives it to uv too.
find_links = $${UV_FIND_LINKS:-$$(printf '%s' "$${PIP_FIND_LINKS:-$$(pip config get global.find-links 2>/dev/null)}" | tr ' ' ',')}

.PHONY: run serve test bench coverage experiments tune setup lock configure

setup: $(READY)

# Bytecode is compiled once, at set-up: a run starts hundreds of processes, and each would compile PyTorch for itself wherever
# Python is told to write none.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "pageopt needs Python 3.11; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) (a minute or two, once)"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@UV_FIND_LINKS="$(find_links)" uv pip install --quiet --system-certs --python $(VENV)/bin/python --compile-bytecode \
		-r requirements.lock
	@uv pip install --quiet --system-certs --python $(VENV)/bin/python --no-deps -e .
	@touch $@

configure: $(READY)
ifneq ($(strip $(PRESET)$(SOURCE)$(DATA)),)
	@pageopt configure --preset "$(PRESET)" --source "$(SOURCE)" --data "$(DATA)"
endif

run: configure
	@python -m flows.retrain

serve: $(READY)
	@pageopt serve

# One thread a process, and none that spins while it waits: the processes of the suite share the cores.
test: export OMP_WAIT_POLICY := PASSIVE
test: export OMP_NUM_THREADS := 1
test: $(READY)
	ruff check src flows tests
	ruff format --check src flows tests
	mypy
	pytest --numprocesses auto --dist loadfile

bench: $(READY)
	@python -m pageopt.studies.bench $(if $(filter paper,$(PRESET)),--long)

coverage: $(READY)
	@OMP_NUM_THREADS=1 pageopt coverage

experiments: configure
	@OMP_NUM_THREADS=1 python -m flows.experiments

tune: configure
	@python -m flows.tune

lock:
	@pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@UV_FIND_LINKS="$(find_links)" sh scripts/lock.sh
