# Every target makes the environment it needs, once: `make test` works on a machine that has only Python and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESULTS := results/quickstart
BENCHMARK := $(BIN)/python -m pml_proxyext.benchmark
export OMP_NUM_THREADS ?= 1

.PHONY: quickstart test check docs bench clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(READY)  ## train a handful of losses on the embedded images; prints a table and the paths of its figures
	$(BENCHMARK) run --data glyphs --recipes pixels supcon proxy_anchor nir_proxy_anchor el_nivmf --seeds 0 --jobs 2 --results $(RESULTS)
	$(BENCHMARK) table --results $(RESULTS)
	$(BENCHMARK) plot --results $(RESULTS)

test: $(READY)  ## the test suite, in two processes
	$(BIN)/python -m pytest --numprocesses 2

check: $(READY) docs  ## lint, spelling, types, and docs without warnings
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/codespell
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench: $(READY)  ## speed and memory against honest baselines
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist docs/_build docs/api *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
