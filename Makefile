# Each target does its own set-up: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := $(VENV)/docs
# Every test uses one thread; as many run at a time as there are cores.
TESTS := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: demo test check bench docs board dist clean

demo: $(READY)
	$(BIN)/python -m ibrobust.train --reg none --seed 1 --runs runs
	$(BIN)/python -m ibrobust.train --reg l2 --gamma 0.1 --seed 1 --runs runs
	$(BIN)/python -m ibrobust.evaluate runs --eps 0:0.1 --protocol strict --keep-images --out results
	$(BIN)/python -m ibrobust.audit runs --protocol strict --results results
	$(BIN)/python -m ibrobust.report results zoo/results --protocol strict --data digits --html --out report

test: $(READY)
	$(TESTS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(TESTS)

bench: $(READY)
	$(BIN)/python -m pytest benchmarks --benchmark-only

docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict

# The leaderboard of all entries, a part of the site.
board: $(READY)
	$(BIN)/python -m ibrobust.report leaderboard/entries --html --out site/board

dist: $(READY)
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --wheel --outdir dist zoo

clean:
	rm -rf $(VENV) runs results report site dist

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,peers,ray]'
	touch $@

# On top of the other environment, which holds torch: mkdocs-material and torchattacks want different versions of requests.
$(DOCS)/.ready: $(READY)
	$(BIN)/python -m venv --without-pip $(DOCS)
	$(DOCS)/bin/python docs/build/on_top_of.py $(BIN)/python
	$(BIN)/python -m pip --python $(DOCS)/bin/python install --quiet --editable '.[docs]'
	touch $@
