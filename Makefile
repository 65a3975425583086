# Everything a newcomer or CI runs. One environment, .venv, made on first use and again when its recipe changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SEGLEARN := seglearn==1.2.5

.PHONY: demo test lint bench bench-micro train clean

demo: $(READY)  ## the main job on real recordings: convert, explain, stream over a pty, report
	$(BIN)/python -m examples.watch.demo

test: $(READY)  ## the whole suite
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## what explaining costs, as ratios measured side by side
	$(BIN)/python -m benchmarks

bench-micro: $(READY)  ## what explained models cost on virtual microcontrollers, next to the goals
	$(BIN)/python -m benchmarks.micro

train: $(READY)  ## train the demo's model again, reproducibly
	$(BIN)/python -m examples.watch.train

clean:
	rm -rf $(VENV) out

# seglearn is only unpacked for the recordings it carries: importing it would want pandas and an older scikit-learn.
$(READY): Makefile pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "WhyLite needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(SEGLEARN)
	touch $@
