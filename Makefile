# make demo              train on the bundled digits
# make test              run the tests: 20 minutes of CPU time on a slow machine, over two processes
# make test-fast         run the tests of the rooms that compile no network
# make test-slow         run all tests; installs PyTorch (200 MB to 3 GB), libtpu (640 MB) and JAX's CUDA
#                        plugin (400 MB) for some of them
# make test-all-pythons  run make test with Python 3.11, 3.12 and 3.13, each in an environment of its own
# make drill             kill a run in 69 ways and check that nothing is lost: KILLS=500 sets the number
# make fuzz              test what reads images, records and other foreign data with damaged input: MINUTES=5
# make docs              build the documentation site in build/docs; its packages are in an environment of their own
# make pictures          draw docs/images again
# make check             run what CI runs: lint, types, tests
# PYTHON=python3.12 selects the interpreter, EXTRAS=cuda13 adds extras of pyproject.toml.

SHELL := /bin/bash
VENV ?= .venv
EXTRAS ?=
BIN := $(VENV)/bin

# The interpreter that the environment was made with; before that, the first of these that runs and is supported.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell $(BIN)/python -c 'import sys; print(sys._base_executable)' 2>/dev/null || \
	for name in python3 python3.12 python3.13 python3.11 python; do \
	$$name -c '$(SUPPORTED)' 2>/dev/null && echo $$name && break; done)
WANTED := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
BASE := $(VENV)/.installed-$(WANTED)
STAMP := $(BASE)$(if $(EXTRAS),-$(EXTRAS))
DEV := $(BASE)-dev
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --editable

# What `jax[tpu]` wants. Not among the packages: wherever JAX finds it, it looks for TPUs at each start, and says so.
LIBTPU := $(abspath $(VENV))/libtpu
LIBTPU_VERSION := import importlib.metadata as m; print(next(r.split(";")[0] for r in m.requires("jax") if r.startswith("libtpu")))

# The extra `gpu-plan`, for the same reason not among the packages.
CUDA_PLUGIN := $(abspath $(VENV))/cuda_plugin
CUDA_PLUGIN_VERSION := import jaxlib; print(*(f"jax-cuda13-{part}=={jaxlib.__version__}" for part in ("plugin", "pjrt")))

.PHONY: help demo test test-fast test-slow test-all-pythons drill fuzz docs pictures lint types check install lock clean

help:
	@sed -n '/^$$/q; s/^# //p' Makefile

demo: $(STAMP)
	@$(BIN)/python main.py --config=configs/digits.py
	@echo "next         $(BIN)/python main.py --config=configs/resnet50.py   (docs/data.md says how to get ImageNet)"

# Tests that share a fixture or a compiled program run in the same process (loadfile). The tests start hundreds of
# processes: Python stores its bytecode also where PYTHONDONTWRITEBYTECODE is set.
TEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 --dist=loadfile

test: $(DEV)
	@$(TEST)

# Rooms whose tests compile no network.
FAST := data distributed checkpoints reporting programs/r1_flags programs/prepare
FAST_FILES := architecture config_keys extending files text

test-fast: $(DEV)
	@$(TEST) $(FAST:%=tests/%) $(FAST_FILES:%=tests/test_%.py)

test-slow: $(BASE)-parity
	@LIBTPU=$(LIBTPU) CUDA_PLUGIN=$(CUDA_PLUGIN) $(TEST) -m "slow or not slow"

# Each in .venv-3.11 and so on; the interpreters are found on the PATH or where pyenv keeps them.
test-all-pythons:
	@failed=; for version in 3.11 3.12 3.13; do \
		python=$$(for name in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python; do \
			$$name -c '' 2>/dev/null && echo $$name && break; done); \
		echo "Python $$version: $${python:-not found, install it}"; \
		[ -n "$$python" ] && $(MAKE) test PYTHON="$$python" VENV=".venv-$$version" || failed="$$failed $$version"; \
	done; [ -z "$$failed" ] || { echo "error: failed with Python$$failed"; exit 1; }

# With KILLS, three fifths of them are of a run with one process. A drill that was interrupted continues.
KILLS ?=

drill: $(DEV)
	@$(if $(KILLS),$(BIN)/python -m drill --processes=1 --devices=2 --kills=$$(( $(KILLS) - $(KILLS) * 2 / 5 )) && )\
	$(BIN)/python -m drill $(if $(KILLS),--kills=$$(( $(KILLS) * 2 / 5 )))

fuzz: $(DEV)
	@$(BIN)/python -m fuzz $(TARGETS) --minutes=$(or $(MINUTES),5)

# Sphinx in an environment of its own: it reads the source, and needs none of the packages of the trainer.
DOCS := $(VENV)-docs

docs: $(DOCS)/.installed
	@$(DOCS)/bin/python -m sphinx -b html --fail-on-warning --keep-going --quiet docs build/docs
	@echo "documentation  build/docs/index.html"

$(DOCS)/.installed: pyproject.toml
	@$(PYTHON) -m venv $(DOCS)
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
		| $(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	@touch $@

pictures: $(DEV)
	@$(BIN)/python benchmarks/augmentations_picture.py
	@$(BIN)/python benchmarks/schedules_picture.py
	@$(BIN)/python benchmarks/rooms_picture.py

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV)
	@$(BIN)/mypy

check: lint types test

install: $(STAMP)

$(BASE): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 found: install one, or say PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "error: $(PYTHON) is not Python 3.11 to 3.13: say PYTHON=python3.12"; exit 2; }
	@echo "installing into $(VENV) (Python $(WANTED); 1.3 GB; a minute or two)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) .
	@touch $@

# What the tests need besides: their own packages, and TensorFlow.
$(DEV): $(STAMP)
	@echo "installing the packages of the tests (1.5 GB, most of it TensorFlow)"
	@$(INSTALL) ".[dev,tensorflow]"
	@touch $@

$(BASE)-parity: $(DEV)
	@$(INSTALL) ".[parity,emulators,hub,onnx,notebook,wandb,mlflow]"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(LIBTPU) \
		"$$($(BIN)/python -c '$(LIBTPU_VERSION)')"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(CUDA_PLUGIN) \
		$$($(BIN)/python -c '$(CUDA_PLUGIN_VERSION)')
	@touch $@

ifneq ($(STAMP),$(BASE))
$(STAMP): $(BASE)
	@$(INSTALL) ".[$(EXTRAS)]"
	@touch $@
endif

# Needs uv (pip install uv).
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 \
		--extra tensorflow --extra dev --extra hub --extra onnx --extra notebook --extra wandb --extra mlflow \
		--no-annotate --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
