# lifeloop: make demo and make test are all a newcomer needs; each does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= completejourney
PYTEST_ARGS ?=
# OpenMP threads that spin while they wait make small work 100 times slower on shared cores.
export OMP_WAIT_POLICY := passive
export GOMP_SPINCOUNT := 0
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q

.PHONY: help setup demo check test test-extras bench bench-serve bench-accuracy chaos docs lock clean
.DEFAULT_GOAL := help

help: ## show the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.core: requirements/core.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "lifeloop needs Python 3.11 or newer; got $$($(PYTHON) --version). Next: make PYTHON=python3.12 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is missing. Next: install it (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "installing the core into $(VENV) …"
	@$(PIP) -r requirements/core.txt
	@$(PIP) --no-deps -e .
	@touch $@

$(VENV)/.demo: $(VENV)/.core requirements/demo.txt
	@echo "installing what the demo adds (text encoder, real data) …"
	@$(PIP) -r requirements/demo.txt
	@touch $@

$(VENV)/.extras: $(VENV)/.demo requirements/extras.txt
	@echo "installing every extra …"
	@$(PIP) -r requirements/extras.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.core requirements/dev.txt
	@echo "installing the developer tools …"
	@$(PIP) -r requirements/dev.txt
	@touch $@

setup: $(VENV)/.core $(VENV)/.demo $(VENV)/.extras $(VENV)/.dev ## install everything into .venv

demo: $(VENV)/.demo ## real data to lifecycle and recommendations (DATA=completejourney|movielens|world)
	@$(BIN)/lifeloop demo --data $(DATA)

check: $(VENV)/.dev $(VENV)/.extras ## lint, format, types, shape of the repository
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_shape.py -p no:randomly

test: $(VENV)/.dev ## core and developer tools, under 10 minutes
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not extras" $(PYTEST_ARGS)

test-extras: $(VENV)/.dev $(VENV)/.extras ## every extra and real server
	$(BIN)/python -m pytest -q -m extras $(PYTEST_ARGS)

bench: $(VENV)/.demo $(VENV)/.dev ## speed of import, of one recommendation, of the lifecycle at 20M events
	$(BIN)/python -m benchmarks.spine
	$(BIN)/python -m benchmarks.lifecycle --events 2000000 --alone
	$(BIN)/python -m benchmarks.lifecycle --events 20000000 --alone
	$(BIN)/python -m benchmarks.lifecycle --events 20000000

bench-serve: $(VENV)/.demo $(VENV)/.extras ## the service under load (needs wrk and PostgreSQL)
	$(BIN)/python -m benchmarks.serve

ACCURACY ?= --data ml-100k,ml-1m,completejourney --protocol loo,time
bench-accuracy: $(VENV)/.demo $(VENV)/.extras ## ours and other libraries through one evaluation (ACCURACY="--data ml-100k --protocol loo")
	$(BIN)/python -m benchmarks.accuracy $(ACCURACY)

chaos: $(VENV)/.dev $(VENV)/.extras ## a hundred kills of what writes, workers and databases killed under load, 100,000 malformed bodies
	LIFELOOP_CHAOS_ROUNDS=100 $(BIN)/python -m pytest -q --timeout=900 -m "extras or not extras" \
	  tests/store/test_lake_crash.py tests/store/test_postgres_kills.py tests/store/test_power_loss.py tests/store/test_damage.py
	LIFELOOP_CHAOS_S=20 $(BIN)/python -m pytest -q -rP -m extras tests/serve/test_serve_processes.py
	LIFELOOP_FUZZ=100000 $(BIN)/python -m pytest -q tests/serve/test_serve_hostile.py --timeout=3000

docs: $(VENV)/.core ## write docs/commands.md and docs/settings.md from the code
	$(BIN)/python -m lifeloop.cli.reference docs

lock: ## resolve requirements/*.txt anew from pyproject.toml
	PYTHON=$(PYTHON) bash requirements/lock.sh

clean: ## remove what make made (not your data)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo .bench src/*.egg-info
