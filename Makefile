# Lungline's few commands. `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first Python on the path that is new enough; set PYTHON to choose another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# A uv of one's own is used where there is one; else uv is installed into the environment as a package.
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)

# Every command of a test run loads the same libraries: compile them once, whatever the machine prefers.
unexport PYTHONDONTWRITEBYTECODE

# Kubeflow's SDK wants another protobuf than the tests, so it has an environment of its own, with little else in it.
KUBEFLOW := .venv-kubeflow
NOT_TO_COMPILE := torch torchvision timm captum mlflow evidently great-expectations statsmodels optuna

.PHONY: help setup quickstart test unit kubeflow test-cluster bench learning monitor month clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Lungline needs Python 3.11, 3.12 or 3.13, and none was found. Set PYTHON=/path/to/python3."; exit 5; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/.runtime: uv.lock pyproject.toml | $(BIN)/python
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --frozen --inexact --no-dev --quiet
	@touch $@

$(BIN)/.development: $(BIN)/.runtime
	UV_PROJECT_ENVIRONMENT=$(VENV) $(UV) sync --frozen --inexact --quiet
	@touch $@

setup: $(BIN)/.runtime ## create .venv and install from the lock file

quickstart: setup ## draw phantom X-rays, train two networks on them, print leaderboard and report
	$(BIN)/lungline train quickstart

test: $(BIN)/.development $(KUBEFLOW)/.ready ## install what tests need and run every check and test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile

unit: $(BIN)/.development ## the fast tests only: no ZenML, no browser
	$(BIN)/pytest tests/unit -n 2 --dist loadfile

$(KUBEFLOW)/.ready: $(BIN)/.development
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(KUBEFLOW)
	$(UV) export --frozen --quiet --no-dev --no-emit-project --extra kubeflow $(NOT_TO_COMPILE:%=--prune %) \
		--output-file $(KUBEFLOW)/locked.txt
	$(UV) pip sync --quiet --require-hashes --python $(KUBEFLOW)/bin/python $(KUBEFLOW)/locked.txt
	@touch $@

kubeflow: $(KUBEFLOW)/.ready ## compile the training pipeline for Kubeflow and compare it with its golden file
	$(BIN)/pytest tests/deploy/test_kubeflow.py

test-cluster: $(BIN)/.development ## install on the cluster that LUNGLINE_TEST_KUBECONTEXT names and go the whole way in pods
	$(if $(LUNGLINE_TEST_BUILD),for image in train serve; do $(LUNGLINE_TEST_BUILD) $$image $(LUNGLINE_TEST_TAG) || exit; done)
	$(LUNGLINE_TEST_ENTER) $(BIN)/pytest tests/cluster -v

bench: $(BIN)/.development ## measure the speed promises: CPU-time ratios against the usual way
	$(BIN)/python -m tests.bench

learning: $(BIN)/.development ## measure every recipe on the real images in DATA and write docs/learning.md (an hour)
	$(BIN)/python -m tests.learning --data $(DATA)

monitor: $(BIN)/.development ## measure the monitor's false alarms and power on the real images in DATA: docs/monitor.md
	$(BIN)/python -m tests.monitor --data $(DATA) --out docs/monitor.md

month: $(BIN)/.development ## play a month of daily windows on the real images in DATA: docs/month.md
	$(BIN)/python -m tests.month --data $(DATA) --out docs/month.md

clean: ## remove the environment and everything written by runs in this folder
	rm -rf $(VENV) $(KUBEFLOW) .lungline .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
