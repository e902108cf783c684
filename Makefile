# Every target runs the setup it needs. `make` without a target prints the help.
.DEFAULT_GOAL := help
SHELL := bash
VENV := .venv/bin

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Create .venv with packages and jars, a JRE if the machine has no Java 17 or 21, and build the Candles page
	@tools/setup.sh

.PHONY: demo
demo: setup ## Run the pipeline locally: Spark, Airflow and a feed of sample trades (ONCE=1: stop after one run of each DAG)
	@$(VENV)/ohlcv demo $(if $(ONCE),--once)

.PHONY: doctor
doctor: setup ## Check the installation and print the remedy for each fault
	@$(VENV)/ohlcv doctor

# Three processes for two cores: one of them mostly waits for servers. tests/conftest.py distributes the tests.
PYTEST := $(VENV)/python -m pytest
ORDER_OPTION := $(if $(filter random,$(ORDER)),-p randomly)

.PHONY: test
test: setup ## Run the tests (ORDER=random: in random order)
	@$(PYTEST) -n 3 $(ORDER_OPTION)

.PHONY: test-unit
test-unit: setup ## Run the unit tests: no Spark, no server (a minute)
	@$(PYTEST) -n 2 $(ORDER_OPTION) tests/unit

LANES := archives benchmarks engines crash-recovery faults hostile servers spark-cases services catalogs page containers compose

.PHONY: test-all
test-all: ## Run the tests and every lane, one after another (more than three hours)
	@$(MAKE) test $(LANES:%=test-%)

.PHONY: test-archives
test-archives: setup ## Test that real jobs use the CDS archives
	@$(PYTEST) -m archives tests/integration

.PHONY: test-benchmarks
test-benchmarks: setup ## Test the code of the benchmarks
	@$(PYTEST) -m benchmarks tests/unit/benchmarks

.PHONY: test-engines
test-engines: setup ## Run the tests of the Spark jobs on the native engine
	@$(PYTEST) --engine native -m "" tests/spark --ignore tests/spark/test_query_plans.py

.PHONY: test-crash-recovery
test-crash-recovery: setup ## Kill jobs at many moments, and let two writers compete on PostgreSQL
	@$(PYTEST) -m crash_recovery -rP tests/crash_recovery tests/unit/coverage

.PHONY: test-faults
test-faults: setup ## Check random histories (EXAMPLES=6 SEED=1, or one by EXAMPLE=4), concurrent writers, injected faults
	@SEED=$(SEED) EXAMPLES=$(EXAMPLES) EXAMPLE=$(EXAMPLE) EXCHANGES=$(EXCHANGES) $(PYTEST) -m faults -rP \
		$(if $(EXAMPLE),tests/faults/test_random_histories.py,tests)

.PHONY: soak
soak: setup ## Check new random histories until a time is over (MINUTES=10, SEED=7, EXCHANGES=100, JSON=file)
	@PYTHONPATH=tests:. $(VENV)/python tests/faults/soak.py $(MINUTES:%=--minutes %) $(SEED:%=--seed %) \
		$(EXCHANGES:%=--exchanges %) $(JSON:%=--json %)

.PHONY: test-hostile
test-hostile: setup ## Run generated hostile cases (CASES=1000 SEED=1), or repeat one (SEED=1 CASE=17)
	@CASES=$(CASES) SEED=$(SEED) CASE=$(CASE) $(PYTEST) -m hostile tests/hostile tests/orchestration

.PHONY: test-servers
test-servers: setup ## Test the test servers: PostgreSQL and its proxy
	@$(PYTEST) -m servers tests/unit

.PHONY: test-spark-cases
test-spark-cases: setup ## Test further cases of the Spark jobs: shapes, defects, ages, timeframes
	@$(PYTEST) -m spark_cases tests/spark

.PHONY: test-services
test-services: setup ## Run the long tests on real services: backfills, outages, kills, order of jobs, the first use (an hour)
	@$(PYTEST) -m services -rP tests/integration tests/services

.PHONY: test-catalogs
test-catalogs: require-catalogs setup ## Run the tests on real catalogs: SQLite, PostgreSQL, Nessie, REST, Glue, Hive (half an hour)
	@$(PYTEST) -m catalogs -rP tests/catalogs

.PHONY: test-page
test-page: require-page setup ## Test the Candles page and its access on real API servers of Airflow, in a browser
	@$(PYTEST) -m page -rP tests/orchestration tests/page

.PHONY: test-containers
test-containers: require-containers setup ## Build the image and run validations in it by podman, as root (ten minutes)
	@$(PYTEST) -m containers -rP tests/deployment/containers

.PHONY: test-compose
test-compose: require-compose setup ## Build the image and run docker-compose.yaml by podman-compose, as root (half an hour)
	@$(PYTEST) -m compose -rP tests/deployment/compose

.PHONY: require-catalogs require-containers require-compose require-page
require-catalogs require-containers require-compose require-page: require-%:
	@tools/require_commands.sh $*

.PHONY: env
env: ## Write .env with random secrets for docker-compose.yaml, unless it exists
	@deploy/env.sh

.PHONY: bench
bench: setup ## Measure runs, reprocessing and growth (ONLY="sections", QUICK=1, JSON=file; a quarter of an hour)
	@$(VENV)/uv pip install --quiet --python $(VENV)/python --require-hashes --requirement requirements-bench.txt
	@$(VENV)/python -m benchmarks $(ONLY:%=--only %) $(if $(QUICK),--quick) $(if $(JSON),--json $(JSON))

.PHONY: bench-live
bench-live: setup ## Measure the time from cron tick to validated candles with all DAGs live (MINUTES=60)
	@$(VENV)/python -m benchmarks --only live $(if $(JSON),--json $(JSON))

.PHONY: bench-maintenance
bench-maintenance: setup ## Simulate seven weeks of five-minute commits and weekly maintenance (half an hour)
	@$(VENV)/python benchmarks/simulated_month.py

.PHONY: bench-endurance
bench-endurance: setup ## Make RUNS=300 scheduled runs of 1m and 5m through Airflow, and measure growth (JSON=file, three hours)
	@RUNS=$(RUNS) JSON=$(JSON) $(VENV)/python -m benchmarks.endurance $(PLOT:%=--plot %)

.PHONY: bench-day
bench-day: setup ## Run a day of TRADES=100000000 and SERIES=1000 through the schedule, and compare it (JSON=file, hours)
	@TRADES=$(TRADES) SERIES=$(SERIES) $(VENV)/python -m benchmarks.large_day $(JSON:%=--json %)

.PHONY: check
check: setup ## Check style, types, layers, locks, documents, shell and YAML; changes nothing
	@tools/check.sh

.PHONY: fix
fix: setup ## Fix formatting, imports and other findings of ruff and biome
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .
	@tools/page.sh fix

.PHONY: page-dev
page-dev: setup ## Serve the Candles page with generated data on 127.0.0.1:5173
	@tools/page.sh dev

.PHONY: screenshots
screenshots: require-page setup ## Take the screenshots of the Candles page in docs/images (three minutes)
	@PYTHONPATH=tests $(VENV)/python tests/page/screenshots.py docs/images

.PHONY: lock
lock: setup ## Compile the requirements files from pyproject.toml
	@tools/lock.sh

.PHONY: golden
golden: setup ## Update the golden command lines of all Spark tasks (tests/orchestration/golden)
	@GOLDEN=write $(VENV)/python -m pytest -q tests/orchestration/test_command_lines.py

.PHONY: prove-rules
prove-rules: setup ## Break each rule in turn and show which test fails (ENGINE=native: those of the aggregation)
	@$(VENV)/python tools/prove_rules.py $(ENGINE:%=--engine %)
