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

.PHONY: run test bench trust soak unit cluster system system-parts system-beside system-containers lint format types audit matrix docs image sbom lock kubernetes clean

run: $(VENV)/run.stamp
	@exec $(BIN)/nodecache serve --listen localhost:5000 --data-dir ./nodecache-data $(ARGS)

# The rings of Python alone share WORKERS processes: half of the time of each is waiting (more than
# four would share ports, see tests/cluster_case.py). Of the real parts, containers and their
# runtimes may run beside what does not mind it (STREAMS=2); a herd has the machine for itself.
# Options that choose tests (ARGS="-k peers") may leave some of these without any.
WORKERS ?= 4
STREAMS ?= 1
PYTEST := $(BIN)/python -m pytest --durations=25
NONE_CHOSEN = { [ $$? = 5 ] && $(if $(ARGS),true,false); }

test: $(VENV)/dev.stamp system-parts
	@failed=0; \
	$(PYTEST) tests --ignore=tests/system -n $(WORKERS) $(ARGS) || $(NONE_CHOSEN) || failed=1; \
	$(MAKE) --no-print-directory system || failed=1; \
	exit $$failed

# The real parts that system-parts brings.
system: $(VENV)/dev.stamp
	@failed=0; \
	$(MAKE) --no-print-directory --keep-going --jobs=$(STREAMS) \
		system-beside system-containers || failed=1; \
	$(PYTEST) tests/system -m alone $(ARGS) || $(NONE_CHOSEN) || failed=1; \
	exit $$failed

system-beside: $(VENV)/dev.stamp
	@$(PYTEST) tests/system -m beside $(ARGS) || $(NONE_CHOSEN)

# Told at once when all is done, so that it does not stand between the lines of the others.
system-containers: $(VENV)/dev.stamp
	@mkdir -p build
	@failed=0; \
	$(PYTEST) tests/system -m containers $(ARGS) >build/containers.log 2>&1 || $(NONE_CHOSEN) || failed=1; \
	echo; cat build/containers.log; exit $$failed

# Every fault on every leg in every state, hundreds of crashes, every abuse of every port, and
# the parsers under a fuzzer: an hour or two, and docs/reliability.md
# (ARGS="--rounds 50 --fuzz-seconds 10").
trust: $(VENV)/dev.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[trust]' || \
		echo "atheris can not be installed here; the fuzzing by coverage is left out"
	$(BIN)/python -m tests.trust $(ARGS)

# An hour of mixed pulls, outages and rollouts on four nodes, which shows that what they need stays
# flat (root; SOAK=600 for ten minutes). Its figures go into docs/reliability.md.
SOAK ?= 3600
soak: $(VENV)/dev.stamp
	@tests/system/install
	@exec $(BIN)/python -m tests.trust --soak $(SOAK) $(ARGS)

# Everything in docs/performance.md's table, beside nginx, docker-registry and drayage (root; about
# 12 minutes; ARGS="--quick", or ARGS="--rows warm-1,cold --json FILE").
bench: $(VENV)/dev.stamp
	@tests/system/install
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' || \
		echo "drayage can not be installed here; it is left out"
	$(BIN)/python -m bench $(ARGS)

# The rings that need nothing but Python.
unit: $(VENV)/dev.stamp
	@$(PYTEST) tests --ignore=tests/system -n $(WORKERS) $(ARGS) || $(NONE_CHOSEN)

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

# What is known against the packages of the locks (ARGS=--must fails where no service can be asked).
audit: $(VENV)/dev.stamp
	$(BIN)/python .ci/audit.py $(ARGS)

# Python 3.11 to 3.14, oldest and newest dependencies; names what it cannot run.
matrix: $(VENV)/dev.stamp
	PYTHONPATH=. $(BIN)/python .ci/matrix.py $(ARGS)

# The generated parts of the documents.
docs: $(VENV)/dev.stamp
	$(BIN)/python docs/render.py

# The container image. DOCKER="docker -H ..." or "podman" for another builder, BUILD_ARGS for
# another base or package index (see Dockerfile). arm64: docker buildx, as Dockerfile says.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' nodecache/__init__.py)
IMAGE ?= nodecache:$(VERSION)
DOCKER ?= docker
BUILD_ARGS ?=

image:
	$(DOCKER) build --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
		--build-arg CREATED=$$(date -u +%Y-%m-%dT%H:%M:%SZ) $(BUILD_ARGS) .
	@$(DOCKER) image inspect --format '{{.Size}}' $(IMAGE) | \
		awk '{ printf "$(IMAGE): %.0f MB with its base\n", $$1 / 1e6 }'

# What the image adds to its base, as CycloneDX: each distribution with its hashes and licence.
sbom: $(VENV)/dev.stamp
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock \
		--output-reproducible --output-format JSON --output-file build/nodecache.cdx.json
	$(BIN)/python .ci/audit.py --sbom build/nodecache.cdx.json

# Take the newest versions that setup.py allows into the image, with their hashes.
LOCK := -m piptools compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
lock: $(VENV)/dev.stamp
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python $(LOCK) -o requirements.lock setup.py
	echo "setuptools>=77" | CUSTOM_COMPILE_COMMAND="make lock" \
		$(BIN)/python $(LOCK) -o requirements-build.lock -

# The single file for those who do not use kustomize.
kubernetes:
	{ echo "# What kubectl apply -k k8s/base applies, for kubectl apply -f. Written by: make kubernetes"; \
		kubectl kustomize k8s/base; } > k8s/rendered/nodecache.yaml

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
