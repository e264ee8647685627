# `make run`, `make test` and `make down` are all that a newcomer needs; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dumbkv
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),$(CACHE)/uv-$(UV_VERSION)/uv)
export UV_PYTHON_DOWNLOADS := never
# `uv sync` has run before: each command below starts at once.
RUN := $(UV) run --no-sync
PYTEST := $(RUN) pytest --no-skips
# Each worker has a server of its own. Clusters are one after the other: each looks at the whole machine.
IN_PARALLEL := -n auto --dist worksteal
export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# The uv wheel is one static program: taken out of pip's target folder in one move, so an interrupt leaves nothing half done.
$(CACHE)/uv-$(UV_VERSION)/uv:
	@echo "installing uv $(UV_VERSION) into $(@D)"
	@python3 -m pip --version >/dev/null 2>&1 || { \
	  command -v apt-get >/dev/null || { echo "uv needs pip: install python3-pip, or uv itself, and start again" >&2; exit 1; }; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-pip python3-venv; }
	@mkdir -p $(@D)
	@staging=$$(mktemp -d $(@D)/staging.XXXXXX); trap 'rm -rf "$$staging"' EXIT; \
	  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$$staging" "uv==$(UV_VERSION)"; \
	  mv "$$staging/bin/uv" $@

.PHONY: setup
setup: $(UV) ## uv, and the Python packages of uv.lock
	@$(UV) sync --quiet --frozen || { echo "the Python packages could not be installed: is a package index reachable?" >&2; exit 1; }

.PHONY: run
run: setup ## a cluster, the operator, one DumbKV, and a key put, got and deleted through it
	@$(RUN) python -m devcluster.demo

.PHONY: down
down: setup ## take away all that `make run` made
	@$(RUN) python -m devcluster down

.PHONY: images
images: setup ## both images, as archives in the cache
	@$(RUN) python -m devcluster images server operator

.PHONY: lint
lint: setup ## ruff, mypy --strict and the import layers
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy -p dumbkv_server -p dumbkv_operator -p devcluster
	$(RUN) mypy kvserver/main.py tests benchmarks
	$(RUN) lint-imports --no-logo

.PHONY: packages
packages: setup
	@$(RUN) python -m devcluster packages tests

.PHONY: test-fast
test-fast: setup packages ## what needs no cluster and little time
	$(PYTEST) $(IN_PARALLEL) -m "not slow" tests/unit tests/server

.PHONY: test-sqlite
test-sqlite: setup packages ## unit tests, and the server on SQLite
	$(PYTEST) $(IN_PARALLEL) tests/unit tests/server

# What has SQLite in its name or no database in its way need not run twice.
ON_SQLITE_ONLY := page test_command.py test_core.py test_disk_faults.py test_power_cut.py test_takeover.py

.PHONY: test-postgres
test-postgres: setup packages ## the server on a PostgreSQL that is started for it
	$(RUN) python -m tests.support.postgres -- $(PYTEST) $(IN_PARALLEL) tests/server \
	  $(addprefix --ignore=tests/server/,$(ON_SQLITE_ONLY)) --database-location={uri}

.PHONY: cluster-parts
cluster-parts: setup
	@$(RUN) python -m devcluster packages cluster images tests
	@$(RUN) python -m devcluster programs
	@$(RUN) python -m devcluster images server operator postgres >/dev/null

.PHONY: test-cluster
test-cluster: cluster-parts ## on real clusters: the local cluster itself, the operator, and end to end
	$(PYTEST) tests/cluster
	$(PYTEST) tests/operator
	$(PYTEST) tests/e2e

.PHONY: test
test: lint test-sqlite test-postgres test-cluster ## everything: lint, unit, server, operator and end-to-end tests

.PHONY: bench-ready
bench-ready: setup ## how much longer than plain kubectl apply a DumbKV takes to serve
	@$(RUN) python -m benchmarks.ready

.PHONY: bench-packages
bench-packages: setup
	@$(RUN) python -m devcluster packages bench

.PHONY: bench-throughput
bench-throughput: bench-packages ## writes and reads a second of the server, beside etcd, Redis and others
	@$(RUN) python -m benchmarks.throughput

.PHONY: bench-growth
bench-growth: bench-packages ## the same with 1 thousand, 1 million and 10 million keys
	@$(RUN) python -m benchmarks.growth

.PHONY: bench-soak
bench-soak: bench-packages ## whether the server's memory stays flat under an hour's load
	@$(RUN) python -m benchmarks.soak

.PHONY: bench
bench: bench-throughput bench-growth bench-ready ## every figure of the README but the hour's
