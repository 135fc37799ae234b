# Everything a contributor or a CI needs. Python 3.11 or newer and make are enough; the rest comes with pip
# into .venv, which is made at the first use and again when pyproject.toml changes.

PYTHON ?= python3
ARGS ?=
# Many tests wait for servers, so two at a time suit one core as well as many.
JOBS ?= 2
BIN := .venv/bin
# mypy wants every folder that it is given to exist and to hold Python.
SOURCES := $(wildcard metergate adapters/metergate_* tests examples benchmarks)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench faults fuzz audit clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(if $(findstring --redis,$(ARGS)),.venv/.ready-to-share,.venv/.ready-to-run)  ## start the demo; ARGS=--script plays it, checks itself and ends; ARGS=--redis has three processes over a Valkey and a PostgreSQL
	@$(BIN)/metergate demo $(ARGS)

test: .venv/.ready-to-develop  ## the whole suite, on real servers, with branch coverage; ARGS goes to pytest
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder --cov --cov-report=term $(ARGS)

check: .venv/.ready-to-develop  ## format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy $(SOURCES)

format: .venv/.ready-to-develop  ## rewrite the code in the house's format, with the safe fixes of the linter
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

bench: .venv/.ready-to-develop  ## ratios: the bare app against the same app metered
	@$(BIN)/python -m benchmarks $(ARGS)

faults: .venv/.ready-to-develop  ## kill everything at random for five minutes, and prove every call; ARGS="--seconds 3600 --seed 7 --store shared"
	@$(BIN)/python -W ignore -m tests.faults $(ARGS)

fuzz: .venv/.ready-to-develop  ## what reads bytes of others, a minute for each reader; FUZZ_SECONDS and FUZZ_SEED change that
	@export FUZZ_SECONDS=$${FUZZ_SECONDS:-60} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)}; \
		echo "FUZZ_SEED=$$FUZZ_SEED FUZZ_SECONDS=$$FUZZ_SECONDS"; $(BIN)/python -m pytest -q tests/fuzz tests/adapters/web3/test_nonsense.py $(ARGS)

audit: .venv/.ready-to-develop .venv/audit/bin/pip-audit  ## known vulnerabilities of what is installed; asks a service; the CI tells of it
	@.ci/audit .venv/audit/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
		--skip-editable --format json --progress-spinner off --timeout 10

.venv/audit/bin/pip-audit:
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/python -m pip install --quiet pip-audit

clean:  ## remove what make and the tools made
	@rm -rf .venv build dist htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

# A person sees pip's progress; a log does not.
define install
	@echo "Installing $(1) into .venv: $(2)."
	@if [ -t 1 ]; then $(BIN)/python -m pip install -e '$(1)'; else $(BIN)/python -m pip install --quiet -e '$(1)'; fi
	@touch $@
endef

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "metergate needs Python 3.11 or newer: run make PYTHON=python3.11 (or newer)." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "Python cannot make a virtual environment: on Debian, apt install python3-venv." >&2; exit 1; }

.venv/.ready-to-run: pyproject.toml | .venv/bin/python
	$(call install,.[server],once; about half a minute)

.venv/.ready-to-share: pyproject.toml | .venv/bin/python
	$(call install,.[demo],once; about a minute)

.venv/.ready-to-develop: pyproject.toml | .venv/bin/python
	$(call install,.[dev],once; about a minute)
