# Every target makes what it needs: .venv, the tools in it, the build. Two commands suffice to start:
#   make demo      build, then the main job: data-parallel training on every GPU or 4 simulated ones
#   make test      build, then every test but the slow ones
# Variables: PYTHON (makes .venv; runs gpu-check as it is), WEFT_CUDA=auto|on|off,
# WEFT_CUDA_ARCHITECTURES, STRESS (rounds), FUZZ_SECONDS, FUZZ (targets), SEEDS, ARGS (added to the
# command that a target ends in).
PYTHON ?= python3
STRESS ?= 200
FUZZ_SECONDS ?= 60
SEEDS ?= 0:100
ARGS ?=
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
TOOLS := "pip>=23.1" "scikit-build-core>=1.0" "nanobind>=3.1" "cmake>=3.31.10" ninja
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# One kept folder for all builds of the package and its C++ tests: later ones compile what changed.
BUILD := build/package
INSTALL := $(PIP) --no-build-isolation -C build-dir=$(BUILD)
PYTEST := $(BIN)/python -m pytest

# Set where doctest is installed: then the build includes the C++ tests.
DOCTEST := $(wildcard /usr/include/doctest/doctest.h /usr/local/include/doctest/doctest.h)
WITH_TESTS := -C cmake.define.WEFT_TESTS=$(if $(DOCTEST),ON,OFF)

# Entry points of the environment, e.g. mpiexec, come before the system's.
export PATH := $(BIN):$(PATH)

.PHONY: help demo test test-slow lint locks format docs stubs bench stress soak fuzz models gpu-check clean \
        venv build-demo build-test build-lint build-fuzz fuzz-topology fuzz-trace fuzz-dlpack \
        fuzz-config

help:
	@sed -n '/^# Every/,/^PYTHON/{/^#/s/^# \{0,1\}//p}' Makefile
	@echo "Also: test-slow lint locks format docs stubs bench stress soak fuzz models gpu-check clean"

venv: $(VENV)/.tools
$(VENV)/.tools: Makefile
	@echo "== tools into $(VENV)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TOOLS)
	@touch $@

build-demo: venv
	@echo "== building weft (minutes the first time, seconds later)"
	$(INSTALL) -C cmake.define.WEFT_TESTS=OFF -e '.[demo]'
build-test: venv
	@echo "== building weft and its C++ tests (minutes the first time, seconds later)"
	$(INSTALL) $(WITH_TESTS) -e '.[test]'
build-lint: venv
	@echo "== building weft (minutes the first time, seconds later)"
	$(INSTALL) $(WITH_TESTS) -e '.[test,dev]'

demo: build-demo
	$(BIN)/weft demo $(ARGS)

test: build-test
ifneq ($(DOCTEST),)
	$(BIN)/ctest --test-dir $(BUILD) --output-on-failure --no-tests=error --parallel 2
else
	@echo "== C++ tests: not built, doctest is not installed (Debian: doctest-dev)"
endif
	$(PYTEST) tests --ignore=tests/lint -m "not slow" $(ARGS)

test-slow: build-test
ifneq ($(DOCTEST),)
	set -e; for test in $(BUILD)/tests/weft_test_*; do "$$test" --test-suite=slow; done
endif
	$(PYTEST) tests --ignore=tests/lint -m slow $(ARGS)

# The concurrent tests, STRESS times each: TEST_SUITE("stress") in C++, the mark `stress` in Python.
stress: build-test
ifneq ($(DOCTEST),)
	set -e; for test in $(BUILD)/tests/weft_test_*; do \
	  "$$test" --test-suite=stress --repeat=$(STRESS); done
else
	@echo "== C++ tests: not built, doctest is not installed (Debian: doctest-dev)"
endif
	$(PYTEST) tests -m stress --stress=$(STRESS) $(ARGS)

# Random collectives and planned faults on simulated devices, seeds FIRST:END; records in build/.
soak: build-test
	$(BIN)/python bench/soak.py $(BUILD)/tests/weft_soak --seeds $(SEEDS) --json build/soak.json
	$(BIN)/python bench/soak.py $(BUILD)/tests/weft_faults --seeds $(SEEDS) --json build/faults.json

# What nobody vouches for: topology files, FUZZ_SECONDS long, and beside them trace files, DLPack
# structs and environments, a quarter of that each. FUZZ="dlpack config": these alone. What fails is
# kept in build/fuzz/. The C++ ones need Clang and its runtimes (Debian: clang-19 libclang-rt-19-dev).
FUZZ ?= topology trace dlpack config
FUZZERS := build/fuzzers
FUZZ_QUARTER = $$(($(FUZZ_SECONDS) / 4))
fuzz_corpora = build/fuzz/$(1) tests/fuzz/corpus/$(1) -artifact_prefix=build/fuzz/$(1)-
build-fuzz: venv
	$(INSTALL) $(WITH_TESTS) -e '.[fuzz]'
	$(if $(filter dlpack config,$(FUZZ)),PYTHONPATH=tests $(BIN)/python -m fuzz.build $(FUZZERS))
fuzz: build-fuzz
	mkdir -p $(addprefix build/fuzz/,$(FUZZ))
	$(MAKE) --no-print-directory --keep-going --jobs=2 --output-sync=target $(FUZZ:%=fuzz-%)
fuzz-topology:
	$(BIN)/python tests/fuzz/topology.py $(call fuzz_corpora,topology) tests/topology/machines \
	  -max_total_time=$(FUZZ_SECONDS) $(ARGS)
fuzz-trace:
	$(BIN)/python tests/fuzz/trace.py $(call fuzz_corpora,trace) \
	  -max_total_time=$(FUZZ_QUARTER) $(ARGS)
fuzz-dlpack:
	$(FUZZERS)/tests/fuzz/weft_fuzz_dlpack $(call fuzz_corpora,dlpack) \
	  -max_total_time=$(FUZZ_QUARTER) $(ARGS)
fuzz-config:
	$(FUZZERS)/tests/fuzz/weft_fuzz_config $(call fuzz_corpora,config) \
	  -dict=tests/fuzz/config.dict -max_total_time=$(FUZZ_QUARTER) $(ARGS)

# The protocols' models, all their states; needs spin (Debian: spin). --quick: less than a minute.
models:
	$(PYTHON) tests/models/check.py $(ARGS)

CPP_FILES = $$(git ls-files -co --exclude-standard '*.h' '*.cc' '*.cu' '*.cuh' | while read -r f; do \
              [ -e "$$f" ] && echo "$$f"; done)
lint: build-lint
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PYTEST) tests/lint $(ARGS)

# Which data each lock guards, by Clang's thread-safety analysis of what was compiled.
locks: build-lint
	PYTHONPATH=tests $(BIN)/python -m lint.locks $(BUILD)/compile_commands.json $(ARGS)

format: build-lint
	$(BIN)/clang-format -i $(CPP_FILES)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# What is generated and committed; lint checks that it is current.
docs:
	$(PYTHON) tests/lint/config_page.py > docs/configuration.md
	$(PYTHON) bench/readme_table.py
stubs: build-lint
	$(BIN)/python tests/lint/stub.py

BENCH ?= all_reduce -b 8 -e 64M -f 8
bench: build-demo
	$(BIN)/weft bench $(BENCH) --json build/bench.json $(ARGS)

# With the Python given, which has weft and pytest: installs nothing, needs no network.
# TOOL=memcheck (racecheck, ...) runs the tests under compute-sanitizer, SHARD=i/k every k-th test.
# Calls that CUDA refuses are no findings: weft asks, and tests provoke it, and both look at the answer.
SANITIZER = $(if $(TOOL),compute-sanitizer --tool $(TOOL) --target-processes all --error-exitcode 9 \
              $(if $(filter memcheck,$(TOOL)),--report-api-errors no))
gpu-check:
	$(SANITIZER) $(PYTHON) -m pytest tests/gpu -m "gpu1 or gpu2" $(if $(SHARD),--shard=$(SHARD)) $(ARGS)
	$(if $(TOOL)$(SHARD),,$(PYTHON) -c "import weft.cli; weft.cli.main()" bench all_reduce -b 8 -e 256M -f 8)

clean:
	rm -rf $(VENV) build dist weft-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
