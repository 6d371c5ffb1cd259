# One command a job; every job sets up what it needs first. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
DEV := $(VENV)/.dev-installed
BENCH := $(VENV)/.bench-installed

.DEFAULT_GOAL := help
.PHONY: help venv check format test demo proof bench energy fuzz goldens peers dist clean

help:  ## list the jobs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

venv: $(DEV)  ## make .venv with the pinned versions (done once)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Daypack needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(BENCH): $(DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

check: $(DEV)  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --warnings
	$(BIN)/python tools/check_layers.py daypack

format: $(DEV)  ## rewrite the sources as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(DEV)  ## every test
	$(BIN)/pytest -n $(JOBS) --dist loadfile

demo: $(DEV)  ## train a small GPT-2 on real text, for a phone and for this machine
	$(BIN)/python examples/demo.py

proof: $(BENCH)  ## the full-size and long checks; results are dated and kept
	$(BIN)/python benchmarks/proof.py

bench: $(BENCH)  ## time and memory against JAX and PyTorch
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/kernel_classes.py
	$(BIN)/python benchmarks/compile_time.py
	$(BIN)/python benchmarks/gemm.py

energy: $(DEV)  ## policies against the oracle and against MobileFineTuner's rule over made-up days
	$(BIN)/python benchmarks/energy.py

fuzz: $(DEV)  ## look for files that the engine's readers cannot bear; SECONDS=1800 for each reader
	$(BIN)/python benchmarks/fuzz.py --seconds $(or $(SECONDS),60)

goldens: $(BENCH)  ## make the golden arrays again from transformers, in float64
	$(BIN)/python tools/goldens/make.py --out tests/models/goldens

peers: $(BENCH)  ## every model family against transformers and peft, live
	$(BIN)/python tools/goldens/peers.py

dist: $(DEV)  ## build the wheel and the source archive
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .

clean:  ## remove what the jobs made, except .venv
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
