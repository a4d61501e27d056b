# HyperTransformer: `make train` does everything on a bare Debian/Ubuntu machine with Rust, Python 3 and make.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DATASET ?= synthetic
ARGS ?=
FROM ?=
EXPERIMENT_synthetic := experiments/synthetic.yaml
EXPERIMENT_omniglot := experiments/table1/omniglot-1shot-8ch-fast.yaml
EXPERIMENT_mini := experiments/table1/mini-imagenet-1shot-8ch-fast.yaml
EXPERIMENT_tiered := experiments/table1/tiered-imagenet-1shot-8ch-fast.yaml
EXPERIMENT_cifar-fs := experiments/other/cifar-fs-1shot-8ch.yaml
EXPERIMENT_fc100 := experiments/other/fc100-1shot-8ch.yaml
EXPERIMENT_cub := experiments/other/cub-1shot-8ch.yaml
# What `data import` calls a DATASET, and the name of its pack.
SOURCE := $(if $(filter mini tiered,$(DATASET)),$(DATASET)-imagenet,$(DATASET))
PACK := $(if $(filter embeddings,$(DATASET)),tiered-imagenet-leo,$(SOURCE))
EXPERIMENT ?= $(EXPERIMENT_$(DATASET))
CHANNELS ?= 4 8 16
MINUTES ?= 10
EPISODES ?= 1000
RUN ?= runs/$(basename $(notdir $(EXPERIMENT)))
BINARY := target/release/hypertransformer
PYTORCH ?= .venv-baselines/bin/python
PYTORCH_SETUP := $(if $(filter .venv-baselines/bin/python,$(PYTORCH)),.venv-baselines/ready)
# An existing run is continued unless ARGS say otherwise.
RESUME = $(if $(filter --force --resume,$(ARGS)),,$(if $(wildcard $(RUN)/config.yaml),--resume,))

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16
	@echo "variables: DATASET=synthetic|omniglot|mini|tiered|cifar-fs|fc100|cub  EXPERIMENT=FILE.yaml  RUN=runs/NAME  ARGS='--set train.steps=1000'  FROM=PATH  CHANNELS='4 8 16'  MINUTES=10  EPISODES=1000"

setup: ## find libtorch 2.13, or install it into .venv (instant the second time)
	@command -v cargo >/dev/null || { echo "error: cargo is missing: install Rust, see https://rustup.rs" >&2; exit 1; }
	@python3 python/libtorch.py

build: setup ## compile the program
	cargo build --release

experiment-known:
	@test -n "$(EXPERIMENT)" || { echo "error: DATASET=$(DATASET): expected synthetic, omniglot, mini, tiered, cifar-fs, fc100 or cub" >&2; exit 2; }

train: experiment-known build ## train DATASET (or EXPERIMENT), evaluate, print the run folder
	$(BINARY) train $(EXPERIMENT) --run-dir $(RUN) $(RESUME) $(ARGS)
	$(BINARY) evaluate $(RUN) --split test --episodes 1000 --output $(RUN)/evaluation-quick.json
	@echo "run folder: $(RUN); show it with: make tensorboard"

evaluate: experiment-known build ## measure RUN on 10,000 test episodes (ARGS: see evaluate --help)
	$(BINARY) evaluate $(RUN) $(ARGS)

data: build ## import DATASET from FROM=PATH into data/ (ARGS=--partial: accept an incomplete data set)
	@test -n "$(FROM)" || { echo "usage: make data DATASET=omniglot|mini|tiered|cifar-fs|fc100|cub|idx|folder|embeddings FROM=path/to/files" >&2; exit 2; }
	$(BINARY) data import $(SOURCE) --from $(FROM) --output data/$(PACK).safetensors $(ARGS)

demo: build ## generate a CNN from pictures in examples/ with the included model, and classify with it
	$(BINARY) generate models/omniglot-20way.safetensors --support examples/glyphs/support --output target/demo/glyphs --force
	$(BINARY) classify target/demo/glyphs.onnx examples/glyphs/query/*/4.png
	$(BINARY) evaluate-folder target/demo/glyphs.onnx examples/glyphs/query

serve: build ## draw classes in a browser with the included model (ARGS: see serve --help)
	$(BINARY) serve $(ARGS)

tensorboard: .venv-python/ready ## show all runs in TensorBoard
	.venv-python/bin/tensorboard --logdir runs

test: setup .venv-python/ready ## run all tests, Rust and Python
	cargo test --release
	.venv-python/bin/pytest -q python

test-page: build .venv-python/ready ## test the page of `serve` in a headless Chromium (Debian: chromium)
	.venv-python/bin/pip install --quiet --disable-pip-version-check -r python/requirements-page.txt
	.venv-python/bin/pytest -q -rs python/tests/test_page.py

lint: setup .venv-python/ready ## check format, clippy, docs and ruff
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --release --document-private-items
	.venv-python/bin/ruff check python && .venv-python/bin/ruff format --check python

parity: setup $(PYTORCH_SETUP) ## compare θ, logits, gradients and training steps with PyTorch (installs it), and test the baselines
	PYTORCH=$(PYTORCH) cargo test --release --test it parity::
	$(PYTORCH) -m pytest -q python/tests

compare: experiment-known build $(PYTORCH_SETUP) ## train HT and other methods for MINUTES of CPU time each, evaluate on the same episodes, write results/
	PYTHONPATH=python $(PYTORCH) -m baselines.compare $(EXPERIMENT) --channels $(CHANNELS) --minutes $(MINUTES) --episodes $(EPISODES) $(ARGS)

bench: build $(PYTORCH_SETUP) ## time episodes, alternating with PyTorch, and the loader (ARGS='--quick' or '--threads 2 --compile --output FILE.md')
	PYTHONPATH=python $(PYTORCH) -m baselines.performance $(ARGS)

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

.PHONY: help setup build experiment-known train evaluate data demo serve tensorboard test test-page lint bench kernels parity compare clean
