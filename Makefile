# Everything that is done often, by name. `make` alone lists it.
# A fresh machine needs Rust 1.95 (rustup) and a C compiler; `make setup` says or installs what else is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Tools that the project pins are kept here, unless the machine has them already.
TOOLS := target/tools
NEXTEST_VERSION := 0.9.143
DENY_VERSION := 0.20.2
export PATH := $(CURDIR)/$(TOOLS)/bin:$(PATH)

# Arguments for `dockhost dev`: make run ARGS="--agents 3 --runtime simulated"
ARGS ?=
# What `make chaos` does: kills of each kind, minutes at most, r1 or r3; the seed is chosen by the clock if not given.
SEED ?=
ROUNDS ?= 20
MINUTES ?= 30
TOPOLOGY ?= r1
# The report for `make chaos-check`.
REPORT ?=
# Arguments for the test runner: make test TESTS="-E 'test(placement)'"
TESTS ?=
# Rows of the bench, or --quick: make bench BENCH="reads stops"
BENCH ?=

.PHONY: help setup build run test chaos chaos-check bench check fmt lint doc deny tools secrets clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Look for what the build needs; as root on Debian, install it
	@missing=(); \
	command -v cc > /dev/null || missing+=(gcc libc6-dev); \
	command -v python3 > /dev/null || missing+=(python3); \
	python3 -m pip --version > /dev/null 2>&1 || missing+=(python3-pip); \
	command -v ssh > /dev/null || missing+=(openssh-client); \
	if (( $${#missing[@]} )); then \
	  if [[ $$(id -u) == 0 ]] && command -v apt-get > /dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"; \
	  else \
	    echo "please install: $${missing[*]}" >&2; exit 1; \
	  fi; \
	fi
	@command -v cargo > /dev/null || { echo "please install Rust 1.95 or newer with rustup" >&2; exit 1; }

build: setup ## Build the programs: dockhost and dockhost-agent
	cargo build --locked --workspace --bins

run: build ## Run everything on this machine (ARGS are for `dockhost dev`)
	@exec target/debug/dockhost dev $(ARGS)

test: build ## Run all tests, against real servers (TESTS are for the runner)
	@if cargo nextest --version > /dev/null 2>&1; then \
	  set -x; cargo nextest run --locked --workspace --no-fail-fast $(TESTS); \
	else \
	  set -x; cargo test --locked --workspace --no-fail-fast $(TESTS); \
	fi

chaos: build ## Kill parts under traffic and check what is left (SEED, ROUNDS, MINUTES, TOPOLOGY)
	@target/debug/dockhost-chaos run $(if $(SEED),--seed $(SEED)) --rounds $(ROUNDS) --minutes $(MINUTES) --topology $(TOPOLOGY)

chaos-check: build ## Check a report that was kept again (REPORT is its file)
	@target/debug/dockhost-chaos check $(REPORT)

bench: setup ## Measure the speed against raw limits of this machine (BENCH names rows; see docs/PERFORMANCE.md)
	cargo build --locked --release -p dockhost -p dockhost-agent --bins
	cargo bench --locked --bench speed -- $(BENCH)

check: fmt lint doc deny ## Run all checks that need no servers

fmt: ## Check the formatting (`cargo fmt` makes it right)
	cargo fmt --all --check

lint: setup ## Run clippy, all warnings being errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

doc: ## Build the documentation, all warnings being errors
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps --workspace --document-private-items

deny: | $(TOOLS)/bin/cargo-deny ## Check licences, bans and sources of all dependencies
	cargo deny --locked --workspace check licenses bans sources

tools: $(TOOLS)/bin/cargo-deny $(TOOLS)/bin/cargo-nextest ## Install the pinned cargo-deny and cargo-nextest, if the machine has none

secrets: build ## Print fresh secrets for an .env file
	@target/debug/dockhost secrets

clean: ## Remove what was built; the data in .dockhost stays
	cargo clean

$(TOOLS)/bin/cargo-deny:
	@if command -v cargo-deny > /dev/null; then \
	  mkdir -p $(@D) && ln -sf "$$(command -v cargo-deny)" $@; \
	else \
	  set -x; cargo install --locked --debug --root $(TOOLS) cargo-deny@$(DENY_VERSION); \
	fi

$(TOOLS)/bin/cargo-nextest:
	@if command -v cargo-nextest > /dev/null; then \
	  mkdir -p $(@D) && ln -sf "$$(command -v cargo-nextest)" $@; \
	else \
	  set -x; cargo install --locked --debug --root $(TOOLS) cargo-nextest@$(NEXTEST_VERSION); \
	fi
