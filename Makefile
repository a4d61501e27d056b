# HyperTransformer: `make train` does everything on a bare Debian/Ubuntu machine with Rust, Python 3 and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DATASET ?= synthetic
ARGS ?=
FROM ?=
# TRAINABLE and IMPORTABLE data sets, the PACK_ of each and its default EXPERIMENT_.
include data-sets.mk
EXPERIMENT ?= $(EXPERIMENT_$(DATASET))
# The variable named $(1) as one word of the shell, as the user wrote it: with its blanks, quotes and dollar signs.
quoted = '$(subst ','\'',$(if $(filter command environment,$(firstword $(origin $(1)))),$(value $(1)),$($(1))))'
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
COMMA := ,
CHANNELS ?= 4 8 16
MINUTES ?= 10
READERS ?=
EPISODES ?= 1000
KILLS ?= 200
# The recipe beneath EXPERIMENT; without it the one that the file names.
PRESET ?=
RUN ?= runs/$(shell file=$$(basename -- $(call quoted,EXPERIMENT)); echo "$${file%.*}")$(if $(PRESET),-$(PRESET))
BINARY := target/release/hypertransformer
PYTORCH ?= .venv-baselines/bin/python
PYTORCH_SETUP := $(if $(filter .venv-baselines/bin/python,$(PYTORCH)),.venv-baselines/ready)
# An existing run is continued unless ARGS say otherwise.
RESUME = $(if $(filter --force --resume,$(ARGS)),,$(shell test ! -e $(call quoted,RUN)/config.yaml || echo --resume))

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16
	@echo "variables: DATASET=$(subst $(SPACE),|,$(TRAINABLE))  EXPERIMENT=FILE.yaml  PRESET=paper|fast  RUN=runs/NAME  ARGS='--set train.steps=1000'  FROM=PATH  CHANNELS='4 8 16'  MINUTES=10  EPISODES=1000  KILLS=200"

setup: ## find libtorch 2.13, or install it into .venv (instant the second time)
	@command -v cargo >/dev/null || { echo "error: cargo is missing: install Rust, see https://rustup.rs" >&2; exit 1; }
	@python3 python/libtorch.py

build: setup ## compile the program
	cargo build --release

experiment-known:
	@test -n $(call quoted,EXPERIMENT) || { echo "error: DATASET=$(DATASET): expected one of $(subst $(SPACE),$(COMMA)$(SPACE),$(TRAINABLE))" >&2; exit 2; }

train: experiment-known build ## train DATASET (or EXPERIMENT), evaluate, print the run folder
	$(BINARY) train $(call quoted,EXPERIMENT) $(if $(PRESET),--preset $(call quoted,PRESET)) --run-dir $(call quoted,RUN) $(RESUME) $(ARGS)
	$(BINARY) evaluate $(call quoted,RUN) --split test --episodes 1000 --output $(call quoted,RUN)/evaluation-quick.json
	@echo "run folder:" $(call quoted,RUN)"; show it with: make tensorboard"

evaluate: experiment-known build ## measure RUN on 10,000 test episodes (ARGS: see evaluate --help)
	$(BINARY) evaluate $(call quoted,RUN) $(ARGS)

data-known:
	@test -n "$(filter $(DATASET),$(IMPORTABLE))" || { echo "error: DATASET=$(DATASET): expected one of $(subst $(SPACE),$(COMMA)$(SPACE),$(IMPORTABLE))" >&2; exit 2; }
	@test -n $(call quoted,FROM) || { echo "error: FROM is missing: make data DATASET=$(DATASET) FROM=path/to/files" >&2; exit 2; }

data: data-known build ## import DATASET from FROM=PATH into data/ (ARGS=--partial: accept an incomplete data set)
	$(BINARY) data import $(DATASET) --from $(call quoted,FROM) --output $(PACK_$(DATASET)) $(ARGS)

catalog: build ## write data-sets.mk and the table in docs/data.md from src/import/catalog.rs
	$(BINARY) data catalog --format make > target/data-sets.mk
	mv target/data-sets.mk data-sets.mk
	$(BINARY) data catalog > target/data-sets.md
	sed -i -e '/^<!-- data sets/r target/data-sets.md' -e '/^|/d' docs/data.md

demo: build ## generate a CNN from pictures in examples/ with the included model, and classify with it
	$(BINARY) generate models/omniglot-20way.safetensors --support examples/glyphs/support --output target/demo/glyphs --force
	$(BINARY) classify target/demo/glyphs.onnx examples/glyphs/query/*/4.png
	$(BINARY) evaluate-folder target/demo/glyphs.onnx examples/glyphs/query

serve: build ## draw classes in a browser with the included model (ARGS: see serve --help)
	$(BINARY) serve $(ARGS)

tensorboard: .venv-python/ready ## show all runs in TensorBoard
	.venv-python/bin/tensorboard --logdir runs

test: setup .venv-python/ready ## run all tests, Rust and Python at the same time
	cargo test --release --no-run
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-rust test-python

test-rust:
	cargo test --release

test-python:
	.venv-python/bin/pytest -q python

test-page: build .venv-python/ready ## test the page of `serve` in a headless Chromium (Debian: chromium)
	.venv-python/bin/pip install --quiet --disable-pip-version-check -r python/requirements-page.txt
	.venv-python/bin/pytest -q -rs python/tests/test_page.py

lint: setup .venv-python/ready ## check format, clippy, docs and ruff
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --release --document-private-items
	.venv-python/bin/ruff check python examples && .venv-python/bin/ruff format --check python && .venv-python/bin/ruff format --check --line-length 100 examples

deny: ## check licences, sources and known vulnerabilities of the crates (installs cargo-deny, asks the network)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

parity: setup $(PYTORCH_SETUP) ## compare θ, logits, gradients and training steps with PyTorch (installs it), and test both Python packages
	PYTORCH=$(PYTORCH) cargo test --release --test it parity::
	$(PYTORCH) -m pytest -q python/tests

compare: experiment-known build $(PYTORCH_SETUP) ## train HT and other methods for MINUTES of CPU time each, evaluate on the same episodes, write results/
	PYTHONPATH=python $(PYTORCH) -m baselines.compare $(call quoted,EXPERIMENT) --channels $(CHANNELS) --minutes $(MINUTES) --episodes $(EPISODES) $(ARGS)

fuzz: setup ## read changed inputs for MINUTES with every reader (READERS='pack yaml': with these), on all cores
	MINUTES=$(MINUTES) READERS="$(READERS)" cargo test --release --test it fuzz::long -- --exact --ignored --nocapture

bench: build $(PYTORCH_SETUP) ## time episodes, alternating with PyTorch, and the loader (ARGS='--quick' or '--threads 2 --compile --output FILE.md')
	PYTHONPATH=python $(PYTORCH) -m baselines.performance $(ARGS)

torture: build ## kill trainings KILLS times, let writes fail, and compare with runs that were left alone
	python3 python/torture.py --kills $(KILLS)

kernels: setup ## time single kernels next to what they replace (ARGS='-- NAME': see cargo bench)
	cargo bench --bench kernels $(ARGS)

clean: ## remove everything built; runs and data stay
	rm -rf target .venv .venv-python .venv-baselines .libtorch

# A separate environment for Python tools, so that an active Python that only provides torch is not changed.
.venv-python/ready: python/requirements-test.txt
	python3 -m venv .venv-python || { echo "error: sudo apt-get install python3-venv" >&2; exit 1; }
	.venv-python/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# PyTorch for `make bench`, `parity` and `compare` (5 GB); PYTORCH=python3 uses an existing installation.
.venv-baselines/ready: python/requirements-baselines.txt python/requirements-torch.txt python/requirements-test.txt
	python3 -m venv .venv-baselines
	.venv-baselines/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

.PHONY: help setup build experiment-known train evaluate data-known data catalog demo serve tensorboard test test-rust test-python test-page lint deny bench kernels parity compare fuzz torture clean
