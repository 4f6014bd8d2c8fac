# Every target does its own set-up. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Where it is set, every run compiles the tests anew, which costs seconds.
unexport PYTHONDONTWRITEBYTECODE

# The wheelhouse is for the Python of the hosts, so the control host's must be of the same minor version.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where `dist` puts the wheels.
WHEELHOUSE := dist/wheelhouse
# Runs `make` in Debian 13, which is made in the lab's cache the first time, with an environment of its own. (root)
MAKE_13 = $(BIN)/python -m tests.lab on trixie make VENV=.venv-13 WHEELHOUSE=dist/wheelhouse-13

# The Debian releases of the lab's two relays, 12 or 13; the packages that are deployed there.
LAB_A ?= 12
LAB_B ?= 12
export LAB_A LAB_B
DEBS := deb $(if $(filter 13,$(LAB_A) $(LAB_B)),deb-13)

# What the set-up takes from Debian: a compiler and libmilter's headers for pymilter, venv for everything.
PACKAGES := gcc libmilter-dev python3-dev python3-venv

# What the Debian package is made with; dpkg-deb is on every Debian. And what the tests look at it with.
DEB_PACKAGES := binutils chrpath
DEB_TEST_PACKAGES := lintian

# The ACME authority that a relay in the tests gets a certificate from.
ACME_PACKAGES := pebble

# Has Prometheus' own check of metrics and alerts. The package would start a server: only the program is taken.
PROMTOOL_PACKAGE := prometheus

# What looks at the admin page.
BROWSER_PACKAGES := chromium

# What a web client in the tests encrypts with, at the version and with the hash in package-lock.json.
WEBCLIENT := tests/webclient/node_modules/.package-lock.json

# The oldest core of Delta Chat that tests use, beside the current one in the environment.
OLDEST_CORE := dist/oldest-core/ready

# $(call installed,PACKAGES): those that are missing are installed, or root is asked to.
installed = missing=$$({ dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(1) 2>/dev/null || true; } \
	    | sed -n 's/^installed //p' | sort | comm -23 <(printf '%s\n' $(1) | sort) -); \
	if [ -n "$$missing" ]; then \
	    if [ "$$(id -u)" != 0 ]; then echo "as root, run: apt-get install" $$missing >&2; exit 1; fi; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing </dev/null; \
	fi

# No file is installed, nor its code run, unless its hash is in requirements/. Build isolation would fetch build
# dependencies without hashes: builds use those of requirements/build.txt, which are installed first.
PIP_INSTALL := $(BIN)/pip install -q --require-hashes --no-build-isolation

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: demo
demo: $(VENV)/ready $(DEBS) ## two relays on this machine, Delta Chat to Delta Chat, and a table of what happened (root)
	$(BIN)/python -m tests.demo

.PHONY: test
test: $(VENV)/ready $(DEBS) dist/promtool $(WEBCLIENT) $(OLDEST_CORE) ## unit, black-box and end-to-end tests, on two real relays (root)
	@$(call installed,$(DEB_TEST_PACKAGES))
	@$(call installed,$(BROWSER_PACKAGES))
	@$(call installed,$(ACME_PACKAGES))
	# Half of the time of what needs the lab is waiting: tests/conftest.py says what runs meanwhile.
	$(BIN)/pytest -n 3

.PHONY: test-unit
test-unit: $(VENV)/ready ## the quick tests that need neither root nor lab
	$(BIN)/pytest -m 'not slow' tests/unit

.PHONY: test-unit-13
test-unit-13: $(VENV)/ready ## the same on Debian 13 with its Python 3.13, in a root directory made for it (root)
	$(MAKE_13) test-unit

.PHONY: corpus
corpus: $(VENV)/ready ## make the samples of real ciphertext anew, and what mailparse sees in them (needs gnupg, cargo)
	$(BIN)/python -m tests.corpus

# For how long, in seconds.
FUZZ_SECONDS ?= 180

.PHONY: fuzz
fuzz: $(VENV)/ready ## look for input that breaks the gate's promises, FUZZ_SECONDS long
	$(PIP_INSTALL) -r requirements/fuzz.txt
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

.PHONY: bench
bench: $(VENV)/ready $(DEBS) ## ratios of speed and memory, each side measured in the same run (root; ONLY=gate, JSON=1)
	$(BIN)/python -m tests.bench $(if $(JSON),--json) $(ONLY)

# The commit to compare with.
BASE ?= HEAD~1

.PHONY: bench-compare
bench-compare: $(VENV)/ready $(DEBS) ## the same benches on this tree and on commit BASE, by turns (root; ONLY=gate, JSON=1)
	$(BIN)/python -m tests.bench.compare $(if $(JSON),--json) $(BASE) $(ONLY)

# Words of the causes' names, all of them if there are none.
CAUSES ?=

.PHONY: test-faults
test-faults: $(VENV)/ready $(DEBS) ## break a relay in every way while mail flows, and look for each message (root; CAUSES=nginx, JSON=1)
	$(BIN)/python -m tests.faults $(if $(JSON),--json) $(CAUSES)

# Words of the attacks' names, all of them if there are none.
ONLY ?=

.PHONY: test-attacks
test-attacks: $(VENV)/ready $(DEBS) ## attack a relay in every way while others use it, and look what they notice (root; ONLY=silent, JSON=1)
	$(BIN)/python -m tests.attacks $(if $(JSON),--json) $(ONLY)

.PHONY: test-container
test-container: $(VENV)/ready collection ## build the container's image from its Containerfile, boot it, and send mail through it (root)
	$(BIN)/python -m tests.container
	$(BIN)/pytest -v tests/container

# The version to begin with, by any name that git knows; tests/upgrade/__init__.py has the default.
FROM ?=

.PHONY: test-upgrade
test-upgrade: $(VENV)/ready deb ## deploy this version over an earlier one while mail flows, and look for each message (root; FROM=v0.1.0)
	FROM=$(FROM) $(BIN)/python -m tests.upgrade
	FROM=$(FROM) $(BIN)/pytest -v tests/upgrade

.PHONY: lint
lint: $(VENV)/ready ## ruff, mypy --strict, ansible-lint (production profile)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" ansible-lint --offline ansible

.PHONY: lab-base
lab-base: $(VENV)/ready ## the Debian that the lab's hosts stand on, made the first time (root)
	$(BIN)/python -m tests.lab base

.PHONY: format
format: $(VENV)/ready ## lay out the Python files
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: dist
dist: $(VENV)/ready ## dist/wheelhouse: our wheel and its pinned dependencies, which the package is made of
	$(BIN)/python ansible/build_wheelhouse.py --directory $(WHEELHOUSE)

.PHONY: deb
deb: $(VENV)/ready dist ## dist/chatmail-milter.deb, for Debian 12: what the playbook installs
	@$(call installed,$(DEB_PACKAGES))
	$(BIN)/python -m deb

.PHONY: deb-13
deb-13: $(VENV)/ready ## dist/chatmail-milter-13.deb, for Debian 13, in a root directory made for it (root)
	$(MAKE_13) deb

dist/promtool:
	mkdir -p dist && cd dist && { apt-get download -qq $(PROMTOOL_PACKAGE) \
	    || { apt-get update -qq && apt-get download -qq $(PROMTOOL_PACKAGE); }; }
	dpkg-deb --fsys-tarfile dist/$(PROMTOOL_PACKAGE)_*.deb | tar --extract --directory=dist --strip-components=3 ./usr/bin/promtool
	rm dist/$(PROMTOOL_PACKAGE)_*.deb && touch $@

$(OLDEST_CORE): requirements/oldest-core.txt | $(VENV)/ready
	rm -rf $(@D)
	$(PIP_INSTALL) --no-deps --target $(@D) -r requirements/oldest-core.txt
	@touch $@

$(WEBCLIENT): tests/webclient/package.json tests/webclient/package-lock.json
	@command -v npm >/dev/null || { $(call installed,npm); }
	npm ci --prefix tests/webclient --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: collection
collection: $(VENV)/ready deb ## dist/chatmail-relay-VERSION.tar.gz: the playbooks and roles as an Ansible collection
	$(BIN)/python ansible/build_collection.py

# One list for every Python that setup.cfg allows and every processor: it has the hashes of all files of each release.
# Versions in a list stay while they satisfy setup.cfg and pyproject.toml. No list depends on a later one.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-build-isolation \
    --python $(BIN)/python --custom-compile-command 'make requirements' $(if $(RENEW),--upgrade)

.PHONY: requirements
requirements: $(VENV)/ready ## pin with hashes what setup.cfg and pyproject.toml name; RENEW=1 takes the newest versions
	$(PIP_INSTALL) -r requirements/lists.txt
	$(COMPILE) --group build -o requirements/build.txt
	$(COMPILE) setup.cfg -c requirements/build.txt -o requirements/relay.txt
	$(COMPILE) setup.cfg --group test --group lab -c requirements/build.txt -c requirements/relay.txt -o requirements/dev.txt
	$(COMPILE) --group ansible -c requirements/dev.txt -o requirements/ansible.txt
	$(COMPILE) --group fuzz -c requirements/dev.txt -o requirements/fuzz.txt
	$(COMPILE) --group lists -o requirements/lists.txt
	$(COMPILE) --group oldest-core -o requirements/oldest-core.txt

.PHONY: lab-up lab-down lab-status
lab-up: $(VENV)/ready $(DEBS) ## boot the lab and deploy the two relays (root)
	$(BIN)/python -m tests.lab up
	$(BIN)/python -m tests.lab deploy
lab-down: $(VENV)/ready ## take the lab down (root)
	$(BIN)/python -m tests.lab down
lab-status: $(VENV)/ready ## what of the lab is up
	$(BIN)/python -m tests.lab status

.PHONY: clean
clean: ## remove what the targets made here (the lab's cache stays)
	rm -rf $(VENV) .venv-13 dist build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Made whole or not at all: the stamp is written last.
$(VENV)/ready: setup.cfg pyproject.toml requirements/build.txt requirements/dev.txt
	@echo "== setting up $(VENV)"
	@$(call installed,$(PACKAGES))
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP_INSTALL) -r requirements/build.txt
	$(PIP_INSTALL) -r requirements/dev.txt
	$(BIN)/pip install -q --no-index --no-deps --no-build-isolation -e .
	@touch $@
