# Headgate: `make demo` to try it, `make test` to prove it. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PORT ?= 8000
export PORT
# Every process would compile the application anew, and pytest rewrite the assertions of 340 files: half of collecting.
unexport PYTHONDONTWRITEBYTECODE
python := .venv/bin/python

.PHONY: help demo quick test test-whole pictures test-spark test-stores test-corpus test-recipes test-fuzz test-faults test-chart bench check lock clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

demo: .venv/demo.stamp ## try it: web and worker in this terminal, with demo data (PORT=8123 make demo)
	@exec $(python) -m demo

quick: .venv/dev.stamp ## static checks and the tests of single parts, in a minute
	@$(python) -m tests.services quick

test: .venv/dev.stamp ## run every test: engine, application on SQLite and PostgreSQL, browser, real services
	@tests/install-services
	@$(python) -m tests.services suite

test-whole: .venv/dev.stamp ## the same with every combination, each on both databases (of them `make test` takes a sample)
	@tests/install-services
	@$(python) -m tests.services whole-suite

pictures: .venv/dev.stamp ## take the pictures of README and docs anew, as the browser tests see the pages
	@UPDATE_PICTURES=1 $(python) -m pytest -p no:cacheprovider -q tests/e2e/test_walkthrough.py tests/e2e/test_merge.py

test-spark: .venv/dev.stamp ## let Apache Spark with Delta Lake make tables and read what merges wrote (installs Java and Spark where missing; ONLY=... takes some)
	@tests/install-spark
	@$(python) -m pytest -m spark tests/merging/interoperability $(if $(ONLY),-k "$(ONLY)")

test-stores: .venv/dev.stamp ## run the engine on VersityGW, Azurite and fake-gcs-server, with eight processes that race
	@tests/install-stores
	@$(python) -m tests.services stores-suite

test-corpus: .venv/dev.stamp ## export 29 public tables with every tool in every format and upload them again
	@tests/install-corpus
	@$(python) -m pytest -n 2 -m corpus tests/corpus

test-recipes: .venv/dev.stamp ## run docs/recipes.md with Airflow and Dagster (installs them apart)
	@tests/install-recipes
	@$(python) -m pytest -m recipes tests/live

test-fuzz: .venv/dev.stamp ## stage 20,000 damaged files of each format in confined processes (FILES=1000 SEED=7 FORMATS=csv,arrow)
	@$(python) -m tests.fuzz $(if $(FILES),--files $(FILES)) $(if $(SEED),--seed $(SEED)) $(if $(FORMATS),--formats $(FORMATS))

test-faults: .venv/dev.stamp ## kill, starve and cut off merges, 200 times at random (RUNS=100 SEED=4711 in each world)
	@tests/install-services
	@$(python) -m tests.faults $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED))

test-chart: .venv/dev.stamp ## lint the Helm chart, and look at what comes out of it (builds Helm with Go where it is missing)
	@$(python) -m tests.deploy.check_chart

bench: .venv/dev.stamp ## measure everything against its bars and peers; writes docs/performance.md (40 minutes; LONG=1: sixty million rows, as long again)
	@tests/install-services
	@$(python) -m benchmarks$(if $(LONG), --long)

check: .venv/dev.stamp ## static checks: style, types, templates, import contracts, migrations, deployment
	@.ci/static-checks

lock: ## write requirements/*.txt anew from pyproject.toml (UPGRADE=--upgrade takes newer versions)
	@requirements/lock $(UPGRADE)

clean: ## remove the environment, the demo's data and every cache
	rm -rf .venv var build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is as new as the last successful install of its lock, so a second `make` installs nothing.
.venv/demo.stamp: requirements/demo.txt requirements/build.txt requirements/install
	@requirements/install demo
	@touch $@

.venv/dev.stamp: requirements/dev.txt requirements/build.txt requirements/install client/pyproject.toml
	@requirements/install dev
	@touch .venv/demo.stamp $@
