# The bare call lists the targets.
.DEFAULT_GOAL := help
# `$(call program,NAME)` builds a program of the workspace and runs it. Always with --workspace: cargo unites the features of
# dependencies over the packages of a call, so a call for one package would compile most of them, and the controller, again.
BUILT := $(or $(CARGO_TARGET_DIR),target)/debug
program = cargo build --quiet --workspace --bin $(1) && $(BUILT)/$(1)
.PHONY: help demo check test test-node test-oldest test-gitops test-aarch64 bench bench-decisions bench-schedule soak explore mutants lint deny generate control-plane \
  image-root sbom components version plugin release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Tests and the demo need etcd, kube-apiserver and kubectl. They are built once, in about ten minutes."
	@echo "KUBEBUILDER_ASSETS=FOLDER uses those in a folder instead, as envtest does."

demo: ## delete 150 simulated instances on a real kube-apiserver; KEEP=1 leaves it all running
	@cargo build --quiet --workspace --bin instance-deletion-controller --bin kubectl-idel --bin demo
	@$(BUILT)/demo $(if $(KEEP),--keep)

check: lint ## the inner loop: lint, unit tests, and some end-to-end tests (below five minutes)
	cargo test --quiet --workspace --lib --bins
	cargo test --quiet --workspace --test e2e -- deletion:: crash:: admission::

test: control-plane ## run every test, and print their times and counts; NO_SKIPS=1 fails where one is skipped
	@if command -v musl-gcc >/dev/null; then $(MAKE) --silent $(IMAGE_ROOT_OF_TESTS); fi
	@NO_SKIPS=$(NO_SKIPS) tests/run.sh

test-node: control-plane ## run the tests on a real node in namespaces: needs root, and packages that it names (SLOW=1: more)
	@if [ "$$(id -u)" = 0 ]; then $(call program,control-plane) build node >/dev/null; fi
	@NO_SKIPS=$(NO_SKIPS) tests/run.sh node

test-oldest: control-plane ## run the end-to-end tests on the oldest Kubernetes that is supported (builds it once, in about ten minutes)
	@$(BUILT)/control-plane build oldest >/dev/null
	@KUBEBUILDER_ASSETS="$$($(BUILT)/control-plane path oldest)" NO_SKIPS=$(NO_SKIPS) tests/run.sh e2e

test-gitops: control-plane ## run the tests with Flux's controller, Argo CD's program and Velero (builds them once, in half an hour)
	@for module in flux argo-cd velero; do $(BUILT)/control-plane build $$module >/dev/null || exit 1; done
	@NO_SKIPS=$(NO_SKIPS) tests/run.sh gitops

# What the image's test lays out by itself if it is missing or old.
IMAGE_ROOT_OF_TESTS := image-root PROFILE=dev IMAGE_ROOT=target/image-root-of-tests

bench-decisions: ## measure how the time of a decision grows with ids and parts, and print a table
	@cargo run --quiet -p bench-decisions

bench-schedule: ## measure the schedule of looks in virtual time, and print a table; SEEDS=n runs of each kind
	@cargo run --quiet -p bench-schedule -- --seeds $(or $(SEEDS),10)

soak: ## run 100,000 seeds of the simulation, and report (about half an hour on two cores); SEEDS=n FROM=k for others
	cargo run --quiet --release -p simulation --bin simulate -- --seeds $(or $(SEEDS),100000) --from $(or $(FROM),0)

explore: ## run the large configurations of the model check
	cargo run --quiet --release -p model --bin explore -- --config all

mutants: ## put mistakes into the protocol, and mutants into the engine; the checks must find them (hours)
	cargo run --quiet -p protocol-mutants
	@command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants@27.1.0
	cargo mutants -p engine-purity --timeout 30

bench: ## measure the release build beside a plain loop, against the simulator (more than an hour); SEEDS=n ONLY=scenario
	@cargo build --quiet --release --bin instance-deletion-controller
	@cargo run --quiet --release -p bench -- --seeds $(or $(SEEDS),5) $(if $(ONLY),--only $(ONLY))

CHART := deploy/helm/instance-deletion-controller
# Built from source at its first call, in about a minute.
HELM_DOCS := cd tests/conformance/chart && go tool helm-docs --chart-search-root ../../../$(CHART) \
  --sort-values-order file --log-level warning

CRDS := crds/clouddc.dev_instancedeletions.yaml crds/clouddc.dev_deletionguards.yaml

lint: ## formatting, clippy, imports, drift of the CRDs, of docs/reference and of the chart's README, links of documents, workflows
	cargo fmt --all --check
	@$(call program,imports)
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	@$(call program,instance-deletion-controller) crd >$(BUILT)/crds.yaml
	@{ cat $(firstword $(CRDS)); echo ---; cat $(lastword $(CRDS)); } | diff -u - $(BUILT)/crds.yaml \
	  || { echo "the CRDs have drifted: run make generate"; exit 1; }
	@$(call program,reference) --check
	@($(HELM_DOCS) --dry-run) | diff -u $(CHART)/README.md - \
	  || { echo "the chart's README has drifted: run make generate"; exit 1; }
	@cd tests/conformance/workflows && go tool actionlint -shellcheck= -pyflakes= ../../../.github/workflows/*.yml

CARGO_DENY := command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@0.20.2

deny: ## licences, sources and bans of dependencies (installs cargo-deny if it is missing)
	@$(CARGO_DENY)
	cargo deny --workspace check licenses bans sources

sbom: components ## list what is compiled into both programs (CycloneDX), and the licences, in target/sbom
	@$(CARGO_DENY)
	cargo deny --target $(TARGET) --exclude-dev list --layout crate > target/sbom/licences.txt

SBOM ?= target/sbom/instance-deletion-controller.cdx.json
# When the commit was made: all times of what is published.
epoch = $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct))

# The lists of the controller and of the plugin. With SOURCE_DATE_EPOCH they have that time, and no random serial number.
components:
	@command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx@0.5.9
	SOURCE_DATE_EPOCH=$(epoch) cargo cyclonedx -q --format json --spec-version 1.5 --target $(TARGET) --describe binaries \
	  --no-build-deps
	@mkdir -p $(dir $(SBOM))
	@sed 's|path+file://$(CURDIR)|path+file:///source|g' instance-deletion-controller_bin.cdx.json >$(SBOM)
	@sed 's|path+file://$(CURDIR)|path+file:///source|g' plugin/kubectl-idel_bin.cdx.json >$(SBOM:.cdx.json=-plugin.cdx.json)
	@rm instance-deletion-controller_bin.cdx.json
	@find deploy plugin tests -name '*_bin.cdx.json' -delete

generate: ## write the CRDs from src/api, the chart's copies and README, the Prometheus operator's rules, and docs/reference
	@$(call program,instance-deletion-controller) crd \
	  | awk -v file=$(firstword $(CRDS)) -v next_file=$(lastword $(CRDS)) '/^---$$/ { file = next_file; next } { print > file }'
	@cp $(firstword $(CRDS)) $(CHART)/files/crd.yaml
	@cp $(lastword $(CRDS)) $(CHART)/files/guard-crd.yaml
	@cp deploy/policy/guard.yaml deploy/policy/advice.yaml deploy/base/users.yaml $(CHART)/values.yaml $(CHART)/files/
	@cp deploy/monitoring/alerts.yaml deploy/monitoring/dashboard.json $(CHART)/files/
	@cd deploy/monitoring && sed '/^spec:/q' prometheusrule.yaml >prometheusrule.yaml.new
	@cd deploy/monitoring && sed -e '/^#/d' -e 's/^./  &/' alerts.yaml >>prometheusrule.yaml.new
	@cd deploy/monitoring && mv prometheusrule.yaml.new prometheusrule.yaml
	@$(call program,reference)
	@($(HELM_DOCS))

control-plane: ## build etcd, kube-apiserver and kubectl if they are missing (about ten minutes, once)
	@$(call program,control-plane) build
	@$(call program,control-plane) build helm >/dev/null

# The architectures that are built: those of `image.architectures` in the chart and of the affinity in deploy/base.
ARCHITECTURES := amd64 arm64
target_amd64 := x86_64-unknown-linux-musl
target_arm64 := aarch64-unknown-linux-musl
TARGET ?= $(target_amd64)
# The compiler that `ring` and jemalloc ask for.
compiler_$(target_amd64) := musl-gcc
compiler_$(target_arm64) := aarch64-linux-musl-gcc
packages_$(target_amd64) := musl-tools
packages_$(target_arm64) := musl-dev:arm64 and gcc-aarch64-linux-gnu
PROFILE ?= release
IMAGE_ROOT ?= target/image-root
TARGET_FOLDER := $(abspath $(or $(CARGO_TARGET_DIR),target))
# No path of this machine is built in, so that another folder gives the same binary.
CARGO_FOLDER := $(or $(CARGO_HOME),$(HOME)/.cargo)
PATHS := $(CURDIR)=/source $(CARGO_FOLDER)=/cargo $(TARGET_FOLDER)=/target
binary = $(TARGET_FOLDER)/$(1)/$(PROFILE:dev=debug)/instance-deletion-controller

image-root: ## build the static binary, and lay out the image's root in target/image-root; TARGET=aarch64-unknown-linux-musl
	@command -v $(compiler_$(TARGET)) >/dev/null \
	  || { echo "$(compiler_$(TARGET)) is missing: install $(packages_$(TARGET))" >&2; exit 1; }
	@if command -v rustup >/dev/null; then rustup target add $(TARGET); fi
	CARGO_INCREMENTAL=0 RUSTFLAGS="$(PATHS:%=--remap-path-prefix=%)" TARGET_CFLAGS="$(PATHS:%=-ffile-prefix-map=%)" \
	  cargo build --locked --quiet --target $(TARGET) --profile $(PROFILE) --bin instance-deletion-controller
	@$(call program,image-root) $(call binary,$(TARGET)) $(IMAGE_ROOT)

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# Where the image is published: the reference in the manifests, without its tag.
IMAGE ?= instance-deletion-controller
RELEASE_FOLDER ?= target/release-files/$(VERSION)

version:
	@echo $(VERSION)

release: control-plane plugin ## lay out what is published in target/release-files/VERSION; IMAGE=REGISTRY/NAME is where the image goes
	@command -v buildah >/dev/null || { echo "buildah is missing: install buildah" >&2; exit 1; }
	$(foreach architecture,$(ARCHITECTURES),$(call laid_out_for,$(architecture)))
	@KUBECTL="$$($(BUILT)/control-plane path)/kubectl" HELM="$$($(BUILT)/control-plane path helm)/helm" \
	  PLUGIN=$(PLUGIN_FOLDER) VERSION=$(VERSION) IMAGE=$(IMAGE) ARCHITECTURES="$(ARCHITECTURES)" SOURCE_DATE_EPOCH=$(epoch) \
	  deploy/release.sh $(RELEASE_FOLDER)

PLUGIN_FOLDER ?= target/plugin
# Where the archives will be: the manifest of krew names it.
PLUGIN_URL ?= https://downloads.example/kubectl-idel/v$(VERSION)

plugin: ## build kubectl-idel for each architecture, and lay out archives and krew's manifest in target/plugin
	$(foreach architecture,$(ARCHITECTURES),$(call plugin_for,$(architecture)))
	@VERSION=$(VERSION) URL=$(PLUGIN_URL) ARCHITECTURES="$(ARCHITECTURES)" SOURCE_DATE_EPOCH=$(epoch) \
	  deploy/plugin.sh target/plugin-binaries $(PLUGIN_FOLDER)

define plugin_for
@command -v $(compiler_$(target_$(1))) >/dev/null \
  || { echo "$(compiler_$(target_$(1))) is missing: install $(packages_$(target_$(1)))" >&2; exit 1; }
@if command -v rustup >/dev/null; then rustup target add $(target_$(1)); fi
CARGO_INCREMENTAL=0 RUSTFLAGS="$(PATHS:%=--remap-path-prefix=%)" TARGET_CFLAGS="$(PATHS:%=-ffile-prefix-map=%)" \
  cargo build --locked --quiet --target $(target_$(1)) --profile $(PROFILE) -p kubectl-idel --bin kubectl-idel
@install -D $(TARGET_FOLDER)/$(target_$(1))/$(PROFILE:dev=debug)/kubectl-idel target/plugin-binaries/$(1)/kubectl-idel

endef

# The image's root and the list of components of an architecture.
define laid_out_for
@$(MAKE) --no-print-directory image-root components TARGET=$(target_$(1)) IMAGE_ROOT=target/release-roots/$(1) \
  SBOM=target/release-roots/$(1).cdx.json

endef

test-aarch64: control-plane ## run the test of the image for arm64 under emulation (needs qemu-user-static)
	IMAGE_TARGET=$(target_arm64) cargo test --quiet --workspace --test e2e -- --show-output install::image

clean: ## remove what was built, but not the control plane's programs
	cargo clean
