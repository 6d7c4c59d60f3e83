# Everything a newcomer, CI and the service's developers need. `make help` lists it.
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := cds_hooks service tests tools bench

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-hapi fuzz mutations bench noise courses storm check format lock generated sbom audit clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv with the pinned dependencies and the project

$(STAMP): requirements/dev.lock pyproject.toml
	@tools/setup-venv $(VENV)
	@touch $(STAMP)

run: setup ## serve on http://127.0.0.1:8000 (PORT= changes it)
	@$(BIN)/clozapine-cds db upgrade
	@$(BIN)/clozapine-cds serve --port $(PORT)

demo: setup ## play a small day in a clinic against the service and print the cards
	@$(BIN)/clozapine-cds demo

test: setup ## the whole test suite
	@tools/ensure-chromium
	@$(BIN)/python -m pytest -n 2

fuzz: setup ## the property tests with new examples, 2000 of each, and whatever make test tries in part: there the examples are always the same
	@FUZZ=1 $(BIN)/python -m pytest -n 2 -q $$(grep -rlE "^from hypothesis|^import hypothesis|FUZZ" tests --include='test_*.py')

test-hapi: setup ## the hook flow against a real HAPI FHIR server (Java 17, Maven); skipped where they are missing
	@$(BIN)/python -m tests.hapi

mutations: setup ## change each number of the policies and the code by a step: which change does no vignette notice?
	@$(BIN)/python -m tools.mutations

bench: setup ## the benchmarks, driven by wrk; writes bench/latest.json
	@tools/ensure-wrk
	@$(BIN)/python -m bench

noise: setup ## how often the service speaks beside ordinary orders, under every policy
	@$(BIN)/python -m tools.noise

courses: setup ## play courses of two years under every policy, quiet and with a thousand dangers: minutes (POLICY= one of them)
	@$(BIN)/python -m tools.courses $(POLICY)

storm: setup ## two sites under attack and outage for three minutes: what does the other site notice? writes docs/security/storm.md
	@$(BIN)/python -W ignore -m tools.storm

check: setup ## formatter, linter, types, import rules, Dockerfile, generated files, audit
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "formatting: run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES) && echo "format and lint: fine"
	@$(BIN)/mypy --no-error-summary && echo "types: fine"
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@echo "import rules: fine"
	@$(BIN)/hadolint Dockerfile && echo "Dockerfile: fine"
	@$(BIN)/python -m tools.generated --check
	@$(BIN)/python -m tools.audit

sbom: setup ## the software bill of materials of what runs, var/sbom.json (CycloneDX)
	@mkdir -p var
	@$(BIN)/python -W ignore -m cyclonedx_py requirements requirements/runtime.lock --pyproject pyproject.toml --output-reproducible --of JSON -o var/sbom.json
	@echo "var/sbom.json"

audit: setup ## known vulnerabilities of the pinned packages
	@$(BIN)/python -m tools.audit

generated: setup ## write openapi/openapi.json and the generated documentation pages
	@$(BIN)/python -m tools.generated --write

format: setup ## format and fix what can be fixed
	@$(BIN)/ruff format --quiet $(SOURCES)
	@$(BIN)/ruff check --fix --quiet $(SOURCES)

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --extra postgres pyproject.toml -o requirements/runtime.lock
	echo "hatchling>=1.27" | uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet - -o requirements/build.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet --extra postgres --group dev pyproject.toml -o requirements/dev.lock

clean: ## remove what the commands above made
	rm -rf $(VENV) var build dist
