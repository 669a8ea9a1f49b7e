# make demo   set everything up and segment two images with the embedded model
# make test   set everything up and run every check and test
# make nightly   the same and what takes longer

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCHFREE := .venv-torchfree
LOWEST := .venv-lowest
CHECKED := .venv-checked
PIP := -m pip --disable-pip-version-check install --quiet --constraint tools/constraints.txt

MANIFESTS := csrc/pyproject.toml csrc/CMakeLists.txt $(wildcard packages/*/pyproject.toml)
NATIVE := $(shell find csrc/include csrc/cpu csrc/cuda csrc/bindings csrc/python -type f -not -name '*.pyc' 2>/dev/null)
PURE := $(wildcard packages/*)
CPP := $(shell find csrc/bindings csrc/cpu csrc/cuda csrc/include csrc/tests -name '*.?pp' -o -name '*.inl' -o -name '*.cu')
JOBS ?= 2
SOAK_SECONDS ?= 60
NIGHTLY := sanitize portable random

export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test nightly setup lint types layers pytest torchfree lowest wheels benchmarks sanitize checked soak portable random clean

demo: setup
	@BIN=$(BIN) sh tools/demo.sh demo_output

test: lint layers types pytest torchfree checked soak

# what takes too long for each change; a new target of the kind joins NIGHTLY
nightly: SOAK_SECONDS = 600
nightly: test $(NIGHTLY)

setup: $(VENV)/packages.stamp

$(VENV)/build.stamp: tools/constraints.txt tools/requirements-build.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --requirement tools/requirements-build.txt
	@touch $@

$(VENV)/kernels.stamp: $(VENV)/build.stamp $(NATIVE) csrc/pyproject.toml csrc/CMakeLists.txt
	$(BIN)/python $(PIP) --no-build-isolation --force-reinstall --no-deps ./csrc
	@touch $@

$(VENV)/packages.stamp: $(VENV)/kernels.stamp $(MANIFESTS)
	$(BIN)/python $(PIP) torch scikit-image jaxtyping
	$(BIN)/python $(PIP) --no-build-isolation ./csrc $(foreach package,$(PURE),--editable ./$(package))
	@touch $@

$(VENV)/test.stamp: $(VENV)/packages.stamp tools/requirements-test.txt
	$(BIN)/python $(PIP) --requirement tools/requirements-test.txt
	@touch $@

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/codespell

layers: $(VENV)/test.stamp
	$(BIN)/lint-imports

types: $(VENV)/test.stamp
	$(BIN)/mypy

pytest: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses $(JOBS)

# kernels, io and eval must install from wheels and pass where there is no torch
torchfree: wheels
	$(PYTHON) -m venv $(TORCHFREE)
	$(TORCHFREE)/bin/python $(PIP) --find-links wheels --force-reinstall --no-deps dinocell-kernels dinocell-io dinocell-eval
	$(TORCHFREE)/bin/python $(PIP) --find-links wheels dinocell-eval beartype edt hypothesis pytest pytest-xdist scikit-image
	! $(TORCHFREE)/bin/python -c "import torch" 2>/dev/null
	$(TORCHFREE)/bin/python -m pytest -q --numprocesses $(JOBS) csrc/tests packages/dinocell-io/tests packages/dinocell-eval/tests

# the tests at the lowest versions that the packages declare (torch's CUDA packages: some gigabytes)
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	echo 'click<8.5' > $(LOWEST)/constraints.txt  # typer up to 0.25 warns with 8.5
	$(LOWEST)/bin/uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct --constraint $(LOWEST)/constraints.txt \
		"./csrc[test]" "./packages/dinocell-io[jump,lif,nd2]" $(foreach package,core eval seg ssl cli,./packages/dinocell-$(package))
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q

# a folder for `pip install --find-links wheels dinocell-cli`
wheels: $(VENV)/kernels.stamp
	rm -rf wheels
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --wheel-dir wheels ./csrc $(foreach package,$(PURE),./$(package))

benchmarks: $(VENV)/test.stamp
	$(BIN)/python $(PIP) --requirement tools/requirements-benchmarks.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks

# the C++ kernels under AddressSanitizer, UndefinedBehaviorSanitizer, ThreadSanitizer and valgrind
sanitize:
	sh tools/sanitize.sh

# the kernels' tests and a short soak with checked indices, and with small images cut into many strips and bands
checked: $(VENV)/test.stamp
	$(BIN)/python $(PIP) --no-build-isolation --no-deps --upgrade --target $(CHECKED) --config-settings=build-dir=build/checked \
		--config-settings=cmake.define.DINOCELL_CHECKED=ON --config-settings=cmake.define.DINOCELL_CUDA=OFF ./csrc
	PYTHONPATH=$(CHECKED) DINOCELL_RANDOM_IMAGES=3000 $(BIN)/python -m pytest -q --numprocesses $(JOBS) $(foreach kernel,random_images \
		connected_components distance_map kernel_threads label_overlap relabel tiles watershed watershed_by_prominence,csrc/tests/test_$(kernel).py)
	PYTHONPATH=$(CHECKED) $(BIN)/python tools/soak_watershed.py --seconds 20

# random watersheds of all sizes, by every instruction set and number of threads
soak: $(VENV)/test.stamp
	$(BIN)/python tools/soak_watershed.py --seconds $(SOAK_SECONDS)

# the tests as on a CPU without AVX-512 and bfloat16, then as on one without AVX
portable: $(VENV)/test.stamp
	ATEN_CPU_CAPABILITY=avx2 DINOCELL_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(MAKE) pytest
	ATEN_CPU_CAPABILITY=default DINOCELL_ISA=portable ONEDNN_MAX_CPU_ISA=SSE41 $(MAKE) pytest

# ten times the random images of the kernels' tests
random: $(VENV)/test.stamp
	DINOCELL_RANDOM_IMAGES=100000 $(BIN)/python -m pytest -q --numprocesses $(JOBS) csrc/tests/test_random_images.py

clean:
	rm -rf $(VENV) $(TORCHFREE) $(LOWEST) $(CHECKED) wheels demo_output
