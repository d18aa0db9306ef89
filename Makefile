# What a newcomer types: `make run` and `make test`. Everything lands in .venv
# and in ./nodecache-data; the system ring keeps its slow parts in the user's
# cache folder (see tests/system/parts/userlands.py).

# The newest interpreter of the supported ones, unless PYTHON names one.
PYTHON ?= $(shell for v in 3.14 3.13 3.12 3.11 3; do \
	python$$v -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo python$$v && break; done)
VENV := .venv
BIN := $(VENV)/bin
# More options for the mirror (make run ARGS="--tag-ttl 5m") or for pytest.
ARGS ?=

.PHONY: run test unit cluster system-parts lint format types matrix docs clean

run: $(VENV)/run.stamp
	@exec $(BIN)/nodecache serve --listen localhost:5000 --data-dir ./nodecache-data $(ARGS)

test: $(VENV)/dev.stamp system-parts
	$(BIN)/python -m pytest tests $(ARGS)

# The rings that need nothing but Python.
unit: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests --ignore=tests/system $(ARGS)

# Eight nodes, a Hub and DNS in network namespaces of this machine, to pull in and to watch
# (root; ARGS="--nodes 4 --link 50").
cluster: $(VENV)/dev.stamp
	@tests/system/install
	@exec $(BIN)/python -m tests.system.cluster $(ARGS)

# Real registries and runtimes for tests/system; without root or apt-get the
# tests that miss one are skipped by name.
system-parts: $(VENV)/dev.stamp
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		tests/system/install && $(BIN)/python -m tests.system.parts.userlands; \
	else \
		echo "Not root, or no apt-get: tests that miss a real part will be skipped by name."; \
	fi

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

# Python 3.11 to 3.14, oldest and newest dependencies; names what it cannot run.
matrix: $(VENV)/dev.stamp
	PYTHONPATH=. $(BIN)/python .ci/matrix.py $(ARGS)

# The generated parts of the documents.
docs: $(VENV)/dev.stamp
	$(BIN)/python docs/render.py

clean:
	rm -rf $(VENV) .tox .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with its venv module is needed" \
		"(Debian: apt-get install python3-venv)."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python setup.py
	@echo "Installing nodecache into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python setup.py
	@echo "Installing nodecache and its tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/run.stamp
