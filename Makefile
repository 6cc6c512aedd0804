# Copyright (c) 2026, the fleet.power contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:

# All tools run in the checkout, through a link below .build with the installed collection's name.
CHECKOUT := $(CURDIR)
VENV := $(CHECKOUT)/.venv
TREE := $(CHECKOUT)/.build/ansible_collections/fleet/power
ENGINE := tests/lab/engine
NODES_OF_LAB := tests/lab/nodes
export PATH := $(VENV)/bin:$(PATH)
# For processes that tests start: they do not read pyproject.toml.
export PYTHONPATH := $(CHECKOUT)/.build
# A test starts dozens of interpreters. Without byte code, each would compile for longer than it works.
unexport PYTHONDONTWRITEBYTECODE
export HYPOTHESIS_STORAGE_DIRECTORY := $(CHECKOUT)/.build/hypothesis

DEMO_VENV = tests/tools/venv $(VENV) "$$(tests/tools/python 3.11)" tests/demo-requirements.txt
PYTEST := $(VENV)/bin/python -m pytest
ARGS ?=

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r target text; do printf '  make %-12s %s\n' "$$target" "$$text"; done

##### to try

.PHONY: demo demo-down
demo: link ## servers in real containers, in under two minutes
	@tests/lab/needs demo
	@tests/demo/run $(VENV)

demo-down: ## remove the demo
	@tests/demo/down

.PHONY: shim
shim: link ## the HTTP shim on the demo's servers, until Ctrl-C
	@tests/lab/needs demo
	@$(DEMO_VENV)
	@tests/demo/shim

.PHONY: lab lab-down
lab: venv ## as root: real nodes with servers on this machine; how many: make lab NODES=3 SERVERS=4
	@[[ "$(or $(NODES),3) $(or $(SERVERS),4)" =~ ^[0-9]+\ [0-9]+$$ ]] || { echo "Cannot make a lab: NODES and SERVERS are numbers" >&2; exit 2; }
	@$(NODES_OF_LAB) up $(or $(NODES),3)
	@tests/lab/populate $(or $(SERVERS),4)

lab-down: ## remove the nodes with their servers
	@$(NODES_OF_LAB) down

##### to check

.PHONY: test needs lint sanity sanity-quick unit integration fleet machines fresh installed
test: needs venv ## all checks from lint to unit, two at a time
	@MAKE='$(MAKE)' tests/tools/side_by_side $(CHECKOUT)/.build/beside.log fresh fleet machines unit -- lint integration sanity-quick installed

needs:
	@tests/lab/needs test

lint: LINTED := $(CHECKOUT)/.build/lint
lint: WORKFLOWS := .github/workflows/*.yml docs/deploy/github-actions.yml
lint: venv ## ruff, mypy, codespell, prose, yamllint, ansible-lint, antsibull, reuse, actionlint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(TREE)/plugins/module_utils
	$(VENV)/bin/codespell
	$(VENV)/bin/python tests/tools/prose.py
	$(VENV)/bin/yamllint --strict -c tests/yamllint.yml .
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.gitlab-ci docs/deploy/gitlab-ci.yml
	$(VENV)/bin/actionlint -shellcheck= -pyflakes= $(WORKFLOWS)
	@tests/tools/copy lint
	cd $(if $(wildcard .git),.,$(LINTED)/ansible_collections/fleet/power) && $(VENV)/bin/reuse lint --lines
	cd $(LINTED)/ansible_collections/fleet/power && ANSIBLE_COLLECTIONS_PATH=$(LINTED) $(VENV)/bin/ansible-lint --offline --strict -c tests/ansible-lint.yml
	cd $(LINTED)/ansible_collections/fleet/power && $(VENV)/bin/antsibull-changelog lint
	@# A directory whose random name ends in an underscore would be a reference in the pages.
	cd $(LINTED)/ansible_collections/fleet/power && $(VENV)/bin/python -c 'import sys, tempfile; from antsibull_docs.cli.antsibull_docs import main; \
	tempfile._RandomNameSequence.characters = "abcdefgh"; sys.exit(main())' lint-collection-docs --plugin-docs .

sanity: venv ## ansible-test sanity on a copy
	@tests/tools/sanity $(VENV)

sanity-quick: venv # without the slowest tests, which matrix runs, and those that lint covers
	@tests/tools/sanity $(VENV) --skip-test pylint --skip-test import --skip-test pep8 --skip-test yamllint --skip-test changelog

unit: venv ## no engine needed; one file alone: make unit ARGS=tests/unit/test_plan.py
	$(PYTEST) $(or $(ARGS),-n 3 --dist worksteal tests/unit)

integration: venv ## on a real engine; one file alone: make integration ARGS=tests/integration/test_kill.py
	@$(ENGINE) run bash -c 'tests/lab/image/build && exec $(PYTEST) "$$@"' integration $(or $(ARGS),-n 4 --dist worksteal tests/integration)

fleet: venv ## as root: on real nodes, which it empties; one file alone: make fleet ARGS=tests/fleet/test_lab.py
	@if [ "$$(id -u)" != 0 ]; then echo "not checked: what needs real nodes, which only root can boot"; else \
	$(NODES_OF_LAB) run $(or $(NODES),5) $(if $(ARGS),--bare 1) -- $(PYTEST) $(or $(ARGS),-n 3 --maxschedchunk 1 --durations 10 tests/fleet); fi

machines: venv ## as root: on a virtual machine, with power cuts
	@if [ "$$(id -u) $$(uname -m)" != "0 x86_64" ]; then echo "not checked: power cuts, on a machine that only root can boot, on x86-64 alone"; else \
	$(NODES_OF_LAB) run 0 --machines 1 -- $(PYTEST) $(or $(ARGS),tests/machines); fi

fresh: venv ## as root: the demo on a new, bare machine, removed afterwards
	@if [ "$$(id -u)" != 0 ]; then echo "not checked: the demo on a fresh machine, which only root can make"; else \
	tests/lab/fresh run $(PYTEST) $(or $(ARGS),tests/fresh); fi

installed: build ## the collection installed from its file
	@$(ENGINE) run bash -c 'tests/lab/image/build && exec tests/tools/installed $(VENV) "$$@"' installed -m installed tests/integration/test_module.py tests/integration/test_shim_life.py

.PHONY: targets
targets: venv ## ansible-test integration, each module and role in four calls; one alone: make targets ARGS=server_power
	@tests/tools/targets $(VENV) $(ARGS)

.PHONY: mutants test-long test-machines test-engines bench bench-fleet matrix build package docs release
mutants: venv ## mutants of lock, kill, freeze, hooks, plan, boot, revert, verdicts, hangs, rollout and acceptance are caught; one area alone: make mutants ARGS="--area lock"
	@$(VENV)/bin/python tests/mutants/run.py $(ARGS)

test-long: venv ## long races and other interpreters; not part of test
	@$(if $(ARGS),:,tests/tools/matrix)
	@$(ENGINE) run bash -c 'tests/lab/image/build && exec $(PYTEST) -m long "$$@"' test-long $(or $(ARGS),tests/unit tests/integration)
	@$(if $(ARGS),:,$(NODES_OF_LAB) run $(or $(NODES),6) --bare 1 --online -- $(PYTEST) -m long -n 3 --maxschedchunk 1 tests/fleet)
	@$(if $(ARGS),:,$(MAKE) test-machines)
	@$(if $(ARGS),:,$(MAKE) test-engines)
	@$(if $(ARGS),:,tests/tools/targets $(VENV))

test-machines: venv ## as root: on virtual machines of each supported Debian; an hour; one alone: make test-machines SUITES=bookworm
	@tests/tools/machines $(VENV) $(or $(SUITES),bookworm trixie forky)

test-engines: venv ## as root: integration tests on each supported Docker Engine; one engine alone: make test-engines ENGINES=bookworm
	@if [ "$$(id -u)" != 0 ]; then echo "not checked: other Docker Engines, which only root can start"; else \
	tests/tools/engines $(VENV) "$(ENGINES)" $(ARGS); fi

matrix: venv ## sessions of nox: each supported ansible-core and Python; some alone: make matrix ARGS="lint units-2.21-3.13"
	@tests/tools/matrix $(ARGS)

bench: venv ## measure, as a table and JSON
	@$(ENGINE) run bash -c 'tests/lab/image/build && exec tests/bench/run $(ARGS)'

bench-fleet: venv ## measure many nodes over SSH, as a table; ten minutes
	@$(NODES_OF_LAB) run 8 -- $(VENV)/bin/python tests/bench/fleet.py $(ARGS)

build: venv package ## the collection as a file, in .build

package: # the same with the ansible-galaxy that is on the path
	@tests/tools/copy package
	@rm -f .build/fleet-power-*.tar.gz
	@cd .build/package/ansible_collections/fleet/power && ansible-galaxy collection build --force --output-path $(CHECKOUT)/.build

docs: ## the documentation as a site, .build/site/html/index.html
	@tests/tools/site

release: venv ## the changelog, checks and the file of a release: make release VERSION=1.1.0
	@tests/tools/release changelog $(VERSION)
	@$(MAKE) lint build docs
	@tests/tools/release check
	@tests/tools/release steps

##### to prepare and clean

.PHONY: owner
owner: ## set the placeholders: make owner REPOSITORY=https://github.com/acme/acme.power NAMESPACE=acme
	@tests/tools/owner "$(REPOSITORY)" "$(NAMESPACE)"

.PHONY: venv link clean
venv: link ## the tools in .venv; renewed after changed requirements
	@tests/lab/needs venv
	@$(DEMO_VENV) tests/requirements.txt

link:
	@tests/tools/copy link

clean: ## remove the lab, the private engine, .build, .venv and every cache
	@$(NODES_OF_LAB) down
	@tests/lab/fresh down
	@$(ENGINE) down
	@tests/tools/engines down
	@rm -rf .build .venv .ansible .hypothesis .mypy_cache .nox .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
