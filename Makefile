# The project's tasks. `make` alone lists them.
# A new machine needs Rust 1.95 (rustup) and a C compiler. `make setup` checks for everything else.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Pinned tools are installed below cargo's target directory, unless the machine has them.
TARGET_DIR := $(or $(abspath $(CARGO_TARGET_DIR)),$(shell cargo metadata --no-deps --format-version=1 2> /dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'))
TOOLS := $(or $(TARGET_DIR),$(CURDIR)/target)/tools
NEXTEST_VERSION := 0.9.143
DENY_VERSION := 0.20.2
MACHETE_VERSION := 0.9.2
CARGO_DEB_VERSION := 3.8.0
CARGO_SBOM_VERSION := 0.10.0
SCHEMATHESIS := $(TOOLS)/schemathesis/bin/st
NATS_PY := $(TOOLS)/nats-py/nats/__init__.py
export PATH := $(TOOLS)/bin:$(PATH)

# What `make release` builds, and where `make install` puts it: make install PREFIX=/opt/dockhost DESTDIR=/tmp/package
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/ s/^version = "\(.*\)"/\1/p' Cargo.toml)
HOST := $(shell rustc -vV 2> /dev/null | sed -n 's/^host: //p')
RELEASE := $(or $(TARGET_DIR),$(CURDIR)/target)/release
DIST := $(CURDIR)/dist
PREFIX ?= /usr/local
DESTDIR ?=

# Arguments of `dockhost dev`: make run ARGS="--agents 3 --runtime simulated"
ARGS ?=
# Options of `make chaos`. SEED: the same seed repeats the same faults; the default is the time. ROUNDS: faults of each
# kind. MINUTES: the longest run. TOPOLOGY: r1 (one broker, one database) or r3 (three of each). KINDS: only these kinds of
# faults, separated by commas. Faults of links, disks and clocks need root.
SEED ?=
ROUNDS ?= 100
MINUTES ?= 60
KINDS ?=
TOPOLOGY ?= r1
# How often `make availability` injects each fault.
FAULT_ROUNDS ?= 5
# The file that `make chaos-check` checks.
REPORT ?=
# The length of each phase of an attack of `make hostile`, and parts of names if not all are to be made: ATTACKS="reports sockets"
SECONDS ?= 20
ATTACKS ?=
# Arguments of the test runner: make test TESTS="-E 'test(placement)'"
TESTS ?=
# Rows of the benchmark, or --quick: make bench BENCH="reads stops"
BENCH ?=

# $(call program,NAME): the path of a program that `make build` built. Cargo names it, wherever its target directory is.
program = "$$(cargo build --locked --workspace --bins --quiet --message-format=json | sed -n 's|.*"executable":"\([^"]*/$(1)\)".*|\1|p')"
# $(call install,NAME,VERSION): installs a cargo tool, unless the machine has it.
install = command -v $(1) > /dev/null || (set -x; cargo install --locked --debug --root "$(TOOLS)" $(1)@$(2))

# $(call install_python,DIRECTORY): installs what the first prerequisite lists.
define install_python
rm -rf $(TOOLS)/$(1)
python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --target $(TOOLS)/$(1) --requirement $<
@touch $@
endef

.PHONY: help setup build release release-programs deb install audit run test browser assets screenshots chaos chaos-check availability hostile rolling room bench check fmt lint doc deny machete tools secrets env clean

help: ## List the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check what the build needs; as root on Debian, install it
	@missing=(); \
	command -v cc > /dev/null || missing+=(gcc libc6-dev); \
	command -v python3 > /dev/null || missing+=(python3); \
	python3 -m pip --version > /dev/null 2>&1 || missing+=(python3-pip); \
	command -v ssh > /dev/null || missing+=(openssh-client); \
	command -v curl > /dev/null || missing+=(curl); \
	if (( $${#missing[@]} )); then \
	  if [[ $$(id -u) == 0 ]] && command -v apt-get > /dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"; \
	  else \
	    echo "please install: $${missing[*]}" >&2; exit 1; \
	  fi; \
	fi
	@browser=(); \
	command -v node > /dev/null && command -v npm > /dev/null || browser+=(nodejs npm); \
	command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null || [[ -n "$${CHROMIUM:-}" ]] || browser+=(chromium); \
	if (( $${#browser[@]} )); then \
	  if [[ $$(id -u) == 0 ]] && command -v apt-get > /dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${browser[@]}" \
	      || echo "the browser tests are left out: $${browser[*]} could not be installed" >&2; \
	  else \
	    echo "the browser tests are left out without: $${browser[*]}" >&2; \
	  fi; \
	fi
	@command -v cargo > /dev/null || { echo "please install Rust 1.95 or newer with rustup" >&2; exit 1; }

build: setup ## Build the programs dockhost and dockhost-agent
	cargo build --locked --workspace --bins

release-programs: setup
	DOCKHOST_COMMIT="$${DOCKHOST_COMMIT:-$$(git describe --always --dirty --abbrev=12 --exclude='*' 2> /dev/null || true)}" \
	  cargo build --locked --release -p dockhost -p dockhost-agent --bins --features dockhost/otlp,dockhost-agent/otlp

release: deb ## Build programs, Debian packages, lists of components and checksums into dist/
	@$(call install,cargo-sbom,$(CARGO_SBOM_VERSION))
	rm -rf $(DIST)/stage $(DIST)/*.tar.gz
	deploy/package/install.sh server $(RELEASE) $(DIST)/stage /usr/local
	deploy/package/install.sh agent $(RELEASE) $(DIST)/stage /usr/local
	tar --create --gzip --file $(DIST)/dockhost-$(VERSION)-$(HOST).tar.gz --directory $(DIST)/stage \
	  --sort=name --owner=0 --group=0 --numeric-owner usr
	for part in dockhost dockhost-agent; do \
	  cargo sbom --cargo-package $$part --output-format cyclone_dx_json_1_6 > $(DIST)/$$part-$(VERSION).cdx.json; \
	done
	rm -rf $(DIST)/stage
	cd $(DIST) && sha256sum *.deb *.tar.gz *.cdx.json > SHA256SUMS
	@ls -l $(DIST)

deb: release-programs ## Build the Debian packages into dist/
	@$(call install,cargo-deb,$(CARGO_DEB_VERSION))
	rm -rf $(DIST)/stage $(DIST)/*.deb
	for part in server agent; do deploy/package/install.sh $$part $(RELEASE) $(DIST)/stage/$$part /usr; done
	mv $(DIST)/stage/server/usr/share/zsh/site-functions $(DIST)/stage/server/usr/share/zsh/vendor-completions # where Debian's zsh looks
	for part in dockhost dockhost-agent; do cargo deb --no-build --no-strip --package $$part --output $(DIST)/; done
	rm -rf $(DIST)/stage

install: ## Install what `make release` built: programs, manual pages, completions, units, settings (PREFIX, DESTDIR)
	@[[ -x $(RELEASE)/dockhost ]] || { echo "build it first: make release" >&2; exit 1; }
	for part in server agent; do deploy/package/install.sh $$part $(RELEASE) "$(DESTDIR)" "$(PREFIX)"; done

run: build ## Run broker, database, server and agents on this machine (ARGS)
	@exec $(call program,dockhost) dev $(ARGS)

# The tests start the programs. `--examples` makes cargo build these with the features that dependencies of tests switch on, as
# it does for the tests: otherwise it compiles serde_json, and all that is above it, once for the programs and once for the tests.
test: setup browser $(SCHEMATHESIS) $(NATS_PY) ## Run all tests against real servers (TESTS)
	cargo build --locked --workspace --bins --examples
	@if cargo nextest --version > /dev/null 2>&1; then \
	  set -x; cargo nextest run --locked --workspace --no-fail-fast $(TESTS); \
	else \
	  set -x; cargo test --locked --workspace --no-fail-fast $(TESTS); \
	fi

# The packages of the browser tests, unless node is missing; the tests say what they left out.
browser: setup
	@if command -v npm > /dev/null && ! cmp -s e2e/package-lock.json e2e/node_modules/.installed; then \
	  npm ci --ignore-scripts --no-audit --no-fund --silent --prefix e2e && cp e2e/package-lock.json e2e/node_modules/.installed; \
	fi

assets: ## Compile the style sheet of the web pages again
	npm ci --ignore-scripts --no-audit --no-fund --prefix dashboard/css
	npm run build --prefix dashboard/css

screenshots: browser ## Take a picture of every web page in every state, theme and width (target/screenshots)
	cargo run --locked -p dockhost-dashboard --example gallery -- $(abspath target/gallery)
	node e2e/screenshots.mjs $(abspath target/gallery) $(abspath target/screenshots)

chaos: build ## Inject faults under traffic and check the result (SEED, ROUNDS, MINUTES, TOPOLOGY, KINDS)
	@$(call program,dockhost-chaos) run $(if $(SEED),--seed $(SEED)) --rounds $(ROUNDS) --minutes $(MINUTES) --topology $(TOPOLOGY) $(if $(KINDS),--kinds $(KINDS))

chaos-check: build ## Check a saved chaos report again (REPORT)
	@$(call program,dockhost-chaos) check $(REPORT)

availability: setup ## Measure how long single faults are noticed, on three nodes and on one (FAULT_ROUNDS of each fault, KINDS)
	cargo build --locked --profile hostile --workspace --bins
	$(or $(TARGET_DIR),$(CURDIR)/target)/hostile/dockhost-chaos availability --rounds $(FAULT_ROUNDS) $(if $(SEED),--seed $(SEED)) $(if $(KINDS),--kinds $(KINDS))

hostile: setup ## Attack the servers as hostile agents and clients, and measure what users notice (SECONDS of each phase, ATTACKS)
	cargo build --locked --profile hostile --workspace --bins
	$(or $(TARGET_DIR),$(CURDIR)/target)/hostile/dockhost-hostile --seconds $(SECONDS) $(ATTACKS)

rolling: build ## Restart three replicas one by one behind a load balancer under full load
	cargo test --locked -p dockhost --test integration -- --ignored --exact replicas::shutdown::rolling_restart_full_scale_fails_no_request

room: build ## Create 200 instances at once on three replicas, on machines with room for 90
	cargo test --locked -p dockhost --test integration -- --ignored --exact replicas::room::parallel_creates_full_scale_promise_no_more_than_the_machines_have

bench: release-programs ## Measure speed against the raw limits of this machine (BENCH); see docs/PERFORMANCE.md
	cargo bench --locked --bench speed -- $(BENCH)

check: fmt lint doc deny machete ## Run all checks that need no servers

fmt: ## Check the formatting (`cargo fmt` corrects it)
	cargo fmt --all --check

lint: setup ## Run clippy; every warning is an error
	cargo clippy --locked --workspace --all-targets -- -D warnings

# `--examples` has the same effect as for the tests: the dependencies are those that clippy has checked.
doc: ## Build the documentation; every warning is an error
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --no-deps --workspace --lib --examples --document-private-items

deny: ## Check licences, bans and sources of all dependencies
	@$(call install,cargo-deny,$(DENY_VERSION))
	cargo deny --locked --workspace check licenses bans sources

audit: ## Check all dependencies for known vulnerabilities; needs the internet
	@$(call install,cargo-deny,$(DENY_VERSION))
	cargo deny --locked --workspace check advisories

machete: ## Check that every dependency is used
	@$(call install,cargo-machete,$(MACHETE_VERSION))
	cargo machete

tools: $(SCHEMATHESIS) $(NATS_PY) ## Install the pinned tools, unless the machine has them
	@$(call install,cargo-deny,$(DENY_VERSION))
	@$(call install,cargo-machete,$(MACHETE_VERSION))
	@$(call install,cargo-nextest,$(NEXTEST_VERSION))

# Not a virtual environment: Debian's Python makes one only with another package.
$(SCHEMATHESIS): tests/schemathesis/requirements.txt | setup
	$(call install_python,schemathesis)

$(NATS_PY): examples/backend/requirements.txt | setup
	$(call install_python,nats-py)

secrets: build ## Print new secrets for an .env file
	@$(call program,dockhost) secrets

env: build ## Write .env.example with new secrets to .env; an existing .env is not replaced
	@$(call program,dockhost) secrets --env-example --write .env

clean: ## Remove what was built; the data in .dockhost stays
	cargo clean
