# `make repro` and `make test` do everything from a fresh clone; they need git, make and python3 (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PEERS ?= .venv-peers
PEERS_READY := $(PEERS)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

# uv takes a tenth of pip's time (17 s for 211 s on 2 cores, torch at hand); pip is used where uv is missing.
UV := $(shell command -v uv 2>/dev/null)
install = $(if $(UV),$(UV) pip install --quiet --compile-bytecode --python $(1)/bin/python,$(1)/bin/python -m pip install --quiet --disable-pip-version-check)

# The folders of tests/ in three parts for two cores: two compute for about the same time, and the third mostly waits, for
# processes to start and end, for slow servers and for limits of time.
SECOND_PART := end_to_end lineage loading modalities
THIRD_PART := crawl ops remote runtime train webdataset
FIRST_PART := $(filter-out $(SECOND_PART) $(THIRD_PART) __pycache__ peers support,$(notdir $(patsubst %/,%,$(wildcard tests/*/))))
PARTS := first-part second-part third-part

.PHONY: help repro test $(PARTS:%=test-%) quick $(PARTS:%=quick-%) sweep check format generated demo-site demo-table folds bench-loader bench-media bench-gpu test-peers clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (some minutes, once)"
	@$(call install,.venv) --constraint constraints.txt --editable '.[pipeline,dev]'
	@touch $(READY)

$(PEERS_READY): pyproject.toml constraints-peers.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo '*' > $(PEERS)/.gitignore
	@echo "installing other people's readers into $(PEERS) (2.3 GB, more with CUDA; some minutes, once)"
	@$(call install,$(PEERS)) --constraint constraints-peers.txt --editable '.[peers]'
	@touch $(PEERS_READY)

repro: $(READY)  ## run the pipeline; PARAMS=examples/stamps.yaml DATA=path run it on your own folder or archive
	@$(BIN)/python -m pipeline.config.choose_params $(if $(PARAMS),--params '$(PARAMS)') $(if $(DATA),--data '$(DATA)') $(if $(FORCE),--force)
	@$(BIN)/shardwright build
	@$(BIN)/python -m pipeline.runtime.closing

test: $(READY)  ## all tests but the sweeps, in three parts at a time
	@$(MAKE) --no-print-directory --jobs=3 $(PARTS:%=test-%)

QUICK := -m "not sweep and not slow" --forbid-processes

quick: $(READY)  ## the tests of the inner loop: under a minute, and none may start a process
	@$(MAKE) --no-print-directory --jobs=3 $(PARTS:%=quick-%)

%-first-part: FOLDERS = $(addprefix tests/,$(FIRST_PART))
%-second-part: FOLDERS = $(addprefix tests/,$(SECOND_PART))
%-third-part: FOLDERS = $(addprefix tests/,$(THIRD_PART))

$(PARTS:%=test-%): $(READY)
	@$(BIN)/python -m pytest -m "not sweep" $(FOLDERS)

$(PARTS:%=quick-%): $(READY)
	@$(BIN)/python -m pytest $(QUICK) $(FOLDERS)

sweep: $(READY)  ## the heavy tests, with a table of them, and ten times the examples of all properties
	@$(BIN)/python -m pytest -m "sweep or hypothesis" --hypothesis-profile=thorough -s

check: $(READY)  ## format, lint, types, import contracts
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports --no-logo

format: $(READY)  ## put the code into the project's format
	@ruff format .
	@ruff check --fix .

generated: $(READY)  ## write dvc.yaml and schemas/ anew from the code
	@$(BIN)/python -m pipeline.codegen.dvc_yaml
	@$(BIN)/python -m pipeline.codegen.json_schemas

demo-site: $(READY)  ## serve the demo web site on this machine, to look at it
	@$(BIN)/python -m demo

demo-table: $(READY)  ## every fusion and every subset of the parts, five seeds each, on the shards there are
	@$(BIN)/python -m benchmarks.demo_table

test-peers: $(PEERS_READY)  ## our shards in other readers and trainers themselves, killed and resumed; 10 minutes
	@$(PEERS)/bin/python -m pytest tests/peers

bench-loader: $(PEERS_READY)  ## the loader beside its peers, half an hour; DATA=folder keeps the samples, ROUNDS=5, NOTE=line
	@$(PEERS)/bin/python -m benchmarks.bench_loader $(if $(DATA),--data '$(DATA)') $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(NOTE),--note '$(NOTE)')

bench-media: $(PEERS_READY)  ## images, audio, video and text beside other readers, ten minutes; DATA=folder, ROUNDS=2, NOTE=line
	@$(PEERS)/bin/python -m benchmarks.bench_media $(if $(DATA),--data '$(DATA)') $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(NOTE),--note '$(NOTE)')

folds: $(READY)  ## train and test on each fold of align.folds, and sum up: data/8_folds
	@$(BIN)/shardwright folds

bench-gpu: $(READY)  ## training on a GPU: its rate, what part of the peak that is, and the same bits again
	@$(BIN)/python -m benchmarks.bench_gpu

clean:  ## remove what the pipeline made; the item cache stays
	rm -rf data
