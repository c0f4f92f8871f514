# Two commands set fervis up: `make demo` answers a first question, `make test` checks everything.
# They need git, make and one of Python 3.11, 3.12, 3.13; PYTHON=... names another interpreter.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo test lint types unit format docs wheel clean

help:
	@echo "make demo    set up, answer a first question on drawn faces and print its folder (about 3 minutes, then seconds)"
	@echo "make test    set up, then lint, types and tests"
	@echo "make lint    ruff (lint and format), import contracts"
	@echo "make types   basedpyright"
	@echo "make unit    the tests alone"
	@echo "make format  let ruff rewrite what it can"
	@echo "make docs    write README's table of methods and its thumbnails (runs every method on drawn faces)"
	@echo "make wheel   build dist/*.whl"
	@echo "make clean   remove $(VENV), dist and caches; outputs/ stays"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "fervis needs Python 3.11, 3.12 or 3.13; none was found (PYTHON=... names one)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@folder=$$($(BIN)/python -m fervis explainer=saliency layer=conv7 | tail -n 1) && test -n "$$folder" && \
	echo "The answer:    $$folder" && \
	echo "Its report:    $$folder/report.html" && \
	echo "First figure:  $$folder/figures/overview.png"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.test
	$(BIN)/basedpyright --pythonpath $(BIN)/python

unit: $(VENV)/.test
	$(BIN)/python -m pytest -n logical

test: lint types unit

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.demo
	$(BIN)/python docs/build_methods.py
	$(BIN)/python docs/build_reference.py

wheel: $(VENV)/.test
	$(BIN)/python -m build --wheel --installer pip .

clean:
	rm -rf $(VENV) dist build .pytest_cache .ruff_cache .import_linter_cache
