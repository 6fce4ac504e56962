# make demo      convert a photograph classifier and show its answers
# make test      the whole test suite, lint, and the wheel's smoke test; TORCH=2.12: with that PyTorch, without lint
# make oldest    the suite with the oldest PyTorch that is allowed, on the oldest Python that is here
# make wheel     build the wheel, install it in an environment with nothing else, and convert something there
# make lint      ruff and mypy
# make coverage  convert whole model families (hours); PRECISION=fp16 in that precision
# Each sets up what it needs first (in .venv, or .venv-torch-2.12), and does nothing twice.

PYTHON ?= python3
TORCH ?=
VENV := .venv$(if $(TORCH),-torch-$(TORCH))
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
WORKERS ?= 2
PRECISION ?=
IN_PRECISION := $(if $(PRECISION),--precision $(PRECISION))
PIP := -m pip install -q
RELEASE := $(if $(TORCH),"torch==$(TORCH).*")

.PHONY: demo test suite oldest wheel lint types format coverage

demo: $(STAMP)
	$(BIN)/python examples/classify_photo.py

test: suite wheel

# Linted with the PyTorch that pip picks only: a release's stubs say other things of the same functions.
suite: $(STAMP) $(if $(TORCH),,lint)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

# PYTHONS: all that may be here, the oldest first; those of pyenv, which hides them, too.
MINORS := 10 11 12 13
PYTHONS = $(foreach minor,$(MINORS),python3.$(minor) $(wildcard $(HOME)/.pyenv/versions/3.$(minor).*/bin/python)) python3

oldest:
	@for python in $(PYTHONS); do \
	  if $$python -c "" 2>/dev/null; then \
	    $(MAKE) suite PYTHON=$$python TORCH=$$(sed -n 's/.*"torch>=\([0-9.]*\)".*/\1/p' pyproject.toml); exit; \
	  fi; \
	done

# Outside of the checkout, so that only what is in the wheel can be found.
wheel:
	set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; python="$$folder/venv/bin/python"; \
	$$python $(PIP) --upgrade pip; \
	rm -rf build/lib build/bdist.*; $$python -m pip wheel -q --no-deps -w "$$folder" .; \
	$$python $(PIP) $(RELEASE) "$$(ls "$$folder"/*.whl)[rtx]"; \
	cp tests/wheel_smoke.py "$$folder"; cd "$$folder"; $$python -I wheel_smoke.py

lint: $(STAMP) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy -p trtconv

# Whole families of models: hours.
coverage: $(STAMP)
	$(BIN)/python $(PIP) -e ".[rtx,coverage]"
	$(BIN)/python benchmarks/coverage.py $(IN_PRECISION)
	$(BIN)/python benchmarks/coverage.py --dynamic $(IN_PRECISION)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --upgrade pip
	$(BIN)/python $(PIP) $(RELEASE) -e ".[rtx,vision,dev]"
	touch $(STAMP)
