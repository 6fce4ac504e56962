# make demo    convert a photograph classifier and show its answers
# make test    the whole test suite
# make lint    ruff and mypy
# make coverage    convert whole model families (hours)
# Each sets up what it needs in .venv first, and does nothing twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
WORKERS ?= 2

.PHONY: demo test lint types format coverage

demo: $(STAMP)
	$(BIN)/python examples/classify_photo.py

test: $(STAMP) lint
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

lint: $(STAMP) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy -p trtconv

# Whole families of models: hours.
coverage: $(STAMP)
	$(BIN)/python -m pip install -q -e ".[rtx,coverage]"
	$(BIN)/python benchmarks/coverage.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -e ".[rtx,vision,viz,onnx,dev]"
	touch $(STAMP)
