# Every target does the set-up it needs. `make` alone prints this help.
.DEFAULT_GOAL := help
SHELL := bash
VENV := .venv/bin

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Virtual environment, locked packages, jars, and a JRE where there is none
	@tools/setup.sh

.PHONY: demo
demo: setup ## Run the pipeline here: Spark, Airflow, sample trades as time goes by (ONCE=1: stop after a run of each)
	@$(VENV)/ohlcv demo $(if $(ONCE),--once)

.PHONY: doctor
doctor: setup ## Look for what is wrong here, and say what to do
	@$(VENV)/ohlcv doctor

.PHONY: test
test: setup ## Run the tests
	@$(VENV)/python -m pytest

.PHONY: test-services
test-services: setup ## Run the long tests on real services: backfills, outages, kills, order of jobs (an hour)
	@$(VENV)/python -m pytest -m services -rP tests/services tests/crash_recovery

.PHONY: test-catalogs
test-catalogs: require-catalogs setup ## Run the tests on SQLite, PostgreSQL and REST catalogs, files and S3 (ten minutes)
	@$(VENV)/python -m pytest -m catalogs -rP tests/catalogs

.PHONY: test-containers
test-containers: require-containers setup ## Build the image and run validations in it by podman, as root (ten minutes)
	@$(VENV)/python -m pytest -m containers -rP tests/deployment/containers

.PHONY: test-compose
test-compose: require-compose setup ## Build the image and run docker-compose.yaml by podman-compose, as root (half an hour)
	@$(VENV)/python -m pytest -m compose -rP tests/deployment/compose

.PHONY: require-catalogs require-containers require-compose
require-catalogs require-containers require-compose: require-%:
	@tools/require_commands.sh $*

.PHONY: env
env: ## Write .env for docker-compose.yaml with secrets of its own; one that is there stays
	@deploy/env.sh

.PHONY: bench
bench: setup ## What runs, reprocessing and growth cost, beside other ways (ONLY="sections", QUICK=1, JSON=file; a quarter of an hour)
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --require-hashes --requirement requirements-bench.txt
	@$(VENV)/python -m benchmarks $(ONLY:%=--only %) $(if $(QUICK),--quick) $(if $(JSON),--json $(JSON))

.PHONY: bench-live
bench-live: setup ## Seconds from cron tick to validated candle with all DAGs live (MINUTES=60)
	@$(VENV)/python -m benchmarks --only live $(if $(JSON),--json $(JSON))

.PHONY: bench-maintenance
bench-maintenance: setup ## Seven simulated weeks of five-minute commits and weekly maintenance (half an hour)
	@$(VENV)/python benchmarks/simulated_month.py

.PHONY: check
check: setup ## Judge style, types, locks, shell and YAML; changes nothing
	@tools/check.sh

.PHONY: fix
fix: setup ## Repair what can be repaired: format, imports
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

.PHONY: lock
lock: setup ## Compile the requirements files from pyproject.toml
	@tools/lock.sh

.PHONY: golden
golden: setup ## Write the reviewed command lines of every Spark task anew (tests/orchestration/golden)
	@GOLDEN=write $(VENV)/python -m pytest -q tests/orchestration/test_command_lines.py

.PHONY: prove-rules
prove-rules: setup ## Break ten rules of the engine one at a time and show which test catches each
	@$(VENV)/python tools/prove_rules.py
