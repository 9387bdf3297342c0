# `make help` lists what can be made: the words behind ## are what it shows.

PYTHON ?= 3.11
UV_VERSION := 0.13.9
UV := .uv/bin/uv
VENV := .venv
READY := $(VENV)/.ready
PRESET ?=
SOURCE ?=
DATA ?=
PAGE ?=

export PATH := $(CURDIR)/$(VENV)/bin:$(CURDIR)/.uv/bin:$(PATH)
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := True
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# uv does not read pip's settings; a machine that gives pip a folder of wheels (a CPU build of torch, say) gives it to uv too.
find_links = $${UV_FIND_LINKS:-$$(printf '%s' "$${PIP_FIND_LINKS:-$$(pip config get global.find-links 2>/dev/null)}" | tr ' ' ',')}

.PHONY: help run serve test bench coverage gates experiments tune plots setup lock configure

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "with PRESET=demo|paper|small  SOURCE=simulator|obd|parquet  DATA=folder  PAGE=item   what params.yaml shall hold from then on"
	@echo "     PYTHON=/path/to/python3.11   the interpreter of .venv; else one on this machine, else uv fetches one"

setup: $(READY) ## .venv with the locked packages; the others do it themselves

$(UV):
	@$(if $(findstring /,$(PYTHON)),$(PYTHON),python3) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# Bytecode is compiled once, at set-up: a run starts hundreds of processes, and each would compile PyTorch for itself wherever
# Python is told to write none.
$(READY): requirements.lock pyproject.toml | $(UV)
	@echo "Setting up $(VENV) (a minute or two, once)"
	@test -x $(VENV)/bin/python || $(UV) venv --quiet --no-project --seed --python "$(PYTHON)" $(VENV) || \
		{ echo "pageopt needs Python 3.11, which is not here and could not be fetched. Install it, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@UV_FIND_LINKS="$(find_links)" $(UV) pip install --quiet --system-certs --python $(VENV)/bin/python --compile-bytecode \
		-r requirements.lock
	@$(UV) pip install --quiet --system-certs --python $(VENV)/bin/python --no-deps -e .
	@touch $@

configure: $(READY)
ifneq ($(strip $(PRESET)$(SOURCE)$(DATA)$(PAGE)),)
	@pageopt configure --preset "$(PRESET)" --source "$(SOURCE)" --data "$(DATA)" --page "$(PAGE)"
endif

run: configure ## retrain and release
	@python -m flows.retrain

serve: $(READY) ## serve the champion on http://127.0.0.1:3000
	@pageopt serve

# One thread a process, and none that spins while it waits: the processes of the suite share the cores.
# Bytecode is written, so that not each of them compiles the same modules anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: export OMP_WAIT_POLICY := PASSIVE
test: export OMP_NUM_THREADS := 1
test: $(READY) ## lint, format, types, tests
	ruff check src flows tests
	ruff format --check src flows tests
	mypy
	pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

bench: $(READY) ## measure, and write reports/bench.json; PRESET=paper adds the long figures
	@python -m pageopt.studies.bench $(if $(filter paper,$(PRESET)),--long)

coverage: $(READY) ## hold the off-policy estimators against the truth of 200 simulated logs: reports/coverage.html
	@OMP_NUM_THREADS=1 pageopt coverage

gates: $(READY) ## what the quality gate makes of candidates whose true worth is known, on 100 logs (hours): reports/gates.json
	@OMP_NUM_THREADS=1 pageopt gates

experiments: configure ## the paper's tables in shops whose truth is known: reports/experiments.html
	@OMP_NUM_THREADS=1 python -m flows.experiments

tune: configure ## search for better params of section train, on the validation split alone
	@python -m flows.tune

plots: .dvc/plots.html ## fetch what `dvc plots` draws with, once: its pages then need no internet

.dvc/plots.html: scripts/plots_template.py | $(READY)
	@UV_FIND_LINKS="$(find_links)" $(UV) run --quiet --system-certs --no-project --python $(VENV)/bin/python \
		--with vl-convert-python==1.9.0.post1 python $< $@
	@dvc config --local plots.html_template plots.html

lock: $(UV) ## bring the locks in line with pyproject.toml and serving.in
	@UV_FIND_LINKS="$(find_links)" sh scripts/lock.sh
