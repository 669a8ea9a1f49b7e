# make demo   set everything up and segment two images with the embedded model
# make test   set everything up and run every check and test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCHFREE := .venv-torchfree
LOWEST := .venv-lowest
PIP := -m pip --disable-pip-version-check install --quiet --constraint tools/constraints.txt

MANIFESTS := csrc/pyproject.toml csrc/CMakeLists.txt $(wildcard packages/*/pyproject.toml)
NATIVE := $(shell find csrc/include csrc/cpu csrc/cuda csrc/bindings csrc/python -type f -not -name '*.pyc' 2>/dev/null)
PURE := $(wildcard packages/*)
JOBS ?= 2

export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test setup lint types layers pytest torchfree lowest wheels benchmarks sanitize clean

demo: setup
	@BIN=$(BIN) sh tools/demo.sh demo_output

test: lint layers types pytest torchfree

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
		"./csrc[test]" "./packages/dinocell-io[jump,lif,nd2,obstore]" $(foreach package,core eval seg ssl cli,./packages/dinocell-$(package))
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q

# a folder for `pip install --find-links wheels dinocell-cli`
wheels: $(VENV)/kernels.stamp
	rm -rf wheels
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-build-isolation --no-deps --wheel-dir wheels ./csrc $(foreach package,$(PURE),./$(package))

benchmarks: $(VENV)/test.stamp
	$(BIN)/python $(PIP) --requirement tools/requirements-benchmarks.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest benchmarks

# the C++ kernels under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
sanitize:
	sh tools/sanitize.sh

clean:
	rm -rf $(VENV) $(TORCHFREE) $(LOWEST) wheels demo_output
