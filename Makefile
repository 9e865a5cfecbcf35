# Every command of the project. `make` lists them. Logic lives in Rust or in scripts/, not here.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/trireme/target
BIN := $(CARGO_TARGET_DIR)/debug/trireme
DATA_DIR ?= /tmp/trireme
MASTERS ?= 3
NODES ?= 2
DEV_FLAGS ?=
SHARED ?= ../shared
TRANSCRIPTS ?= $(SHARED)/transcripts

.DEFAULT_GOAL := help
.PHONY: help setup build dev test verify fix unit suite sim fuzz faults clients tidy clippy fmt deny transcripts bench facts docs clean release

help: ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what building and running needs (Debian packages, Rust), asking nothing
	@scripts/setup.sh

build: setup ## Build the binary
	@echo "==> building trireme (the first time RocksDB's C++ takes about 20 minutes)"
	cargo build --locked
	@echo "==> built $(BIN)"

dev: build ## Start a cluster here: 3 masters, 2 nodes, real containers; Ctrl-C ends it
	$(BIN) dev --masters $(MASTERS) --nodes $(NODES) --data-dir $(DATA_DIR) $(DEV_FLAGS)

test: build ## Pass all tests: unit, tidy, and the suite on real clusters (root for containers)
	@echo "==> unit tests and layout"
	cargo test --locked --workspace --exclude suite
	@echo "==> the suite: real masters, real containers"
	cargo test --locked -p suite -- --test-threads=1

verify: fmt clippy tidy deny unit ## All that judges the code; never writes
fix: ## Mend formatting and simple lints
	cargo fmt --all
	cargo clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged

fmt: ## Is the code formatted?
	cargo fmt --all --check
clippy: ## Lints as errors
	cargo clippy --locked --workspace --all-targets -- -D warnings
tidy: ## Layers, tables, sizes
	cargo test --locked -p tidy
deny: ## Licences and sources of dependencies (installs cargo-deny if missing)
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
	cargo deny check licenses bans sources
unit: ## Tests without a cluster
	cargo test --locked --workspace --exclude suite
fuzz: ## Feed decoders what nobody has written: SECONDS each (60), TARGET=name for one of them
	FUZZ_SECONDS=$(or $(SECONDS),60) FUZZ_TARGET=$(TARGET) cargo test --locked -p consensus -p store -p trireme \
		--lib --bins -- --nocapture decoders_refuse
suite: build ## The suite alone; ONLY=name for some of it
	cargo test --locked -p suite -- --test-threads=1 $(ONLY)

faults: build ## What clients are told while members are harmed in ten ways; SEEDS=n each, ONLY=name
	SEEDS=$(or $(SEEDS),1) ONLY=$(ONLY) cargo test --locked -p suite --test linearizable -- --nocapture
clients: build ## Others' programs for etcd against three members; ONLY=etcdctl, etcd_client, python_etcd3, etcd_tests or patroni
	tests/clients/run.py $(ONLY)
sim: ## Simulate whole clusters of the store: SEEDS=1000 seeds FROM=0 on, each for LASTS=5000 virtual ms
	SEEDS=$(or $(SEEDS),1000) FROM=$(FROM) LASTS=$(LASTS) cargo test --locked -p simulation --test seeds -- --nocapture

transcripts: build ## Replay the recorded behaviour of a real Kubernetes 1.37; prints passed and failed per file
	TRANSCRIPTS=$(TRANSCRIPTS) scripts/transcripts.sh $(BIN) $(FILES)
release: setup ## Build the optimised binary that figures are taken from
	cargo build --locked --release
	@echo "==> built $(CARGO_TARGET_DIR)/release/trireme"
bench: release ## Figures: start times, outage at leader kill, takeover, memory
	TRIREME=$(CARGO_TARGET_DIR)/release/trireme cargo run --locked -p bench -- $(BENCH)
facts: ## Generate the embedded facts from shared/data
	cargo run --locked -p facts-gen -- $(SHARED)/data apiserver/api/src/facts
docs: ## Rust documentation of our crates
	cargo doc --locked --workspace --no-deps
clean: ## Forget the data of `make dev`
	rm -rf $(DATA_DIR)
