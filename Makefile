# Set up a working copy, run the sample project, check everything. Safe to repeat; an interrupted run is resumed by
# the same command. Works with GNU make 3.81 and later (macOS has 3.81).
#
#   PYTHON=python3.12     another interpreter (3.11 to 3.13) than the first suitable one on PATH
#   TORCH_BACKEND=cpu     another build of torch than PyPI's; see docs/how-to/small-install.md
#   PYTEST_ARGS="-k gate" other words for pytest than "two workers, a file each"

VENV := .venv
LOCK := requirements.lock
PROJECT ?= configs/lifecycle/steelyard.yaml
PYTEST_ARGS ?= -n 2 --dist loadfile
TORCH_BACKEND ?=
UPGRADE ?=

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	if $$name -c "$(FITS)" >/dev/null 2>&1; then echo $$name; break; fi; done)
UV_ON_PATH := $(shell command -v uv 2>/dev/null || true)
UV = $(if $(UV_ON_PATH),$(UV_ON_PATH),$(VENV)/bin/uv)

# torch from another index is another file than the one whose hash is locked, and brings its own GPU libraries: then
# these lines leave the constraints, torch keeps its version, and every other package keeps its version and hash.
ifeq ($(strip $(TORCH_BACKEND)),)
CONSTRAINTS := $(LOCK)
BACKEND_OPTION :=
else
CONSTRAINTS := $(VENV)/constraints-$(TORCH_BACKEND).txt
BACKEND_OPTION := --torch-backend $(TORCH_BACKEND)
endif
INSTALL = $(UV) pip install --python $(VENV)/bin/python $(BACKEND_OPTION) \
	--constraints $(CONSTRAINTS) --build-constraints $(CONSTRAINTS)

TOOL_READY := $(VENV)/.ready-tool
RUN_READY := $(VENV)/.ready-run
TEST_READY := $(VENV)/.ready-test

# The tests of the Weaviate store need a server: WEAVIATE_URL's, one on PATH, or one that Go builds.
WEAVIATE_VERSION := v1.39.0
GO_BIN = $(shell go env GOPATH 2>/dev/null)/bin

.PHONY: help quickstart install install-test test test-weaviate weaviate-server browser lint lock schema clean

help:
	@echo "make quickstart  set up .venv, fetch the two small models, run the sample project"
	@echo "make test        set up .venv with the test tools, run the whole test suite"
	@echo "make test-weaviate  only the Weaviate store's tests, against a live server"
	@echo "make browser     find Chromium for the report's tests, or install it (Debian, as root)"
	@echo "make lint        formatting, lint, types and import contracts"
	@echo "make install     only set up .venv (install-test: with the test tools)"
	@echo "make lock        write $(LOCK) again (UPGRADE=--upgrade for newer versions)"
	@echo "make schema      write configs/steelyard.schema.json again"
	@echo "make clean       remove .venv and the tools' caches; results and models stay"

quickstart: $(RUN_READY)
	$(VENV)/bin/steelyard run $(PROJECT)

install: $(RUN_READY)

install-test: $(TEST_READY)

test: $(TEST_READY)
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-weaviate: $(TEST_READY) weaviate-server
	$(VENV)/bin/python -m pytest tests/integration/test_index_contract.py tests/integration/test_weaviate_*.py

# Built once, in under five minutes, and kept in Go's own bin folder; without Go the tests are skipped and say so.
weaviate-server:
	@if [ -n "$$WEAVIATE_URL" ]; then echo "Weaviate: WEAVIATE_URL is $$WEAVIATE_URL"; \
	elif command -v weaviate-server >/dev/null 2>&1; then echo "Weaviate: `command -v weaviate-server`"; \
	elif [ -x "$(GO_BIN)/weaviate-server" ]; then echo "Weaviate: $(GO_BIN)/weaviate-server"; \
	elif command -v go >/dev/null 2>&1; then \
		echo "Weaviate: building $(WEAVIATE_VERSION) with Go (minutes, once)"; \
		CGO_ENABLED=0 GOBIN="$(GO_BIN)" go install \
			github.com/weaviate/weaviate/cmd/weaviate-server@$(WEAVIATE_VERSION); \
	else echo "Weaviate: no server and no Go to build one; its tests are skipped"; fi

# The report's tests look at it in the machine's own Chromium or Chrome; without one they are skipped and say so.
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		if command -v $$name >/dev/null 2>&1; then echo "browser: `command -v $$name`"; exit 0; fi; done; \
	if [ "`id -u`" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "browser: installing Debian's chromium"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; \
	else echo "browser: none, and no way to install one; the tests that need it are skipped"; fi

lint: $(TEST_READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

lock: $(TOOL_READY)
	printf 'uv\n' | $(UV) pip compile pyproject.toml - --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet \
		$(UPGRADE) --output-file $(LOCK)

schema: $(RUN_READY)
	$(VENV)/bin/python -c "from steelyard.config.schema import project_schema_text; print(project_schema_text(), end='')" \
		> configs/steelyard.schema.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist build

# A stamp is written last, so whatever was interrupted is done again.
$(TOOL_READY):
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 on PATH. To fix: install one, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; fi
	@if ! $(PYTHON) -c "$(FITS)"; then \
		echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13. To fix: name another: make PYTHON=/path/to/python" >&2; \
		exit 1; fi
ifneq ($(UV_ON_PATH),)
	$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
else
	$(PYTHON) -m venv $(VENV)
	awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' $(LOCK) > $(VENV)/uv.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
endif
	@touch $@

ifneq ($(BACKEND_OPTION),)
$(CONSTRAINTS): $(LOCK) $(TOOL_READY)
	awk '/^[a-z]/ { skip = /^(torch|triton|nvidia-[^=]*|cuda-[^=]*)==/ } /^torch==/ { print $$1 } !skip' $(LOCK) > $@
endif

$(RUN_READY): $(TOOL_READY) $(CONSTRAINTS) pyproject.toml
	$(INSTALL) --editable .
	@touch $@

$(TEST_READY): $(TOOL_READY) $(CONSTRAINTS) pyproject.toml
	$(INSTALL) --editable '.[test]'
	@touch $@ $(RUN_READY)
