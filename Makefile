# The bare call lists the targets.
.DEFAULT_GOAL := help
# `$(call program,NAME)` builds a program of the workspace and runs it. Always with --workspace: cargo unites the features of
# dependencies over the packages of a call, so a call for one package would compile most of them, and the controller, again.
BUILT := $(or $(CARGO_TARGET_DIR),target)/debug
program = cargo build --quiet --workspace --bin $(1) && $(BUILT)/$(1)
.PHONY: help demo check test bench bench-decisions bench-schedule soak explore mutants lint deny generate control-plane image-root sbom clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Tests and the demo need etcd, kube-apiserver and kubectl. They are built once, in about ten minutes."
	@echo "KUBEBUILDER_ASSETS=FOLDER uses those in a folder instead, as envtest does."

demo: ## delete 150 simulated instances on a real kube-apiserver; KEEP=1 leaves it all running
	@cargo build --quiet --workspace --bin instance-deletion-controller --bin demo
	@$(BUILT)/demo $(if $(KEEP),--keep)

check: lint ## the inner loop: lint, unit tests, and some end-to-end tests (below five minutes)
	cargo test --quiet --workspace --lib --bins
	cargo test --quiet --workspace --test e2e -- deletion:: crash:: admission::

test: control-plane ## run every test, and print their times and counts; NO_SKIPS=1 fails where one is skipped
	@if command -v musl-gcc >/dev/null; then $(MAKE) --silent $(IMAGE_ROOT_OF_TESTS); fi
	@NO_SKIPS=$(NO_SKIPS) tests/run.sh

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

lint: ## formatting, clippy, the imports of src, drift of the CRD and of docs/reference, links of the documents
	cargo fmt --all --check
	@$(call program,imports)
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	@$(call program,instance-deletion-controller) crd | diff -u crds/clouddc.dev_instancedeletions.yaml - \
	  || { echo "the CRD has drifted: run make generate"; exit 1; }
	@$(call program,reference) --check

CARGO_DENY := command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@0.20.2

deny: ## licences, sources and bans of dependencies (installs cargo-deny if it is missing)
	@$(CARGO_DENY)
	cargo deny --workspace check licenses bans sources

sbom: ## list what is compiled into the binary (CycloneDX), and its licences, in target/sbom
	@command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx@0.5.9
	@$(CARGO_DENY)
	@mkdir -p target/sbom
	cargo cyclonedx -q --format json --spec-version 1.5 --target $(MUSL) --describe binaries --no-build-deps
	@mv instance-deletion-controller_bin.cdx.json target/sbom/instance-deletion-controller.cdx.json
	@find deploy tests -name '*_bin.cdx.json' -delete
	cargo deny --target $(MUSL) --exclude-dev list --layout crate > target/sbom/licences.txt

CHART := deploy/helm/instance-deletion-controller

generate: ## write the CRD from src/api, the chart's copies, the Prometheus operator's rules, and docs/reference
	@$(call program,instance-deletion-controller) crd > crds/clouddc.dev_instancedeletions.yaml.new
	@mv crds/clouddc.dev_instancedeletions.yaml.new crds/clouddc.dev_instancedeletions.yaml
	@cp crds/clouddc.dev_instancedeletions.yaml $(CHART)/files/crd.yaml
	@cp deploy/policy/guard.yaml deploy/policy/advice.yaml deploy/base/users.yaml deploy/monitoring/alerts.yaml $(CHART)/files/
	@cd deploy/monitoring && sed '/^spec:/q' prometheusrule.yaml >prometheusrule.yaml.new
	@cd deploy/monitoring && sed -e '/^#/d' -e 's/^./  &/' alerts.yaml >>prometheusrule.yaml.new
	@cd deploy/monitoring && mv prometheusrule.yaml.new prometheusrule.yaml
	@$(call program,reference)

control-plane: ## build etcd, kube-apiserver and kubectl if they are missing (about ten minutes, once)
	@$(call program,control-plane) build
	@$(call program,control-plane) build helm >/dev/null

MUSL := x86_64-unknown-linux-musl
PROFILE ?= release
IMAGE_ROOT ?= target/image-root

image-root: ## build the static binary, and lay out the image's root in target/image-root
	@command -v musl-gcc >/dev/null || { echo "musl-gcc is missing: install musl-tools" >&2; exit 1; }
	@if command -v rustup >/dev/null; then rustup target add $(MUSL); fi
	cargo build --locked --quiet --target $(MUSL) --profile $(PROFILE) --bin instance-deletion-controller
	@$(call program,image-root) \
	  $(or $(CARGO_TARGET_DIR),target)/$(MUSL)/$(PROFILE:dev=debug)/instance-deletion-controller $(IMAGE_ROOT)

clean: ## remove what was built, but not the control plane's programs
	cargo clean
